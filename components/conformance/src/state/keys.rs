//! Delete-with-prefix and keys-like.

use dapr_components::state::{KeysLikeRequest, KeysPage, SetRequest};
use tokio::time::{Duration, sleep};

use super::{Suite, json, raw};

const MANY_KEYS: usize = 1025;

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_unstable();
    keys
}

fn owned(keys: &[&str]) -> Vec<String> {
    sorted(keys.iter().map(|key| (*key).to_owned()).collect())
}

impl Suite<'_> {
    pub(super) async fn delete_with_prefix(&self) {
        let keys = ["p||key1", "p||key2", "p||p2||key3", "other-p||key1", "no-prefix"];
        let sets: Vec<_> = keys.iter().map(|key| SetRequest::new(*key, raw(b"x"))).collect();
        self.store.bulk_set(&sets).await.expect("bulk set");
        let deleted = self.store.delete_with_prefix("p||").await.expect("delete with prefix");
        assert_eq!(deleted, 2, "keys directly below the prefix");
        self.expect_absent("p||key1").await;
        self.expect_absent("p||key2").await;
        for key in ["p||p2||key3", "other-p||key1", "no-prefix"] {
            self.expect(key, &raw(b"x")).await;
        }
        let deleted = self.store.delete_with_prefix("other-p").await.expect("delete with prefix");
        assert_eq!(deleted, 1, "the separator is added");
        self.expect_absent("other-p||key1").await;
        for prefix in ["", "||"] {
            let error = self.store.delete_with_prefix(prefix).await.expect_err("no prefix").to_string();
            assert!(error.contains("prefix is required"), "{error}");
        }
    }

    async fn page(&self, pattern: &str, size: Option<u32>, token: Option<String>) -> KeysPage {
        let request = KeysLikeRequest { pattern: pattern.to_owned(), page_size: size, continuation: token };
        self.store.keys_like(&request).await.unwrap_or_else(|e| panic!("keys like {pattern}: {e}"))
    }

    async fn matching(&self, pattern: &str, expected: &[&str]) {
        let page = self.page(pattern, None, None).await;
        assert_eq!(sorted(page.keys), owned(expected), "keys like {pattern}");
        assert_eq!(page.continuation, None, "no token without a page size");
    }

    async fn clear(&self) {
        let keys = self.page("%", None, None).await.keys;
        let deletes: Vec<_> = keys
            .into_iter()
            .map(|key| dapr_components::state::DeleteRequest { key, ..Default::default() })
            .collect();
        self.store.bulk_delete(&deletes).await.expect("bulk delete");
    }

    async fn fill(&self, keys: &[&str]) {
        for key in keys {
            self.set(&SetRequest::new(*key, raw(b"x"))).await;
        }
    }

    pub(super) async fn keys_like(&self) {
        let request = KeysLikeRequest::default();
        let error = self.store.keys_like(&request).await.expect_err("an empty pattern").to_string();
        assert_eq!(error, "keys like pattern cannot be empty");

        let keys = [
            "prefix||key1",
            "prefix||key2",
            "prefix||prefix2||key3",
            "other-prefix||key1",
            "no-prefix",
            "abc1",
            "abc2",
            "abc3",
            "abc33",
            "xyz1",
            "xyz2",
            "xyz3",
        ];
        self.clear().await;
        self.fill(&keys).await;
        self.matching("%", &keys).await;
        self.matching("prefix||%", &["prefix||key1", "prefix||key2", "prefix||prefix2||key3"]).await;
        self.matching("%key1", &["prefix||key1", "other-prefix||key1"]).await;
        self.matching("%||%||%", &["prefix||prefix2||key3"]).await;
        self.matching("abc_", &["abc1", "abc2", "abc3"]).await;
        self.matching("nothing%", &[]).await;

        let first = self.page("%", Some(6), None).await;
        assert_eq!(first.keys.len(), 6);
        let second = self.page("%", Some(5), Some(first.continuation.expect("more pages follow"))).await;
        assert_eq!(second.keys.len(), 5);
        let last = self.page("%", Some(100), Some(second.continuation.expect("one more page"))).await;
        assert_eq!((last.keys.len(), last.continuation), (1, None), "the last page has no token");
        assert_eq!(
            sorted([first.keys, second.keys, last.keys].concat()),
            owned(&keys),
            "pages cover all keys"
        );

        self.many_keys().await;
        self.escapes().await;
        self.tokens_survive_changes().await;
        if self.config.ttl {
            self.expired_keys_disappear().await;
        }
        self.clear().await;
    }

    async fn many_keys(&self) {
        self.clear().await;
        let sets: Vec<_> = (0..MANY_KEYS).map(|n| SetRequest::new(n.to_string(), json("null"))).collect();
        self.store.bulk_set(&sets).await.expect("bulk set");
        for size in [None, Some(100_000)] {
            let page = self.page("%", size, None).await;
            assert_eq!((page.keys.len(), page.continuation), (MANY_KEYS, None));
        }
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = self.page("%", Some(100), token).await;
            assert!(page.keys.len() <= 100, "a page has at most its size");
            all.extend(page.keys);
            token = page.continuation;
            if token.is_none() {
                break;
            }
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), MANY_KEYS, "paging lists every key once");
    }

    async fn escapes(&self) {
        self.clear().await;
        self.fill(&["a_b", "axb", "100%", "1000", "50%off"]).await;
        self.matching(r"a\_b", &["a_b"]).await;
        self.matching(r"a_b", &["a_b", "axb"]).await;
        self.matching(r"100\%", &["100%"]).await;
        self.matching(r"%\%%", &["100%", "50%off"]).await;
    }

    async fn tokens_survive_changes(&self) {
        self.clear().await;
        self.fill(&["k1", "k2", "k3", "k4"]).await;
        let first = self.page("k%", Some(2), None).await;
        let gone = dapr_components::state::DeleteRequest { key: first.keys[0].clone(), ..Default::default() };
        self.store.delete(&gone).await.expect("delete");
        let rest = self.page("k%", Some(100), first.continuation.clone()).await;
        let expected: Vec<_> =
            ["k1", "k2", "k3", "k4"].into_iter().filter(|key| !first.keys.iter().any(|k| k == key)).collect();
        assert_eq!(sorted(rest.keys), owned(&expected), "deleting a listed key does not move the pages");
        self.fill(&["k5"]).await;
        let rest = self.page("k%", Some(100), first.continuation).await.keys;
        for key in expected {
            assert!(
                rest.iter().any(|k| k == key),
                "{key} is missing after an insert between pages: {rest:?}"
            );
        }
    }

    async fn expired_keys_disappear(&self) {
        self.clear().await;
        let mut request = SetRequest::new("expiring", raw(b"x"));
        request.metadata.insert("ttlInSeconds".to_owned(), "1".to_owned());
        self.set(&request).await;
        self.fill(&["staying"]).await;
        sleep(Duration::from_secs(4)).await;
        self.matching("%", &["staying"]).await;
    }
}
