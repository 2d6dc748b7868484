//! HTTP header names.

/// First letter and every letter after a dash in upper case, the rest in lower
/// case (Go `CanonicalMIMEHeaderKey`). A name with a byte that no header name
/// may hold is returned as it is.
pub fn canonical_key(name: &str) -> String {
    let mut bytes = name.as_bytes().to_vec();
    make_canonical(&mut bytes);
    String::from_utf8(bytes).expect("only the case of ASCII letters changed")
}

/// [`canonical_key`] in place.
pub fn make_canonical(name: &mut [u8]) {
    if !name.iter().all(|b| is_token_byte(*b)) {
        return;
    }
    let mut upper = true;
    for byte in name {
        *byte = if upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        upper = *byte == b'-';
    }
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
