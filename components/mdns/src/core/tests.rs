use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{RData, Record, RecordType};
use proptest::prelude::*;

use super::*;

/// Packets of a Go sidecar 1.18.3 with the app id `goapp` on host `vm`, process
/// 14105, internal port 43502, address 127.0.0.1, as seen on the wire.
mod go {
    pub const PROBE: &str = "55090000000100000002000008766d3a313431303505676f617070056c6f63616c00000c000108766d3a313431303505676f617070056c6f63616c000021000100000c80001000000000a9ee02766d056c6f63616c0008766d3a313431303505676f617070056c6f63616c000010000100000c80000605676f617070";
    pub const ANNOUNCEMENT: &str = "00008000000000050000000008766d3a313431303505676f617070056c6f63616c000021800100000c80001000000000a9ee02766d056c6f63616c00c00c0010800100000c80000605676f617070c015000c000100000c800002c00c095f7365727669636573075f646e732d7364045f756470c01b000c000100000c800002c015c032000180010000007800047f000001";
    pub const BROWSE_ANSWER: &str = "00008400000000010000000305676f617070056c6f63616c00000c000100000c80000b08766d3a3134313035c00cc0230021000100000c80001000000000a9ee02766d056c6f63616c00c0230010000100000c80000605676f617070c040000100010000007800047f000001";
    pub const GOODBYE: &str = "00008000000000050000000008766d3a313431303505676f617070056c6f63616c000021800100000000001000000000a9ee02766d056c6f63616c0008766d3a313431303505676f617070056c6f63616c000010800100000000000605676f61707005676f617070056c6f63616c00000c000100000000001608766d3a313431303505676f617070056c6f63616c00095f7365727669636573075f646e732d7364045f756470056c6f63616c00000c000100000000000d05676f617070056c6f63616c0002766d056c6f63616c00000180010000000000047f000001";
    /// Its question for `otherapp`.
    pub const QUESTION: &str = "80f500000001000000000000086f74686572617070056c6f63616c00000c0001";
}

const PEER: &str = "127.0.0.1:5353";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn peer() -> SocketAddr {
    PEER.parse().unwrap()
}

fn service(app_id: &str, pid: u32, address: &str) -> Service {
    Service::new(app_id, "vm", pid, address.parse().unwrap()).unwrap()
}

/// A core past its announcements.
fn core(app_id: &str) -> (Core, Instant) {
    let now = Instant::now();
    let mut core = Core::new(Some(service(app_id, 7, "127.0.0.1:50002")), now);
    let now = now + Duration::from_secs(10);
    core.tick(now);
    assert_eq!(core.deadline(), None, "nothing to do while nothing is asked for");
    (core, now)
}

fn answer(app_id: &str, pid: u32, address: &str) -> Vec<u8> {
    let query = message::decode(&message::query(app_id).unwrap()).unwrap();
    match service(app_id, pid, address).answer(&query, peer()).pop() {
        Some(Effect::Multicast { packet, .. }) => packet.to_vec(),
        other => panic!("no multicast answer: {other:?}"),
    }
}

/// A core that has found `app` at `addresses`.
fn resolved(addresses: &[&str]) -> (Core, Instant) {
    let (mut core, now) = core("me");
    core.browse("app", now).unwrap();
    core.tick(now);
    for (pid, address) in addresses.iter().enumerate() {
        core.receive(&answer("app", pid as u32 + 1, address), peer(), now).unwrap();
    }
    (core, now)
}

fn queries(effects: &[Effect]) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::MulticastAll(_))).count()
}

#[test]
fn our_browse_answer_is_the_one_of_go() {
    let ours = bytes(go::BROWSE_ANSWER);
    let ours = message::decode(&ours).unwrap();
    let query = message::decode(&message::query("goapp").unwrap()).unwrap();
    let Some(Effect::Multicast { packet, .. }) =
        service("goapp", 14105, "127.0.0.1:43502").answer(&query, peer()).pop()
    else {
        panic!("no answer")
    };
    assert_eq!(message::decode(&packet).unwrap(), ours);
}

