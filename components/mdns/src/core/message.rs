//! Packets in and out of the types of the DNS library.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A packet that is not DNS, or a name that DNS cannot carry.
#[derive(Debug, thiserror::Error)]
#[error("not a valid DNS message: {0}")]
pub struct MessageError(String);

/// One service instance as a single packet describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// First text of the instance.
    pub app_id: String,
    /// Full name of the instance.
    pub instance: Name,
    /// First IPv4 and first IPv6 address, each with the port.
    pub addresses: Vec<SocketAddr>,
    /// The instance says goodbye.
    pub gone: bool,
}

pub(super) fn decode(packet: &[u8]) -> Result<Message, MessageError> {
    Message::from_vec(packet).map_err(|e| MessageError(e.to_string()))
}

pub(super) fn encode(message: &Message) -> Result<Bytes, MessageError> {
    message.to_vec().map(Bytes::from).map_err(|e| MessageError(e.to_string()))
}

/// Labels as other sidecars build them: dots in `text` separate labels, any
/// other byte stays as it is.
pub(super) fn name_below(text: &str, parent: Option<&Name>) -> Result<Name, MessageError> {
    let invalid = || MessageError(format!("'{text}' is no DNS name"));
    let labels: Vec<&[u8]> = text.split('.').filter(|l| !l.is_empty()).map(str::as_bytes).collect();
    if labels.is_empty() {
        return Err(invalid());
    }
    let name = Name::from_labels(labels).map_err(|_| invalid())?;
    match parent {
        Some(parent) => name.append_name(parent).map_err(|_| invalid()),
        None => Ok(name),
    }
}

/// `local.`
pub(super) fn domain() -> Name {
    name_below("local", None).expect("a constant that is a valid name")
}

pub(super) fn service_name(app_id: &str) -> Result<Name, MessageError> {
    name_below(app_id, Some(&domain()))
}

/// The question for all instances of `app_id`. Answers are wanted by
/// multicast: several sidecars share the port, unicast reaches only one.
pub(super) fn query(app_id: &str) -> Result<Bytes, MessageError> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(service_name(app_id)?, RecordType::PTR));
    encode(&message)
}

pub(super) fn is_query(message: &Message) -> bool {
    message.metadata.message_type == MessageType::Query
}

/// The DNS-SD name must lie below the service name; other ids may end alike.
pub(super) fn is_instance_of(found: &Found, app_id: &str) -> bool {
    service_name(app_id)
        .is_ok_and(|service| service.zone_of(&found.instance) && service.len() < found.instance.len())
}

/// Instances of one packet that are looked at.
const MAX_INSTANCES: usize = 64;

/// Instances that a response describes completely. As every sidecar sends its
/// SRV, TXT and address records together, a partial one is none of ours.
pub(super) fn found(message: &Message) -> Vec<Found> {
    if message.metadata.op_code != OpCode::Query {
        return Vec::new();
    }
    let records = || message.answers.iter().chain(&message.authorities).chain(&message.additionals);
    let services = records().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some((record, srv)),
        _ => None,
    });
    services
        .take(MAX_INSTANCES)
        .filter_map(|(record, srv)| {
            let app_id = records().find_map(|r| first_text(r, &record.name))?;
            let hosts = || records().filter(|r| r.name == srv.target);
            let v4 = hosts().find_map(|r| match &r.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                _ => None,
            });
            // A link-local address is of no use without the name of a link.
            let v6 = hosts().find_map(|r| match &r.data {
                RData::AAAA(a) if !a.0.is_unicast_link_local() => Some(IpAddr::V6(a.0)),
                _ => None,
            });
            let addresses: Vec<_> =
                v4.into_iter().chain(v6).map(|ip| SocketAddr::new(ip, srv.port)).collect();
            if addresses.is_empty() || srv.port == 0 {
                return None;
            }
            Some(Found { app_id, instance: record.name.clone(), addresses, gone: record.ttl == 0 })
        })
        .collect()
}

fn first_text(record: &Record, name: &Name) -> Option<String> {
    match &record.data {
        RData::TXT(txt) if record.name == *name => {
            txt.txt_data.first().and_then(|t| std::str::from_utf8(t).ok()).map(str::to_owned)
        }
        _ => None,
    }
}
