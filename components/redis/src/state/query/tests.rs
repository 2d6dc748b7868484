use super::*;
use serde_json::json;

const INDEXES: &str = r#"[{"name":"qIndx","indexes":[
    {"key":"message","type":"TEXT"},{"key":"product.value","type":"NUMERIC"},{"key":"status","type":"TEXT"}]}]"#;

fn search(body: &Json) -> Result<Vec<String>, String> {
    let metadata = RequestMetadata::from([("queryIndexName".to_owned(), "qIndx".to_owned())]);
    let indexes = Indexes::parse(INDEXES)?;
    indexes.search(&serde_json::to_vec(body).unwrap(), &metadata).map(|search| search.arguments)
}

fn filter(filter: &Json) -> Result<String, String> {
    search(&json!({ "filter": filter })).map(|arguments| arguments[1].clone())
}

fn words(command: &Cmd) -> Vec<String> {
    command
        .args_iter()
        .filter_map(|arg| match arg {
            redis::Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn an_index_is_created_over_paths_below_data() {
    let indexes = Indexes::parse(INDEXES).unwrap();
    let (name, index) = indexes.iter().next().unwrap();
    assert_eq!(
        words(&index.create_command(name)).join(" "),
        "FT.CREATE qIndx ON JSON SCHEMA $.data.message AS var0 TEXT SORTABLE \
         $.data.product.value AS var1 NUMERIC SORTABLE $.data.status AS var2 TEXT SORTABLE"
    );
}

#[test]
fn filters() {
    let cases = [
        (json!({"EQ": {"message": "hi"}}), "@var0:(hi)"),
        (json!({"NEQ": {"message": "hi"}}), "@var0:(hi)"),
        (json!({"EQ": {"product.value": 2}}), "@var1:[2.000000 2.000000]"),
        (json!({"GT": {"product.value": 11.1}}), "@var1:[(11.100000 +inf]"),
        (json!({"GTE": {"product.value": 1}}), "@var1:[1.000000 +inf]"),
        (json!({"LT": {"product.value": 1}}), "@var1:[-inf (1.000000]"),
        (json!({"LTE": {"product.value": 0.5}}), "@var1:[-inf 0.500000]"),
        (json!({"IN": {"message": ["a", "b"]}}), "@var0:(a|b)"),
        (
            json!({"IN": {"product.value": [1, 2]}}),
            "((@var1:[1.000000 1.000000])|(@var1:[2.000000 2.000000]))",
        ),
        (
            json!({"AND": [{"NEQ": {"status": "x"}}, {"OR": [{"EQ": {"message": "a"}}, {"EQ": {"message": "b"}}]}]}),
            "(-(@var2:(x)) ((@var0:(a))|(@var0:(b))))",
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(filter(&input).unwrap(), expected, "{input}");
    }
}

#[test]
fn what_is_refused() {
    let cases = [
        (json!({"EQ": {"nope": "hi"}}), "JSON path \"nope\" is not indexed"),
        (json!({"LIKE": {"message": "hi"}}), "unsupported filter \"LIKE\""),
        (json!({"EQ": 1}), "EQ filter must be a map"),
        (json!({"EQ": {"a": 1, "b": 2}}), "EQ filter must contain a single key/value pair"),
        (json!({"EQ": {"a": 1}, "NEQ": {"b": 2}}), "filter unit must have a single element"),
        (json!({"AND": 1}), "AND filter must be an array"),
        (json!({"OR": [{"EQ": {"message": "a"}}]}), "OR filter must contain at least two entries"),
        (json!({"IN": {"message": "a"}}), "IN filter value must be an array"),
        (json!({"GT": {"message": "a"}}), "unsupported type of value a; string type not permitted"),
    ];
    for (input, expected) in cases {
        assert_eq!(filter(&input).unwrap_err(), expected, "{input}");
    }
    let twice = json!({"sort": [{"key": "message"}, {"key": "status"}]});
    assert!(search(&twice).unwrap_err().starts_with("multiple SORTBY steps are not allowed"));
    let none = Indexes::default().search(b"{}", &RequestMetadata::new()).unwrap_err();
    assert_eq!(none, "query index not found");
}

#[test]
fn sorting_and_paging() {
    let body = json!({"sort": [{"key": "status", "order": "DESC"}], "page": {"limit": 2, "token": "4"}});
    assert_eq!(search(&body).unwrap(), ["qIndx", "*", "SORTBY", "var2", "DESC", "LIMIT", "4", "2"]);
    let found = Search { arguments: Vec::new(), limit: 2, offset: 4 };
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let fields = Value::Array(["$.data", "{\"a\":1}", "$.version", "7"].map(text).to_vec());
    let response = found.response(Value::Array(vec![Value::Int(9), text("k"), fields])).unwrap();
    assert_eq!(response.token, "5");
    let item = &response.results[0];
    assert_eq!(
        (item.key.as_str(), &item.data[..], item.etag.as_deref()),
        ("k", &b"{\"a\":1}"[..], Some("7"))
    );
    assert_eq!(found.response(Value::Array(vec![Value::Int(0)])).unwrap().token, "");
}

#[test]
fn documents() {
    assert_eq!(document(&Data::Json(Bytes::from_static(b"[1]"))), "{\"data\":[1]}");
    assert_eq!(document(&Data::Bytes(Bytes::from_static(b"hi"))), "{\"data\":\"aGk=\"}");
    let item = item_of(b"{\"data\":{\"b\":1,\"a\":2},\"version\":3,\"first-write\":0}").unwrap();
    assert_eq!((&item.data[..], item.etag.as_deref()), (&b"{\"b\":1,\"a\":2}"[..], Some("3")));
}
