//! Takes personal data out of texts (api.md §8): what looks like it is
//! replaced by a tag that names its kind. Patterns, not understanding: they
//! err on the side of replacing, and a number of four digits is a phone number.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::ops::Range;

use regex::Regex;

/// Optional separator within a phone number.
const SEPARATOR: &str = r"[-.\s*]?";
/// Kinds of streets, the longer first where one begins another.
const STREETS: &str = "street|st|avenue|ave|road|rd|highway|hwy|square|sq|trail|trl|drive|dr|court|ct|parkway|pkwy|park|circle|cir|boulevard|blvd";

pub(super) struct Scrubber {
    /// Where two find the same, the later counts: it is the narrower.
    kinds: Vec<(&'static str, Vec<Regex>)>,
    ipv6: Regex,
    /// What holds no personal data although parts of it look so.
    links: Vec<Regex>,
}

/// Something that was found.
struct Finding {
    range: Range<usize>,
    /// Index into the kinds.
    kind: usize,
}

const IP: &str = "<IP>";

impl Default for Scrubber {
    fn default() -> Self {
        let phone = format!(
            r"(?:\+?[0-9]{{1,3}}{SEPARATOR})?(?:\(?[0-9]{{2,3}}\)?{SEPARATOR})?[0-9]{{2,3}}{SEPARATOR}[0-9]{{2,6}}"
        );
        let extended = r"(?i)(?:\+?1\s*(?:[.-]\s*)?)?(?:\(?\s*[2-9][0-9]{2}\s*\)?\s*(?:[.-]\s*)?)?[2-9][0-9]{2}\s*(?:[.-]\s*)?[0-9]{4}\s*(?:extension|ext\.?|x\.?|#)\s*[0-9]*";
        let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})";
        let ipv4 = format!(r"(?:{octet}\.){{3}}{octet}");
        let street = format!(r"(?i)[0-9]{{1,4}} [0-9A-Z_\s]{{1,20}}(?:{STREETS})[^0-9A-Z_]?");
        let email = r"(?i)[a-z0-9!#$%&'*+/=?^_{|}.~-]+@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
        Self {
            kinds: vec![
                ("<STREET_ADDRESS>", compile(&[&street])),
                ("<CREDIT_CARD>", compile(&["(?:[0-9]{4}[- ]?){3}[0-9]{4}|[0-9]{15,16}"])),
                ("<PHONE_NUMBER>", compile(&[extended, &phone])),
                ("<EMAIL_ADDRESS>", compile(&[email])),
                (IP, compile(&[&ipv4])),
                ("<ZIP_CODE>", compile(&[r"\b[0-9]{5}(?:[-\s][0-9]{4})?\b"])),
                ("<PO_BOX>", compile(&[r"(?i)P\.? ?O\.? Box [0-9]+"])),
                ("<US_SSN>", compile(&["[0-9]{3}-[0-9]{2}-[0-9]{4}"])),
                ("<ISBN>", compile(&["(?:[0-9]-?){12}[0-9xX]", "(?:[0-9]-?){9}[0-9xX]"])),
                ("<MAC_ADDRESS>", compile(&["(?:[a-fA-F0-9]{2}[:-]){5}[a-fA-F0-9]{2}"])),
                ("<IBAN>", compile(&["[A-Z]{2}[0-9]{2}[A-Z0-9]{4}[0-9]{7}[A-Z0-9]{0,16}"])),
            ],
            ipv6: pattern(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"),
            links: compile(&[
                r"https?://[^\s()<>]*[^\s()<>.,;:!?'\x22\[\]{}]",
                r"(?:git|ssh|https?|git@[\w.]+):(?://)?[\w.@:/~-]+\.git/?",
            ]),
        }
    }
}

fn compile(patterns: &[&str]) -> Vec<Regex> {
    patterns.iter().map(|p| pattern(p)).collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is constant and tested")
}

