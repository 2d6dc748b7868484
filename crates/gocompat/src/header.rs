//! HTTP header names.

/// First letter and every letter after a dash in upper case, the rest in lower
/// case (Go `CanonicalMIMEHeaderKey`). A name with a byte that no header name
/// may hold is returned as it is.
pub fn canonical_key(name: &str) -> String {
    if !name.bytes().all(is_token_byte) {
        return name.to_owned();
    }
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect()
}

/// RFC 9110 `tchar`.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical() {
        let table = [
            ("dapr-app-id", "Dapr-App-Id"),
            ("eTAG", "Etag"),
            ("WWW-authenticate", "Www-Authenticate"),
            ("foo-BAR-9x", "Foo-Bar-9x"),
            ("a_b", "A_b"),
            ("metadata.ttlExpireTime", "Metadata.ttlexpiretime"),
            ("x y", "x y"),
            ("a(b", "a(b"),
            ("ab:", "ab:"),
            ("\u{e9}a", "\u{e9}a"),
            ("", ""),
            ("--a", "--A"),
        ];
        for (name, canonical) in table {
            assert_eq!(canonical_key(name), canonical);
        }
    }
}