#[test]
fn our_announcement_differs_from_go_only_in_sparing_the_host_name() {
    let mut theirs = message::decode(&bytes(go::ANNOUNCEMENT)).unwrap();
    theirs.metadata.authoritative = true;
    theirs.answers.last_mut().unwrap().mdns_cache_flush = false;
    let ours = service("goapp", 14105, "127.0.0.1:43502").announcement();
    assert_eq!(message::decode(&ours).unwrap(), theirs);
}

#[test]
fn our_question_is_the_one_of_go_without_its_id() {
    let mut theirs = bytes(go::QUESTION);
    theirs[..2].fill(0);
    assert_eq!(message::query("otherapp").unwrap(), theirs);
}

#[test]
fn go_answers_announcements_and_goodbyes_are_understood() {
    for packet in [go::BROWSE_ANSWER, go::ANNOUNCEMENT] {
        let (mut core, now) = core("me");
        core.browse("goapp", now).unwrap();
        let effects = core.receive(&bytes(packet), peer(), now).unwrap();
        assert_eq!(effects, [Effect::Resolved("goapp".into())]);
        assert_eq!(core.lookup("goapp"), Some("127.0.0.1:43502"));
        core.receive(&bytes(go::GOODBYE), peer(), now).unwrap();
        assert_eq!(core.lookup("goapp"), None);
    }
}

#[test]
fn a_question_of_go_is_answered_by_multicast_and_a_probe_is_not() {
    let now = Instant::now();
    let mut core = Core::new(Some(service("otherapp", 7, "127.0.0.1:50002")), now);
    let effects = core.receive(&bytes(go::QUESTION), peer(), now).unwrap();
    assert!(matches!(effects[..], [Effect::Multicast { near, .. }] if near == peer()), "{effects:?}");
    let mut core = Core::new(Some(service("goapp", 14105, "127.0.0.1:43502")), now);
    assert_eq!(core.receive(&bytes(go::PROBE), peer(), now).unwrap(), []);
}

#[test]
fn a_first_lookup_asks_thrice_consults_the_registry_and_gives_up_after_a_second() {
    let (mut core, mut now) = core("me");
    core.browse("app", now).unwrap();
    let mut log = Vec::new();
    let start = now;
    while let Some(deadline) = core.deadline() {
        now = now.max(deadline);
        for effect in core.tick(now) {
            log.push((now.duration_since(start).as_millis(), effect));
        }
    }
    let ask = || Effect::MulticastAll(message::query("app").unwrap());
    let read = || Effect::ReadRegistry("app".into());
    assert_eq!(
        log,
        [
            (0, ask()),
            (100, ask()),
            (100, read()),
            (400, ask()),
            (400, read()),
            (1000, Effect::NotFound("app".into()))
        ]
    );
    assert!(core.apps.is_empty());
}

#[test]
fn without_multicast_the_registry_is_asked_at_once() {
    let (mut core, now) = core("me");
    core.set_multicast(false);
    core.browse("app", now).unwrap();
    assert!(core.tick(now).contains(&Effect::ReadRegistry("app".into())));
    assert_eq!(core.registry_answer("app", &[], now), []);
    let address = "127.0.0.1:5".parse().unwrap();
    assert_eq!(core.registry_answer("app", &[address], now), [Effect::Resolved("app".into())]);
    assert_eq!(core.lookup("app"), Some("127.0.0.1:5"));
}

#[test]
fn concurrent_lookups_share_one_browse() {
    let (mut core, now) = core("me");
    core.browse("app", now).unwrap();
    assert_eq!(queries(&core.tick(now)), 1);
    core.browse("app", now + Duration::from_millis(1)).unwrap();
    assert_eq!(queries(&core.tick(now + Duration::from_millis(1))), 0);
}

#[test]
fn addresses_take_turns_and_ipv6_waits_for_the_last_ipv4() {
    let (mut core, now) = resolved(&["[fd00::1]:1", "127.0.0.1:2", "127.0.0.1:3"]);
    let taken: Vec<_> = (0..4).map(|_| core.lookup("app").unwrap().to_owned()).collect();
    assert_eq!(taken, ["127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:3"]);
    for (pid, address) in [(2, "127.0.0.1:2"), (3, "127.0.0.1:3")] {
        core.receive(&service("app", pid, address).goodbye(), peer(), now).unwrap();
    }
    assert_eq!(core.lookup("app"), Some("[fd00::1]:1"));
}

