//! ETags, first-write concurrency, expiry, the query API.

use std::time::Duration;

use dapr_components::state::{
    Concurrency, Consistency, DeleteRequest, Error, Operation, SetRequest, TransactionRequest, Value,
};
use tokio::time::{Instant, sleep};

use super::{Suite, assert_same, json, raw};

/// A 2 s TTL must have ended after this long.
const EXPIRY_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

fn with_etag(key: &str, value: &Value, etag: &str) -> SetRequest {
    SetRequest { etag: Some(etag.to_owned()), ..SetRequest::new(key, value.clone()) }
}

fn delete_with_etag(key: &str, etag: &str) -> DeleteRequest {
    DeleteRequest { key: key.to_owned(), etag: Some(etag.to_owned()), ..Default::default() }
}

/// Exactly one entry of a bulk write failed, with a mismatch, and it is `key`.
fn assert_one_mismatch(result: Result<(), Error>, key: &str) {
    match result {
        Err(Error::Bulk(errors)) => {
            assert_eq!(errors.len(), 1, "one failed key expected: {errors:?}");
            assert_eq!(errors[0].key, key);
            assert!(matches!(errors[0].error, Error::EtagMismatch(_)), "mismatch expected: {errors:?}");
        }
        other => panic!("a bulk error that names {key} was expected, got {other:?}"),
    }
}

