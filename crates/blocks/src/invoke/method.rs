//! Method normalisation, the same at caller and callee (api.md §7.3).

use std::borrow::Cow;

use dapr_gocompat::path;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid method: {0}")]
pub struct InvalidMethod(String);

/// Refuses reserved characters, then resolves the path: no trailing or
/// duplicate slashes, no `..` left. A leading slash stays: gRPC applications
/// get it. Never percent-decodes.
pub fn normalize(method: &str) -> Result<String, InvalidMethod> {
    normalized(method).map(Cow::into_owned)
}

/// [`normalize`] without a copy of what is normal already.
pub fn normalized(method: &str) -> Result<Cow<'_, str>, InvalidMethod> {
    if method.chars().any(|c| matches!(c, '#' | '?') || (c as u32) < 0x20 || c == '\u{7f}') {
        let method = dapr_gocompat::quote::quote(method);
        return Err(InvalidMethod(format!("method contains forbidden character: {method}")));
    }
    if is_clean(method) {
        return Ok(Cow::Borrowed(method));
    }
    let rooted = method.starts_with('/');
    let cleaned = path::clean(&format!("/{method}"));
    Ok(Cow::Owned(if rooted { cleaned } else { cleaned.trim_start_matches('/').to_owned() }))
}

/// Whether cleaning would change nothing: the usual case.
fn is_clean(method: &str) -> bool {
    !method.ends_with('/')
        && !method.contains("//")
        && !method.split('/').any(|part| part == "." || part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved() {
        for (given, wanted) in [
            ("a", "a"),
            ("a/b", "a/b"),
            ("/a//b/", "/a/b"),
            ("/a", "/a"),
            ("//a", "/a"),
            ("/a%09/../../b", "/b"),
            ("a/../b", "b"),
            ("../../b", "b"),
            ("./a", "a"),
            ("", ""),
            ("a%2Fb", "a%2Fb"),
        ] {
            assert_eq!(normalize(given).unwrap(), wanted, "{given}");
        }
    }

    #[test]
    fn reserved_characters_are_refused() {
        for bad in ["a#b", "a?b", "a\0", "a\n", "a\u{7f}"] {
            assert!(normalize(bad).unwrap_err().to_string().starts_with("invalid method: "), "{bad:?}");
        }
    }
}