#[test]
fn addresses_in_use_are_refreshed_every_thirty_seconds() {
    let (mut core, start) = resolved(&["127.0.0.1:2"]);
    let mut asked = Vec::new();
    for _ in 0..40 {
        let now = core.deadline().unwrap();
        if queries(&core.tick(now)) > 0 {
            asked.push(now.duration_since(start).as_secs());
            core.receive(&answer("app", 1, "127.0.0.1:2"), peer(), now).unwrap();
        }
        core.lookup("app").unwrap();
    }
    assert_eq!(asked[..4], [1, 30, 60, 90]);
}

#[test]
fn a_lost_refresh_is_repeated_and_silence_ends_in_expiry() {
    let (mut core, start) = resolved(&["127.0.0.1:2"]);
    let mut asked = Vec::new();
    while let Some(now) = core.deadline() {
        if queries(&core.tick(now)) > 0 {
            asked.push(now.duration_since(start).as_secs());
        }
        core.lookup("app");
        assert!(now <= start + ADDRESS_LIFETIME);
    }
    assert_eq!(asked, [1, 30, 31, 32]);
    assert!(core.apps.is_empty());
}

#[test]
fn an_application_nobody_asks_for_any_more_is_forgotten() {
    let (mut core, start) = resolved(&["127.0.0.1:2"]);
    let mut last = start;
    while let Some(now) = core.deadline() {
        if queries(&core.tick(now)) > 0 {
            core.receive(&answer("app", 1, "127.0.0.1:2"), peer(), now).unwrap();
        }
        last = now;
    }
    assert!(last <= start + REFRESH_INTERVAL * 2 + ADDRESS_LIFETIME + REFRESH_RETRY, "{:?}", last - start);
}

#[test]
fn a_new_instance_of_a_known_application_is_taken_from_its_announcement() {
    let (mut core, now) = resolved(&["127.0.0.1:2"]);
    core.receive(&service("app", 9, "127.0.0.1:9").announcement(), peer(), now).unwrap();
    let mut taken: Vec<_> = (0..2).map(|_| core.lookup("app").unwrap().to_owned()).collect();
    taken.sort();
    assert_eq!(taken, ["127.0.0.1:2", "127.0.0.1:9"]);
    core.receive(&service("stranger", 9, "127.0.0.1:9").announcement(), peer(), now).unwrap();
    assert_eq!(core.apps.len(), 1);
}

#[test]
fn what_the_registry_vouched_for_leaves_with_it_unless_multicast_confirmed_it() {
    let (mut core, now) = resolved(&["127.0.0.1:2"]);
    let listed: Vec<SocketAddr> = vec!["127.0.0.1:2".parse().unwrap(), "127.0.0.1:3".parse().unwrap()];
    core.registry_answer("app", &listed, now);
    core.registry_answer("app", &[], now);
    let taken: Vec<_> = (0..2).map(|_| core.lookup("app").unwrap().to_owned()).collect();
    assert_eq!(taken, ["127.0.0.1:2", "127.0.0.1:2"]);
}

#[test]
fn only_the_text_decides_whose_instance_it_is() {
    // The instance name of `xapp` ends in the service name of `app`.
    let (mut core, now) = core("me");
    core.browse("app", now).unwrap();
    assert_eq!(core.receive(&answer("xapp", 1, "127.0.0.1:2"), peer(), now).unwrap(), []);
    assert_eq!(core.lookup("app"), None);
}

#[test]
fn answers_from_another_port_are_ignored() {
    let (mut core, now) = core("me");
    core.browse("app", now).unwrap();
    let stranger = "127.0.0.1:9999".parse().unwrap();
    assert_eq!(core.receive(&answer("app", 1, "127.0.0.1:2"), stranger, now).unwrap(), []);
}

fn ask(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(message::name_below(name, None).unwrap(), record_type));
    message
}

#[test]
fn plain_dns_tools_get_a_plain_dns_answer() {
    let dig = "127.0.0.1:40000".parse().unwrap();
    let effects = service("app", 1, "127.0.0.1:2").answer(&ask("app.local", RecordType::PTR), dig);
    let [Effect::Unicast { to, packet }] = &effects[..] else { panic!("{effects:?}") };
    let reply = message::decode(packet).unwrap();
    assert_eq!((*to, reply.metadata.id, reply.queries.len()), (dig, 0x1234, 1));
    assert!(reply.all_sections().all(|r| r.ttl <= 10));
}

