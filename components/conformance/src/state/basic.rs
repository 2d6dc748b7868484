//! Values, deletion, bulk operations, transactions.

use std::collections::HashMap;

use dapr_components::state::{
    BulkItem, DeleteRequest, GetRequest, Operation, SetRequest, TransactionRequest, Value,
};

use super::{Suite, assert_same, json, raw};

impl Suite<'_> {
    pub(super) async fn values(&self) {
        let cases = [
            ("int", json("123"), false),
            ("bool", json("true"), false),
            ("bytes", raw(&[1]), false),
            ("all-bytes", raw(&(0..=255).collect::<Vec<u8>>()), false),
            ("string-with-json", json(r#""{\"a\":\"b\"}""#), false),
            ("string", json(r#""hello world""#), false),
            ("empty-string", json(r#""""#), false),
            ("struct", json(&format!(r#"{{"message":"test{}"}}"#, self.prefix)), true),
            ("struct-with-int", json(r#"{"message":42}"#), true),
            // A negative varint: every byte with its high bit set.
            ("proto", raw(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), false),
            // Looks like base64 and must not be taken for it.
            ("base64-text", raw(b"aGVsbG8="), false),
        ];
        for (name, value, json_content) in &cases {
            let mut request = SetRequest::new(self.key(name), value.clone());
            if *json_content {
                request.metadata.insert("contentType".to_owned(), "application/json".to_owned());
            }
            self.set(&request).await;
        }
        for (name, value, json_content) in &cases {
            let mut request = GetRequest { key: self.key(name), ..Default::default() };
            if *json_content {
                request.metadata.insert("contentType".to_owned(), "application/json".to_owned());
            }
            let item = self.store.get(&request).await.unwrap_or_else(|e| panic!("get {name}: {e}"));
            assert_same(name, value, &item.unwrap_or_else(|| panic!("{name} should exist")).data);
        }

        let key = self.key("to-be-deleted");
        self.set(&SetRequest::new(&key, json(r#""x""#))).await;
        self.delete(&key).await;
        self.expect_absent(&key).await;
        self.delete(&key).await;
        self.delete(&self.key("never-written")).await;
        self.expect_absent(&self.key("never-written")).await;
    }

    async fn delete(&self, key: &str) {
        let request = DeleteRequest { key: key.to_owned(), ..Default::default() };
        self.store.delete(&request).await.unwrap_or_else(|e| panic!("delete {key}: {e}"));
    }

    pub(super) async fn bulk_get(&self, keys: &[String]) -> HashMap<String, BulkItem> {
        let requests: Vec<_> =
            keys.iter().map(|key| GetRequest { key: key.clone(), ..Default::default() }).collect();
        let items = self.store.bulk_get(&requests, 0).await.expect("bulk get");
        assert_eq!(items.len(), keys.len(), "bulk get answers once for every key");
        let by_key: HashMap<_, _> = items.into_iter().map(|item| (item.key.clone(), item)).collect();
        assert_eq!(by_key.len(), keys.len(), "bulk get repeats no key");
        by_key
    }

    pub(super) async fn bulk(&self) {
        let values: Vec<(String, Value)> = [
            ("bulk-int", json("123")),
            ("bulk-bool", json("true")),
            ("bulk-bytes", raw(&[1])),
            ("bulk-string", json(r#""hello world""#)),
            ("bulk-struct", json(r#"{"message":"test"}"#)),
            ("bulk-gone", json(r#""gone""#)),
            ("bulk-gone-too", json(r#""gone""#)),
        ]
        .map(|(name, value)| (self.key(name), value))
        .into();
        let sets: Vec<_> = values.iter().map(|(k, v)| SetRequest::new(k, v.clone())).collect();
        self.store.bulk_set(&sets).await.expect("bulk set");
        for (key, value) in &values {
            self.expect(key, value).await;
        }

        let mut keys: Vec<String> = values.iter().map(|(key, _)| key.clone()).collect();
        keys.push(self.key("does-not-exist"));
        let items = self.bulk_get(&keys).await;
        for (key, value) in &values {
            let item = items[key].result.as_ref().unwrap_or_else(|e| panic!("bulk get {key}: {e}"));
            assert_same(key, value, &item.as_ref().unwrap_or_else(|| panic!("{key} should exist")).data);
        }
        let missing = &items[&self.key("does-not-exist")].result;
        assert!(matches!(missing, Ok(None)), "a missing key is neither an error nor data: {missing:?}");

        let gone = [self.key("bulk-gone"), self.key("bulk-gone-too")];
        let deletes = gone.clone().map(|key| DeleteRequest { key, ..Default::default() });
        self.store.bulk_delete(&deletes).await.expect("bulk delete");
        for key in &gone {
            self.expect_absent(key).await;
        }
        assert!(self.store.bulk_get(&[], 0).await.expect("bulk get of nothing").is_empty());
    }

    fn upsert(&self, name: &str, value: &Value) -> Operation {
        Operation::Upsert(SetRequest::new(self.key(name), value.clone()))
    }

    fn remove(&self, name: &str) -> Operation {
        Operation::Delete(DeleteRequest { key: self.key(name), ..Default::default() })
    }

    async fn transact(&self, operations: Vec<Operation>) {
        let request = TransactionRequest { operations, ..Default::default() };
        self.store.transact(&request).await.unwrap_or_else(|e| panic!("transaction: {e}"));
    }

    pub(super) async fn transactions(&self) {
        let (text, bytes) = (json(r#""hello""#), raw(&[1]));
        self.transact(vec![
            self.upsert("trx-int", &json("123")),
            self.upsert("trx-bytes", &bytes),
            self.upsert("trx-string", &text),
            self.upsert("trx-gone", &text),
        ])
        .await;
        self.expect(&self.key("trx-int"), &json("123")).await;
        self.expect(&self.key("trx-bytes"), &bytes).await;
        self.expect(&self.key("trx-gone"), &text).await;
        self.transact(vec![
            self.upsert("trx-struct", &json(r#"{"message":"test"}"#)),
            self.remove("trx-gone"),
        ])
        .await;
        self.expect_absent(&self.key("trx-gone")).await;
        self.expect(&self.key("trx-string"), &text).await;
        self.transact(vec![self.upsert("trx-gone-too", &text)]).await;
        self.transact(vec![self.remove("trx-gone-too")]).await;
        self.expect_absent(&self.key("trx-gone-too")).await;

        self.transact(vec![self.remove("trx-never-written")]).await;
        self.transact(vec![self.remove("trx-never-written"), self.remove("trx-never-written-too")]).await;
        self.transact(Vec::new()).await;

        self.set(&SetRequest::new(self.key("order1"), text.clone())).await;
        self.transact(vec![
            self.remove("order1"),
            self.upsert("order2", &text),
            self.remove("order2"),
            self.upsert("order3", &text),
        ])
        .await;
        self.expect_absent(&self.key("order1")).await;
        self.expect_absent(&self.key("order2")).await;
        self.expect(&self.key("order3"), &text).await;
    }
}
