//! The service that this sidecar announces, and its answers.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::message::{MessageError, domain, encode, name_below, service_name};
use super::{Effect, PORT};

/// Lifetime of service records in seconds (runtime.md §7).
const SERVICE_TTL: u32 = 3200;
/// Lifetime of address records in seconds (RFC 6762 §10).
const ADDRESS_TTL: u32 = 120;
/// Lifetime in answers to resolvers that do not speak multicast DNS, in
/// seconds (RFC 6762 §6.7).
const LEGACY_TTL: u32 = 10;
/// Questions of one packet that are answered.
const MAX_QUESTIONS: usize = 16;
/// Longest part of the host name that leaves room for `:<pid>` in one label.
const MAX_HOST_LABEL: usize = 50;

/// Names and records of this sidecar, encoded once.
#[derive(Debug)]
pub struct Service {
    enumeration: Name,
    service: Name,
    instance: Name,
    host: Name,
    app_id: String,
    address: SocketAddr,
    packets: Packets,
}

#[derive(Debug, Default)]
struct Packets {
    enumeration: Bytes,
    browse: Bytes,
    lookup: Bytes,
    goodbye: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Enumeration,
    Browse,
    Lookup,
}

impl Service {
    /// `address` is where others reach the internal gRPC port of this sidecar.
    pub fn new(app_id: &str, hostname: &str, pid: u32, address: SocketAddr) -> Result<Self, MessageError> {
        let hostname = if hostname.is_empty() { "localhost" } else { hostname };
        let label = shortened(hostname);
        let service_name = service_name(app_id)?;
        let mut service = Self {
            enumeration: name_below("_services._dns-sd._udp", Some(&domain()))?,
            instance: name_below(&format!("{label}:{pid}"), Some(&service_name))?,
            host: name_below(label, Some(&domain()))?,
            service: service_name,
            app_id: app_id.to_owned(),
            address,
            packets: Packets::default(),
        };
        service.packets = Packets {
            enumeration: encode(&service.response(Answer::Enumeration))?,
            browse: encode(&service.response(Answer::Browse))?,
            lookup: encode(&service.response(Answer::Lookup))?,
            goodbye: encode(&capped(service.response(Answer::Lookup), 0))?,
        };
        Ok(service)
    }

    pub(super) fn announcement(&self) -> Bytes {
        self.packets.lookup.clone()
    }

    pub(super) fn goodbye(&self) -> Bytes {
        self.packets.goodbye.clone()
    }

    /// Answers to the questions of `query` that are about this service.
    pub(super) fn answer(&self, query: &Message, from: SocketAddr) -> Vec<Effect> {
        // A query with proposed records is a probe for a name of somebody else.
        if query.metadata.op_code != OpCode::Query || !query.authorities.is_empty() {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for question in query.queries.iter().take(MAX_QUESTIONS) {
            if !matches!(question.query_class, DNSClass::IN | DNSClass::ANY) {
                continue;
            }
            let Some(answer) = self.answer_for(&question.name, question.query_type) else { continue };
            if answer != Answer::Lookup && self.is_known(query, answer) {
                continue;
            }
            let packet = self.packet(answer);
            if from.port() != PORT {
                let mut response = capped(self.response(answer), LEGACY_TTL);
                response.metadata.id = query.metadata.id;
                response.add_query(question.clone());
                if let Ok(packet) = encode(&response) {
                    effects.push(Effect::Unicast { to: from, packet });
                }
            } else if question.mdns_unicast_response {
                effects.push(Effect::Unicast { to: from, packet });
            } else {
                effects.push(Effect::Multicast { near: from, packet });
            }
        }
        effects
    }

    fn answer_for(&self, name: &Name, record_type: RecordType) -> Option<Answer> {
        let wants = |types: &[RecordType]| record_type == RecordType::ANY || types.contains(&record_type);
        if *name == self.service && wants(&[RecordType::PTR]) {
            Some(Answer::Browse)
        } else if *name == self.instance && wants(&[RecordType::SRV, RecordType::TXT]) {
            Some(Answer::Lookup)
        } else if *name == self.enumeration && wants(&[RecordType::PTR]) {
            Some(Answer::Enumeration)
        } else {
            None
        }
    }

    /// Known-answer suppression (RFC 6762 §7.1).
    fn is_known(&self, query: &Message, answer: Answer) -> bool {
        let target = if answer == Answer::Enumeration { &self.service } else { &self.instance };
        query.answers.iter().any(|known| {
            matches!(&known.data, RData::PTR(p) if p.0 == *target) && known.ttl >= SERVICE_TTL / 2
        })
    }

    fn packet(&self, answer: Answer) -> Bytes {
        match answer {
            Answer::Enumeration => self.packets.enumeration.clone(),
            Answer::Browse => self.packets.browse.clone(),
            Answer::Lookup => self.packets.lookup.clone(),
        }
    }

    fn response(&self, answer: Answer) -> Message {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        let instances =
            Record::from_rdata(self.service.clone(), SERVICE_TTL, RData::PTR(PTR(self.instance.clone())));
        let types =
            Record::from_rdata(self.enumeration.clone(), SERVICE_TTL, RData::PTR(PTR(self.service.clone())));
        match answer {
            Answer::Enumeration => message.answers.push(types),
            Answer::Browse => {
                message.answers.push(instances);
                message.additionals = vec![self.srv(false), self.txt(false), self.host()];
            }
            Answer::Lookup => {
                message.answers = vec![self.srv(true), self.txt(true), instances, types, self.host()];
            }
        }
        message
    }

    fn srv(&self, flush: bool) -> Record {
        let srv = RData::SRV(SRV::new(0, 0, self.address.port(), self.host.clone()));
        flushing(Record::from_rdata(self.instance.clone(), SERVICE_TTL, srv), flush)
    }

    fn txt(&self, flush: bool) -> Record {
        let txt = RData::TXT(TXT::from_bytes(vec![self.app_id.as_bytes()]));
        flushing(Record::from_rdata(self.instance.clone(), SERVICE_TTL, txt), flush)
    }

    /// Without the cache-flush bit, ever: the host name belongs to all
    /// sidecars of the machine and to the machine itself (RFC 6762 §10.2).
    fn host(&self) -> Record {
        let data = match self.address.ip() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        Record::from_rdata(self.host.clone(), ADDRESS_TTL, data)
    }
}

fn flushing(mut record: Record, flush: bool) -> Record {
    record.mdns_cache_flush = flush;
    record
}

fn capped(mut message: Message, ttl: u32) -> Message {
    for record in message.answers.iter_mut().chain(&mut message.additionals) {
        record.ttl = record.ttl.min(ttl);
    }
    message
}

fn shortened(hostname: &str) -> &str {
    let mut end = hostname.len().min(MAX_HOST_LABEL);
    while !hostname.is_char_boundary(end) {
        end -= 1;
    }
    hostname[..end].trim_matches('.')
}
