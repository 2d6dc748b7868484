//! How a value lies in etcd (components.md §3.8).

use std::time::SystemTime;

use bytes::Bytes;
use dapr_components::state::{Error, RequestMetadata, expiry_metadata};
use prost::Message;
use prost_types::{Duration, Timestamp};

/// The two versions of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v1: the value and nothing else.
    Plain,
    /// v2: the value with the time of its writing and its TTL.
    Envelope,
}

/// The envelope, `dapr.proto.components.state.v2.Value` on the wire.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(message, optional, tag = "2")]
    written: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    ttl: Option<Duration>,
}

impl Layout {
    /// `ttl` in seconds.
    pub(crate) fn encode(self, data: &Bytes, ttl: Option<i64>, now: SystemTime) -> Bytes {
        match self {
            Self::Plain => data.clone(),
            Self::Envelope => {
                // Always with a TTL, as others write it.
                let ttl = Duration { seconds: ttl.unwrap_or(0), nanos: 0 };
                let envelope = Envelope { data: data.clone(), written: Some(now.into()), ttl: Some(ttl) };
                envelope.encode_to_vec().into()
            }
        }
    }

    /// The value, and what the caller is told about it.
    pub(crate) fn decode(self, stored: Bytes) -> Result<(Bytes, RequestMetadata), Error> {
        if self == Self::Plain {
            return Ok((stored, RequestMetadata::new()));
        }
        let broken = |_| Error::other("proto: cannot parse invalid wire-format data");
        let envelope = Envelope::decode(stored).map_err(broken)?;
        let metadata = match envelope.ttl {
            None => RequestMetadata::new(),
            Some(ttl) => {
                let mut end = envelope.written.unwrap_or_default();
                end.seconds = end.seconds.saturating_add(ttl.seconds);
                SystemTime::try_from(end).map(expiry_metadata).unwrap_or_default()
            }
        };
        Ok((envelope.data, metadata))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_envelope_as_dapr_writes_it() {
        let stored = Layout::Envelope.encode(&"2".into(), None, at(1_795_258_192));
        assert_eq!(&stored[..], b"\n\x012\x12\x06\x08\xd0\xee\x85\xd8\x06\x1a\x00");
        let (data, metadata) = Layout::Envelope.decode(stored).unwrap();
        assert_eq!(data, "2");
        assert_eq!(metadata["ttlExpireTime"], "2026-11-21T10:49:52Z");
    }

    #[test]
    fn the_time_of_expiry() {
        let stored = Layout::Envelope.encode(&"x".into(), Some(100), at(1_795_258_192));
        assert_eq!(Layout::Envelope.decode(stored).unwrap().1["ttlExpireTime"], "2026-11-21T10:51:32Z");
        let without = Bytes::from_static(b"\n\x01x");
        assert_eq!(Layout::Envelope.decode(without).unwrap(), ("x".into(), RequestMetadata::new()));
    }

    #[test]
    fn what_others_left_there_is_an_error() {
        let error = Layout::Envelope.decode(Bytes::from_static(b"\xff\xff")).unwrap_err();
        assert_eq!(error, Error::other("proto: cannot parse invalid wire-format data"));
        assert_eq!(Layout::Plain.decode(Bytes::from_static(b"\xff\xff")).unwrap().0, &b"\xff\xff"[..]);
    }
}
