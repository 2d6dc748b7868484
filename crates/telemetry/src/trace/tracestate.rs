//! `tracestate` (W3C Trace Context §3.3).

const MAX_MEMBERS: usize = 32;
const MAX_KEY: usize = 256;
const MAX_TENANT: usize = 241;
const MAX_SYSTEM: usize = 14;
const MAX_VALUE: usize = 256;

/// A valid list of members, in canonical spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState(String);

impl TraceState {
    /// Nothing if a member is malformed, a key repeats or there are too many.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let mut members: Vec<(&str, &str)> = Vec::new();
        for member in text.split(',').filter(|m| !m.is_empty()) {
            let (key, value) = parse_member(member)?;
            if members.len() == MAX_MEMBERS || members.iter().any(|(k, _)| *k == key) {
                return None;
            }
            members.push((key, value));
        }
        let list: Vec<String> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(Self(list.join(",")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_member(member: &str) -> Option<(&str, &str)> {
    let (key, value) = member.split_once('=')?;
    let (key, value) = (key.trim_start_matches([' ', '\t']), value.trim_end_matches([' ', '\t']));
    (valid_key(key) && valid_value(value)).then_some((key, value))
}

fn valid_key(key: &str) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
    let part = |text: &str, max: usize, first: fn(u8) -> bool| {
        text.len() <= max && text.bytes().next().is_some_and(first) && text.bytes().all(rest)
    };
    let letter = |b: u8| b.is_ascii_lowercase();
    let letter_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    match key.split_once('@') {
        None => part(key, MAX_KEY, letter),
        Some((tenant, system)) => {
            part(tenant, MAX_TENANT, letter_or_digit) && part(system, MAX_SYSTEM, letter)
        }
    }
}

fn valid_value(value: &str) -> bool {
    let plain = |b: u8| (b' '..=b'~').contains(&b) && b != b',' && b != b'=';
    !value.is_empty() && value.len() <= MAX_VALUE && !value.ends_with(' ') && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_lose_their_padding() {
        let state = TraceState::parse("rojo=00f067aa0ba902b7, 1tenant@sys=t 1 ,,a=b").unwrap();
        assert_eq!(state.as_str(), "rojo=00f067aa0ba902b7,1tenant@sys=t 1,a=b");
        assert_eq!(TraceState::parse("").unwrap().as_str(), "");
    }

    #[test]
    fn one_bad_member_spoils_the_list() {
        for text in ["a", "A=b", "a=", "a=b=c", "a=1,a=2", "1a=b", "a=\u{e4}", "@s=v"] {
            assert_eq!(TraceState::parse(text), None, "{text}");
        }
        let many: Vec<String> = (0..33).map(|i| format!("k{i}=v")).collect();
        assert_eq!(TraceState::parse(&many.join(",")), None);
        assert!(TraceState::parse(&many[..32].join(",")).is_some());
    }
}
