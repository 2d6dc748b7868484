//! Keys that match a pattern, a page at a time (components.md §3.8).
//!
//! Pages follow the revisions in which keys were made, at the revision of the
//! first page. Keys that one transaction made share theirs, so that a token
//! also names the last key: `<snapshot>:<made>:<key>`. Tokens of other makers
//! end before the second colon.

use bytes::Bytes;
use dapr_components::like::Pattern;
use dapr_components::state::{Error, KeysLikeRequest, KeysPage};

use crate::api::range_request::{SortOrder, SortTarget};
use crate::api::{KeyValue, RangeRequest};
use crate::client::Client;

/// Keys of one question to the server.
const FETCH: usize = 1024;

/// After which key a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// 0 before the first question.
    snapshot: i64,
    made: i64,
    /// `None`: all keys of that revision have been listed.
    key: Option<String>,
}

impl Cursor {
    fn parse(token: Option<&str>) -> Result<Self, Error> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(Self::default()) };
        let invalid = |reason: &str| Error::other(format!("invalid continue token{reason}"));
        let (snapshot, rest) = token.split_once(':').ok_or_else(|| invalid(""))?;
        let (made, key) = rest.split_once(':').map_or((rest, None), |(made, key)| (made, Some(key)));
        let number = |text: &str| text.parse().map_err(|e| invalid(&format!(": {text:?}: {e}")));
        Ok(Self { snapshot: number(snapshot)?, made: number(made)?, key: key.map(str::to_owned) })
    }

    fn token(&self) -> String {
        let key = self.key.as_deref().map(|key| format!(":{key}")).unwrap_or_default();
        format!("{}:{}{key}", self.snapshot, self.made)
    }

    /// Whether the key is yet to come.
    fn is_before(&self, made: i64, key: &str) -> bool {
        made > self.made || (made == self.made && self.key.as_deref().is_some_and(|last| key > last))
    }
}

/// `base` is what stands before every key of the component.
pub(crate) async fn page(client: &Client, base: &str, request: &KeysLikeRequest) -> Result<KeysPage, Error> {
    request.check()?;
    let pattern = Pattern::new(&request.pattern);
    let mut cursor = Cursor::parse(request.continuation.as_deref())?;
    let size = request.page_size.filter(|size| *size > 0).map_or(usize::MAX, |size| size as usize);
    let first = format!("{base}{}", pattern.literal_prefix());
    let (mut keys, mut fetch) = (Vec::new(), FETCH);
    loop {
        let answer = client.range(question(&first, &cursor, fetch)).await;
        let answer = answer.map_err(|e| Error::other(e.0))?;
        if cursor.snapshot == 0 {
            cursor.snapshot = answer.header.map_or(0, |header| header.revision);
        }
        let found = whole_revisions(answer.kvs, answer.more, base);
        if found.is_empty() && answer.more {
            fetch = fetch.saturating_mul(2);
            continue;
        }
        for (made, key) in found {
            if !cursor.is_before(made, &key) {
                continue;
            }
            if pattern.matches(&key) {
                if keys.len() == size {
                    return Ok(KeysPage { keys, continuation: Some(cursor.token()) });
                }
                keys.push(key.clone());
            }
            (cursor.made, cursor.key) = (made, Some(key));
        }
        if !answer.more {
            return Ok(KeysPage { keys, continuation: None });
        }
        cursor.key = None;
    }
}

fn question(prefix: &str, cursor: &Cursor, limit: usize) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: end_of(prefix),
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
        revision: cursor.snapshot,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        keys_only: true,
        min_create_revision: cursor.made + i64::from(cursor.key.is_none()),
    }
}

/// What comes after all that begin with `prefix`, which is UTF-8 and not empty.
fn end_of(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// In order. The server's limit may have cut the keys of the last revision,
/// which come again with the next answer then.
fn whole_revisions(found: Vec<KeyValue>, more: bool, base: &str) -> Vec<(i64, String)> {
    let cut = if more { found.iter().map(|item| item.create_revision).max() } else { None };
    let found = found.into_iter().filter(|item| Some(item.create_revision) != cut);
    let mut keys: Vec<_> = found
        .filter_map(|item| {
            let key = std::str::from_utf8(&item.key).ok()?.strip_prefix(base)?;
            Some((item.create_revision, key.to_owned()))
        })
        .collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let text = |token| Cursor::parse(Some(token)).map(|cursor| cursor.token());
        for token in ["7:3", "7:3:k", "7:3:a:b||c", "7:3:"] {
            assert_eq!(text(token).unwrap(), token);
        }
        assert_eq!(Cursor::parse(Some("")).unwrap(), Cursor::default());
        assert_eq!(text("7").unwrap_err(), Error::other("invalid continue token"));
        for token in ["x:3", "7:x", "7:x:k"] {
            let error = text(token).unwrap_err().to_string();
            assert!(error.starts_with("invalid continue token: "), "{error}");
        }
    }

    #[test]
    fn what_is_left_after_a_cursor() {
        let cursor = Cursor { snapshot: 9, made: 3, key: Some("b".to_owned()) };
        assert!(!cursor.is_before(2, "c") && !cursor.is_before(3, "b"));
        assert!(cursor.is_before(3, "c") && cursor.is_before(4, "a"));
        let cursor = Cursor { key: None, ..cursor };
        assert!(!cursor.is_before(3, "c") && cursor.is_before(4, "a"));
    }

    #[test]
    fn a_revision_that_may_be_cut_waits() {
        let item = |made, key: &'static str| KeyValue {
            create_revision: made,
            key: key.into(),
            ..KeyValue::default()
        };
        let found = vec![item(2, "p/b"), item(2, "p/a"), item(3, "p/c"), item(1, "q/x")];
        let keys = |more| whole_revisions(found.clone(), more, "p/").into_iter().map(|(_, key)| key);
        assert_eq!(keys(false).collect::<String>(), "abc");
        assert_eq!(keys(true).collect::<String>(), "ab");
    }
}