impl Suite<'_> {
    pub(super) async fn etags(&self) {
        let [first, second, third] = [r#""one""#, r#""two""#, r#""three""#].map(json);
        let bad = self.config.bad_etag.as_str();
        let keys: Vec<String> = (1..=4).map(|n| self.key(&format!("etag{n}"))).collect();
        let sets: Vec<_> = keys.iter().map(|key| SetRequest::new(key, first.clone())).collect();
        self.store.bulk_set(&sets).await.expect("bulk set without ETags");

        let mut etags = Vec::new();
        let bulk = self.bulk_get(&keys).await;
        for key in &keys {
            let etag = self.etag_of(key).await;
            let item = bulk[key].result.as_ref().expect("bulk get").as_ref().expect("item exists");
            assert_eq!(item.etag.as_deref(), Some(etag.as_str()), "get and bulk get agree on the ETag");
            etags.push(etag);
        }

        let error = self.store.set(&with_etag(&keys[0], &second, bad)).await.expect_err("wrong ETag");
        assert!(matches!(error, Error::EtagMismatch(_)), "a wrong ETag is a mismatch, got {error:?}");
        self.expect(&keys[0], &first).await;
        self.set(&with_etag(&keys[0], &second, &etags[0])).await;
        self.expect(&keys[0], &second).await;
        let newer = self.etag_of(&keys[0]).await;
        assert_ne!(newer, etags[0], "a write gives a new ETag");
        etags[0] = newer;

        let writes = [with_etag(&keys[1], &second, bad), with_etag(&keys[2], &second, &etags[2])];
        assert_one_mismatch(self.store.bulk_set(&writes).await, &keys[1]);
        self.expect(&keys[1], &first).await;
        assert_eq!(self.etag_of(&keys[1]).await, etags[1]);
        self.expect(&keys[2], &second).await;
        etags[2] = self.etag_of(&keys[2]).await;
        let writes = [with_etag(&keys[1], &third, &etags[1]), with_etag(&keys[2], &third, &etags[2])];
        self.store.bulk_set(&writes).await.expect("bulk set with right ETags");
        for n in [1, 2] {
            self.expect(&keys[n], &third).await;
            etags[n] = self.etag_of(&keys[n]).await;
        }
        self.etag_deletes(&keys, &etags, &third).await;
        if self.config.transaction {
            self.etag_rolls_back(&third).await;
        }
    }

    async fn etag_deletes(&self, keys: &[String], etags: &[String], third: &Value) {
        let bad = self.config.bad_etag.as_str();
        let error = self.store.delete(&delete_with_etag(&keys[0], bad)).await.expect_err("wrong ETag");
        assert!(error.is_etag(), "deleting with a wrong ETag is an ETag error, got {error:?}");
        self.store.delete(&delete_with_etag(&keys[0], &etags[0])).await.expect("delete with right ETag");
        self.expect_absent(&keys[0]).await;

        let deletes = [delete_with_etag(&keys[1], &etags[1]), delete_with_etag(&keys[2], bad)];
        assert_one_mismatch(self.store.bulk_delete(&deletes).await, &keys[2]);
        self.expect_absent(&keys[1]).await;
        self.expect(&keys[2], third).await;
        let deletes = [delete_with_etag(&keys[2], &etags[2]), delete_with_etag(&keys[3], &etags[3])];
        self.store.bulk_delete(&deletes).await.expect("bulk delete with right ETags");
        self.expect_absent(&keys[2]).await;
        self.expect_absent(&keys[3]).await;
    }

    /// A transaction in which one ETag is wrong changes nothing.
    async fn etag_rolls_back(&self, value: &Value) {
        let (a, b) = (self.key("etag-trx-a"), self.key("etag-trx-b"));
        self.set(&SetRequest::new(&b, value.clone())).await;
        let operations = vec![
            Operation::Upsert(SetRequest::new(&a, value.clone())),
            Operation::Upsert(with_etag(&b, &json("0"), &self.config.bad_etag)),
        ];
        let request = TransactionRequest { operations, ..Default::default() };
        self.store.transact(&request).await.expect_err("a wrong ETag fails the transaction");
        self.expect(&b, value).await;
        if self.config.transaction_rolls_back {
            self.expect_absent(&a).await;
        }
    }

    pub(super) async fn first_write(&self) {
        let (first, second) = (raw(b"one"), raw(b"two"));
        for etag in [None, Some(String::new())] {
            let key = self.key(&format!("first-write-{}", etag.is_some()));
            let request = SetRequest {
                etag,
                concurrency: Concurrency::FirstWrite,
                consistency: Consistency::Strong,
                ..SetRequest::new(&key, first.clone())
            };
            self.set(&request).await;
            self.expect(&key, &first).await;
            let again = SetRequest { value: second.clone(), ..request };
            self.store.set(&again).await.expect_err("the second first-write without an ETag");
            self.expect(&key, &first).await;
        }
        let key = self.key("first-write-etag");
        self.set(&SetRequest::new(&key, first.clone())).await;
        let etag = self.etag_of(&key).await;
        let request = SetRequest {
            concurrency: Concurrency::FirstWrite,
            consistency: Consistency::Strong,
            ..with_etag(&key, &second, &etag)
        };
        self.set(&request).await;
        self.expect(&key, &second).await;
        assert_ne!(self.etag_of(&key).await, etag);
        self.store.set(&request).await.expect_err("a stale ETag");
    }

    fn expiring(&self, name: &str, ttl: &str) -> SetRequest {
        let mut request = SetRequest::new(self.key(name), json("\"\u{23f1}\u{fe0f}\""));
        if !ttl.is_empty() {
            request.metadata.insert("ttlInSeconds".to_owned(), ttl.to_owned());
        }
        request
    }

    pub(super) async fn ttl(&self) {
        self.store.set(&self.expiring("ttl", "foo")).await.expect_err("a TTL that is no number");

        let request = self.expiring("ttl", "2");
        self.set(&request).await;
        self.expect(&request.key, &request.value).await;
        let renewed = self.expiring("ttl-cleared", "2");
        self.set(&renewed).await;
        if self.config.ttl_expire_time {
            self.expire_time().await;
        }
        let cleared = self.config.write_clears_ttl;
        if cleared {
            self.set(&self.expiring("ttl-cleared", "")).await;
        }
        let minus_one = self.expiring("ttl-minus-one", "-1");
        self.set(&self.expiring("ttl-minus-one", "2")).await;
        self.set(&minus_one).await;

        let limit = Instant::now() + EXPIRY_LIMIT;
        while self.get(&request.key).await.is_some() {
            assert!(
                Instant::now() < limit,
                "an item with a TTL of 2 s was still there after {EXPIRY_LIMIT:?}"
            );
            sleep(POLL).await;
        }
        sleep(Duration::from_secs(1)).await;
        if cleared {
            let item = self.expect(&renewed.key, &renewed.value).await;
            let told = item.metadata.contains_key("ttlExpireTime");
            assert_eq!(told, self.config.always_expire_time, "a write without TTL clears the TTL");
        }
        if self.config.minus_one_is_never {
            self.expect(&minus_one.key, &minus_one.value).await;
        } else {
            self.expect_absent(&minus_one.key).await;
        }
    }

    /// RFC 3339 in UTC, whole seconds, about an hour from now.
    async fn expire_time(&self) {
        let request = self.expiring("ttl-expire-time", "3600");
        self.set(&request).await;
        let single = self.expect(&request.key, &request.value).await;
        let text = single.metadata.get("ttlExpireTime").expect("ttlExpireTime of an expiring item");
        assert!(text.len() == 20 && text.ends_with('Z'), "RFC 3339 in UTC expected: {text}");
        let bulk = self.bulk_get(std::slice::from_ref(&request.key)).await;
        let bulk = bulk[&request.key].result.as_ref().expect("bulk get").as_ref().expect("item exists");
        assert_same(&request.key, &request.value, &bulk.data);
        assert_eq!(bulk.metadata.get("ttlExpireTime"), Some(text));
        let plain = self.expiring("ttl-none", "");
        self.set(&plain).await;
        let told = self.expect(&plain.key, &plain.value).await.metadata.contains_key("ttlExpireTime");
        assert_eq!(told, self.config.always_expire_time);
    }

    /// Needs an index `qIndx` over `message` (text), `product.value` (number)
    /// and `status` (text), where the store has indexes.
    pub(super) async fn query(&self) {
        let message = format!("{}message", self.prefix);
        let other = format!("test{}", self.prefix);
        let metadata = std::collections::HashMap::from([
            ("contentType".to_owned(), "application/json".to_owned()),
            ("queryIndexName".to_owned(), "qIndx".to_owned()),
        ]);
        let items = [
            ("q-message", format!(r#"{{"message":"{other}"}}"#)),
            ("q-active", format!(r#"{{"product":{{"value":15}},"status":"ACTIVE","message":"{message}"}}"#)),
            (
                "q-inactive",
                format!(r#"{{"product":{{"value":12}},"status":"INACTIVE","message":"{message}"}}"#),
            ),
        ];
        for (name, text) in &items {
            let mut request = SetRequest::new(self.key(name), json(text));
            request.metadata = metadata.clone();
            self.set(&request).await;
        }
        let cases = [
            (
                format!(
                    r#"{{"filter":{{"OR":[{{"EQ":{{"message":"dummy"}}}},{{"IN":{{"message":["{other}","dummy"]}}}}]}}}}"#
                ),
                &items[0],
            ),
            (
                format!(
                    r#"{{"filter":{{"AND":[{{"EQ":{{"message":"{message}"}}}},{{"GTE":{{"product.value":10}}}},{{"LT":{{"product.value":20}}}},{{"NEQ":{{"status":"INACTIVE"}}}}]}}}}"#
                ),
                &items[1],
            ),
            (
                format!(
                    r#"{{"filter":{{"OR":[{{"AND":[{{"EQ":{{"message":"{message}"}}}},{{"GT":{{"product.value":11.1}}}},{{"EQ":{{"status":"INACTIVE"}}}}]}},{{"AND":[{{"EQ":{{"message":"{message}"}}}},{{"LTE":{{"product.value":0.5}}}},{{"EQ":{{"status":"ACTIVE"}}}}]}}]}}}}"#
                ),
                &items[2],
            ),
        ];
        for (query, (name, text)) in cases {
            let response = self
                .store
                .query(query.as_bytes(), &metadata)
                .await
                .unwrap_or_else(|e| panic!("{query}: {e}"));
            assert_eq!(response.results.len(), 1, "{query} has one result");
            assert_eq!(response.results[0].key, self.key(name));
            assert_same(name, &json(text), &response.results[0].data);
        }
    }
}