impl Scrubber {
    /// `text` with tags in place of personal data.
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let findings = self.findings(text);
        if findings.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for Finding { range, kind } in findings {
            out.push_str(&text[end..range.start]);
            out.push_str(self.kinds[kind].0);
            end = range.end;
        }
        out.push_str(&text[end..]);
        Cow::Owned(out)
    }

    /// In order and without overlap. Where two overlap, the earlier keeps what
    /// it has and the other gets the rest: nothing in between stays.
    fn findings(&self, text: &str) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for (kind, (tag, patterns)) in self.kinds.iter().enumerate() {
            let found = patterns.iter().flat_map(|p| p.find_iter(text)).map(|m| m.range());
            all.extend(found.map(|range| Finding { range, kind }));
            if *tag == IP {
                all.extend(self.ipv6(text).map(|range| Finding { range, kind }));
            }
        }
        if all.is_empty() {
            return all;
        }
        let links: Vec<_> = self.links.iter().flat_map(|p| p.find_iter(text)).map(|m| m.range()).collect();
        all.retain(|f| !links.iter().any(|l| f.range.start < l.end && l.start < f.range.end));
        all.sort_by(|a, b| {
            let order = a.range.start.cmp(&b.range.start).then(b.range.end.cmp(&a.range.end));
            order.then(b.kind.cmp(&a.kind))
        });
        let mut end = 0;
        all.retain_mut(|finding| {
            if finding.range.end <= end {
                return false;
            }
            finding.range.start = finding.range.start.max(end);
            end = finding.range.end;
            true
        });
        all
    }

    fn ipv6<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        self.ipv6.find_iter(text).filter_map(|candidate| {
            // A sentence may end right after the address.
            let address = candidate.as_str().trim_end_matches('.');
            let address = match address.strip_suffix(':') {
                Some(shorter) if !shorter.ends_with(':') => shorter,
                _ => address,
            };
            let range = candidate.start()..candidate.start() + address.len();
            let within_word = text[..range.start].chars().next_back().is_some_and(char::is_alphanumeric)
                || text[range.end..].chars().next().is_some_and(char::is_alphanumeric);
            (!within_word && address.parse::<Ipv6Addr>().is_ok()).then_some(range)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(text: &str) -> String {
        Scrubber::default().scrub(text).into_owned()
    }

    #[test]
    fn each_kind_has_its_tag() {
        for (text, expected) in [
            ("call +2222222222 now", "call <PHONE_NUMBER> now"),
            ("call (555) 123-4567.", "call <PHONE_NUMBER>."),
            ("415-555-1234 ext. 77", "<PHONE_NUMBER>"),
            ("mail test.user+x@example.co.uk!", "mail <EMAIL_ADDRESS>!"),
            ("from 10.8.9.1 on", "from <IP> on"),
            ("from 2001:db8::1.", "from <IP>."),
            ("at 12 Main Street, please", "at <STREET_ADDRESS> please"),
            ("card 4111 1111 1111 1111", "card <CREDIT_CARD>"),
            ("card 4111111111111111", "card <CREDIT_CARD>"),
            ("zip 90210", "zip <ZIP_CODE>"),
            ("zip 90210-1234", "zip <ZIP_CODE>"),
            ("P.O. Box 123", "<PO_BOX>"),
            ("ssn 123-45-6789", "ssn <US_SSN>"),
            ("mac 00:1A:2b:3c:4d:5E", "mac <MAC_ADDRESS>"),
            ("iban DE89370400440532013000", "iban <IBAN>"),
            ("isbn 0-306-40615-X", "isbn <ISBN>"),
            ("in the year 2024", "in the year <PHONE_NUMBER>"),
        ] {
            assert_eq!(scrub(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_personal_stays() {
        for text in ["", "hello there", "version 1.2", "room 12", "std::env", "12:30:59", "ümlaut ✓"] {
            assert!(matches!(Scrubber::default().scrub(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn links_stay_whole() {
        for text in
            ["see https://example.com/u/5551234567?ip=10.0.0.1", "clone git@github.com:org/5551234.git"]
        {
            assert_eq!(scrub(text), text);
        }
        assert_eq!(scrub("https://x.io/a and 10.0.0.1"), "https://x.io/a and <IP>");
    }

    #[test]
    fn texts_around_findings_stay() {
        assert_eq!(scrub("ä a@b.de ö 10.0.0.1 ü"), "ä <EMAIL_ADDRESS> ö <IP> ü");
        assert_eq!(scrub("a@b.de,c@d.de"), "<EMAIL_ADDRESS>,<EMAIL_ADDRESS>");
    }
}