#[test]
fn a_wish_for_unicast_is_granted() {
    let mut question = ask("app.local", RecordType::PTR);
    question.queries[0].mdns_unicast_response = true;
    let question = message::decode(&message::encode(&question).unwrap()).unwrap();
    let effects = service("app", 1, "127.0.0.1:2").answer(&question, peer());
    assert!(matches!(effects[..], [Effect::Unicast { to, .. }] if to == peer()), "{effects:?}");
}

#[test]
fn services_can_be_enumerated_and_names_ignore_case() {
    let service = service("App", 1, "127.0.0.1:2");
    for (name, record_type, answered) in [
        ("_services._dns-sd._udp.local", RecordType::PTR, true),
        ("aPP.LOCAL", RecordType::PTR, true),
        ("app.local", RecordType::ANY, true),
        ("vm:1.App.local", RecordType::SRV, true),
        ("vm:1.App.local", RecordType::TXT, true),
        ("app.local", RecordType::A, false),
        ("vm.local", RecordType::A, false),
        ("app2.local", RecordType::PTR, false),
    ] {
        let effects = service.answer(&ask(name, record_type), peer());
        assert_eq!(!effects.is_empty(), answered, "{name} {record_type}");
    }
}

#[test]
fn known_answers_are_not_repeated() {
    let service = service("app", 1, "127.0.0.1:2");
    let mut question = ask("app.local", RecordType::PTR);
    let name = |n: &str| message::name_below(n, None).unwrap();
    for (ttl, repeated) in [(3200, false), (1600, false), (1599, true)] {
        let known = Record::from_rdata(name("app.local"), ttl, RData::PTR(PTR(name("vm:1.app.local"))));
        question.answers = vec![known];
        assert_eq!(!service.answer(&question, peer()).is_empty(), repeated, "{ttl}");
    }
}

#[test]
fn long_host_names_are_cut_and_impossible_app_ids_refused() {
    let address = "127.0.0.1:2".parse().unwrap();
    assert!(Service::new("app", &"h".repeat(200), 4_194_304, address).is_ok());
    assert!(Service::new("app", "mac.example.com", 1, address).is_ok());
    assert!(Service::new("app", "", 1, address).is_ok());
    assert!(Service::new(&"a".repeat(64), "vm", 1, address).is_err());
    let (mut core, now) = core("me");
    let error = core.browse(&"a".repeat(64), now).unwrap_err().to_string();
    assert!(error.starts_with("couldn't find service: aaa"), "{error}");
    assert!(core.browse("", now).is_err());
}

#[test]
fn neither_applications_nor_addresses_grow_without_limit() {
    let (mut core, now) = core("me");
    for i in 0..MAX_APPS {
        core.browse(&format!("app{i}"), now).unwrap();
    }
    assert!(matches!(core.browse("one-more", now), Err(BrowseError::TooMany(_))));
    let many: Vec<SocketAddr> = (1..=1000).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    core.registry_answer("app0", &many, now);
    let different: std::collections::HashSet<_> =
        (0..1000).map(|_| core.lookup("app0").unwrap().to_owned()).collect();
    assert_eq!(different.len(), cache::MAX_ADDRESSES);
}

proptest! {
    #[test]
    fn no_packet_brings_the_core_down(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut core, now) = core("me");
        let _ = core.receive(&packet, peer(), now);
    }

    #[test]
    fn no_damaged_packet_brings_the_core_down(
        which in 0..5_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let packets = [go::PROBE, go::ANNOUNCEMENT, go::BROWSE_ANSWER, go::GOODBYE, go::QUESTION];
        let mut packet = bytes(packets[which]);
        for (at, value) in damage {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        let (mut core, now) = core("otherapp");
        core.browse("goapp", now).unwrap();
        let _ = core.receive(&packet, peer(), now);
        let length = cut.index(packet.len());
        let _ = core.receive(&packet[..length], peer(), now);
        // Whatever was believed expires.
        let mut last = now;
        while let Some(deadline) = core.deadline() {
            prop_assert!(deadline >= last && deadline < now + Duration::from_secs(300));
            last = deadline;
            core.tick(deadline);
        }
    }
}
