use super::*;
use dapr_components::bindings::RequestMetadata;

async fn open(path: &Path) -> LocalStorage {
    LocalStorage::open(&Properties::new([("rootPath", path.to_str().unwrap())]).unwrap()).await.unwrap()
}

async fn call(
    storage: &LocalStorage,
    operation: &str,
    name: &str,
    data: &str,
) -> Result<Option<String>, String> {
    let mut metadata = RequestMetadata::new();
    if !name.is_empty() {
        metadata.insert("fileName".to_owned(), name.to_owned());
    }
    let request =
        InvokeRequest { data: Bytes::from(data.to_owned()), metadata, operation: operation.to_owned() };
    let answer = storage.invoke(request).await.map_err(|e| e.message)?;
    Ok(answer.data.map(|data| String::from_utf8(data.to_vec()).unwrap()))
}

/// Temporary folder whose path has no symbolic link in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[tokio::test]
async fn create_get_list_delete() {
    let (_dir, root) = folder();
    let storage = open(&root.join("new/deep")).await;
    let root = root.join("new/deep");
    assert_eq!(call(&storage, "list", "", "").await.unwrap().unwrap(), "null");
    let created = call(&storage, "create", "a/<b>.txt", "hello!").await.unwrap().unwrap();
    assert_eq!(created, "{\"fileName\":\"a/\\u003cb\\u003e.txt\"}");
    assert_eq!(call(&storage, "get", "a/<b>.txt", "").await.unwrap().unwrap(), "hello!");
    call(&storage, "create", "z.txt", "").await.unwrap();
    let listed = call(&storage, "list", "", "").await.unwrap().unwrap();
    let listed: Vec<String> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed, [format!("{}/a/<b>.txt", root.display()), format!("{}/z.txt", root.display())]);
    assert_eq!(call(&storage, "delete", "z.txt", "").await.unwrap(), None);
    let shown = root.join("z.txt").display().to_string();
    assert_eq!(call(&storage, "get", "z.txt", "").await.unwrap_err(), format!("file not found: {shown}"));
    assert_eq!(
        call(&storage, "delete", "z.txt", "").await.unwrap_err(),
        format!("error deleting file {shown}: remove {shown}: no such file or directory")
    );
    assert_eq!(
        call(&storage, "list", "a/<b>.txt", "").await.unwrap_err(),
        format!(
            "unable to list files as the file specified is not a directory: {}/a/<b>.txt",
            root.display()
        )
    );
    assert_eq!(call(&storage, "move", "", "").await.unwrap_err(), "unsupported operation move");
}

#[tokio::test]
async fn a_name_is_made_up_for_create_only() {
    let (_dir, root) = folder();
    let storage = open(&root).await;
    let created = call(&storage, "create", "", "x").await.unwrap().unwrap();
    let name = serde_json::from_str::<serde_json::Value>(&created).unwrap()["fileName"].clone();
    assert!(uuid::Uuid::parse_str(name.as_str().unwrap()).is_ok(), "{created}");
    assert!(call(&storage, "get", "", "").await.unwrap_err().ends_with("is a directory"));
}

#[tokio::test]
async fn quoted_and_base64_data_is_decoded() {
    let (_dir, root) = folder();
    let storage = open(&root).await;
    let cases = [
        ("\"plain text\"", "plain text"),
        ("\"aGVsbG8=\"", "hello"),
        ("aGVs\nbG8=", "hello"),
        ("aGVsbG9=", "hello"),
        ("aGVsbG8", "aGVsbG8"),
        ("{\"a\":1}", "{\"a\":1}"),
        // four letters are base64, too
        ("abcd", "i\u{b7}\u{1d}"),
    ];
    for (data, expected) in cases {
        call(&storage, "create", "f", data).await.unwrap();
        let stored = std::fs::read(root.join("f")).unwrap();
        let expected: Vec<u8> =
            if data == "abcd" { vec![0x69, 0xb7, 0x1d] } else { expected.as_bytes().to_vec() };
        assert_eq!(stored, expected, "{data}");
    }
}

#[tokio::test]
async fn nothing_outside_the_root_is_reached() {
    let (_dir, base) = folder();
    std::fs::write(base.join("secret"), "s").unwrap();
    let storage = open(&base.join("root")).await;
    let root = base.join("root");
    std::os::unix::fs::symlink("../secret", root.join("up")).unwrap();
    std::os::unix::fs::symlink(base.join("secret"), root.join("absolute")).unwrap();
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    for name in ["../secret", "../../secret", "/../secret", "up", "absolute", "x/../../secret"] {
        let error = call(&storage, "get", name, "").await.unwrap_err();
        assert!(error.starts_with(&format!("file not found: {}/", root.display())), "{name}: {error}");
    }
    let error = call(&storage, "get", "loop", "").await.unwrap_err();
    assert!(error.contains("too many levels of symbolic links"), "{error}");
    call(&storage, "create", "../escaped", "1").await.unwrap();
    assert!(root.join("escaped").exists() && !base.join("escaped").exists());
}

#[tokio::test]
async fn roots_that_are_refused() {
    let (_dir, base) = folder();
    std::fs::write(base.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/proc", base.join("link")).unwrap();
    let error = async |path: String| {
        LocalStorage::open(&Properties::new([("rootPath", path)]).unwrap()).await.err().unwrap().to_string()
    };
    let prefix = "failed to parse metadata: ";
    assert_eq!(error(String::new()).await, format!("{prefix}property rootPath must not be empty"));
    for path in ["/proc", "/sys/x", "/boot/../boot", &format!("{}/link/x", base.display())] {
        assert_eq!(
            error(path.to_owned()).await,
            format!("{prefix}property rootPath points to a disallowed location"),
            "{path}"
        );
    }
    assert_eq!(
        error(base.join("file").display().to_string()).await,
        format!("{prefix}property rootPath represents a file and not a directory")
    );
}
