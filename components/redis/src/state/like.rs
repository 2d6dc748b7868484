//! SQL LIKE patterns over Redis' globs, and pages of keys.

use std::collections::BTreeSet;

use dapr_components::state::{KeysLikeRequest, KeysPage};

/// `%` is `*`, `_` is `?`, a backslash takes the next character literally.
pub(super) fn to_glob(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => glob.push('*'),
            '_' => glob.push('?'),
            '\\' => push_literal(&mut glob, characters.next().unwrap_or('\\')),
            other => push_literal(&mut glob, other),
        }
    }
    glob
}

fn push_literal(glob: &mut String, character: char) {
    if matches!(character, '*' | '?' | '[' | ']' | '\\') {
        glob.push('\\');
    }
    glob.push(character);
}

/// Begins a token; the last key of the page before follows.
const AFTER: char = '>';

/// A token names the last key of the page before, so that keys which come and
/// go meanwhile move nothing. A plain number, which other implementations hand
/// out, is a position in the sorted list; anything else is the beginning.
pub(super) fn page(keys: BTreeSet<String>, request: &KeysLikeRequest) -> KeysPage {
    let size = match request.page_size {
        Some(size) if size > 0 => usize::try_from(size).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let token = request.continuation.as_deref().unwrap_or_default();
    let after = token.strip_prefix(AFTER);
    let skip = if after.is_none() { token.parse().unwrap_or(0) } else { 0 };
    let mut rest =
        keys.into_iter().skip_while(|key| after.is_some_and(|last| key.as_str() <= last)).skip(skip);
    let keys: Vec<String> = rest.by_ref().take(size).collect();
    let continuation = match (rest.next(), keys.last()) {
        (Some(_), Some(last)) => Some(format!("{AFTER}{last}")),
        _ => None,
    };
    KeysPage { keys, continuation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, glob) in [
            ("%", "*"),
            ("abc_", "abc?"),
            (r"a\_b\%", "a_b%"),
            ("a*b?[c]", r"a\*b\?\[c\]"),
            (r"\\x\", r"\\x\\"),
        ] {
            assert_eq!(to_glob(pattern), glob, "{pattern}");
        }
    }

    #[test]
    fn pages() {
        let keys: BTreeSet<String> = ["c", "a", "b"].map(str::to_owned).into();
        let get = |size, token: Option<&str>| {
            let request = KeysLikeRequest {
                pattern: "%".to_owned(),
                page_size: size,
                continuation: token.map(str::to_owned),
            };
            let page = page(keys.clone(), &request);
            (page.keys.concat(), page.continuation)
        };
        assert_eq!(get(None, None), ("abc".to_owned(), None));
        assert_eq!(get(Some(2), None), ("ab".to_owned(), Some(">b".to_owned())));
        assert_eq!(get(Some(2), Some(">b")), ("c".to_owned(), None));
        assert_eq!(get(Some(1), Some(">aa")), ("b".to_owned(), Some(">b".to_owned())));
        assert_eq!(get(Some(2), Some("2")), ("c".to_owned(), None));
        assert_eq!(get(Some(3), Some("bad")), ("abc".to_owned(), None));
        assert_eq!(get(Some(1), Some("9")), (String::new(), None));
    }
}
