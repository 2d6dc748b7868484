use super::*;

fn store(json: &str, multi_valued: bool) -> FileStore {
    FileStore::from_document(serde_json::from_str(json).unwrap(), ":", multi_valued)
}

fn secret(pairs: &[(&str, &str)]) -> Secret {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

async fn get(store: &FileStore, name: &str) -> Result<Secret, Error> {
    store.get(name, &RequestMetadata::new()).await
}

#[tokio::test]
async fn nested_values_are_flattened_by_key_and_index() {
    let store = store(r#"{"a":{"b":{"c":"v"}},"list":["x",{"y":"z"}],"empty":{}}"#, false);
    assert_eq!(get(&store, "a:b:c").await.unwrap(), secret(&[("a:b:c", "v")]));
    assert_eq!(get(&store, "list:0").await.unwrap(), secret(&[("list:0", "x")]));
    assert_eq!(get(&store, "list:1:y").await.unwrap(), secret(&[("list:1:y", "z")]));
    assert_eq!(get(&store, "a").await.unwrap_err().to_string(), "secret a not found");
    assert_eq!(store.secrets.len(), 3);
    assert!(store.features().is_empty());
}

#[tokio::test]
async fn leaves_that_are_no_strings_are_go_format_artefacts() {
    let cases = [
        ("true", "%!s(bool=true)"),
        ("null", "%!s(<nil>)"),
        ("42", "%!s(float64=42)"),
        ("-1.5", "%!s(float64=-1.5)"),
        ("100000", "%!s(float64=100000)"),
        ("1000000", "%!s(float64=1e+06)"),
        ("123456789", "%!s(float64=1.23456789e+08)"),
        ("0.0001", "%!s(float64=0.0001)"),
        ("0.00000025", "%!s(float64=2.5e-07)"),
        ("0", "%!s(float64=0)"),
    ];
    for (json, expected) in cases {
        let store = store(&format!("{{\"k\":{json}}}"), false);
        assert_eq!(get(&store, "k").await.unwrap(), secret(&[("k", expected)]), "{json}");
    }
}

#[tokio::test]
async fn multi_valued_keeps_one_secret_per_top_level_key() {
    let json = r#"{"db":{"user":"u","deep":{"pw":"p"},"n":[1]},"plain":"s","arr":["x"],"num":1,"nil":null}"#;
    let store = store(json, true);
    assert_eq!(
        get(&store, "db").await.unwrap(),
        secret(&[("user", "u"), ("deep:pw", "p"), ("n:0", "%!s(float64=1)")])
    );
    assert_eq!(get(&store, "plain").await.unwrap(), secret(&[("plain", "s")]));
    assert_eq!(store.secrets.len(), 2);
    assert_eq!(store.features(), [MULTIPLE_KEY_VALUES_PER_SECRET]);
}

#[tokio::test]
async fn a_path_collision_leaves_the_rest_out() {
    let store = store(r#"{"a":{"b":"1"},"a:b":"2","z":"3"}"#, false);
    assert_eq!(store.bulk_get(&RequestMetadata::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn conformance_of_a_file_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.json");
    std::fs::write(&path, r#"{"conftestsecret":"abcd","secondsecret":"efgh"}"#).unwrap();
    let properties = Properties::new([("secretsFile", path.to_str().unwrap())]).unwrap();
    let store = FileStore::open(&properties).await.unwrap();
    assert_eq!(get(&store, "conftestsecret").await.unwrap(), secret(&[("conftestsecret", "abcd")]));
    let all = store.bulk_get(&RequestMetadata::new()).await.unwrap();
    assert_eq!(all["secondsecret"], secret(&[("secondsecret", "efgh")]));
}

#[tokio::test]
async fn a_missing_or_wrong_file_fails_at_start() {
    let error = async |properties: Properties| FileStore::open(&properties).await.err().unwrap().to_string();
    assert_eq!(error(Properties::default()).await, "missing local secrets file in metadata");
    let text = error(Properties::new([("secretsFile", "/nope/x.json")]).unwrap()).await;
    assert!(text.contains("open /nope/x.json: no such file or directory"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    std::fs::write(&path, "[1]").unwrap();
    let text = error(Properties::new([("secretsFile", path.to_str().unwrap())]).unwrap()).await;
    assert!(text.contains("does not hold a JSON object"), "{text}");
}
