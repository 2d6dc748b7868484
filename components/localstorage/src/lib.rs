//! `bindings.localstorage`: files in a folder of this machine
//! (components.md §5.7).
//!
//! This crate must not let a request reach a path outside its folder, through
//! `..` or a symbolic link. Entry points: [`register`], [`LocalStorage`].
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use dapr_components::bindings::{InvokeError, InvokeRequest, InvokeResponse, OutputBinding};
use dapr_components::registry::Registry;
use dapr_components::{InitContext, InitError, Properties};
use dapr_gocompat::{json, quote};

mod description;
mod rooted;

/// Registers `bindings.localstorage`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::LOCAL_STORAGE]);
    registry.output_bindings.register("bindings.localstorage", |context: InitContext| async move {
        let storage = LocalStorage::open(&context.properties).await?;
        Ok(Arc::new(storage) as Arc<dyn OutputBinding>)
    });
}

const OPERATIONS: &[&str] = &["create", "get", "list", "delete"];

/// As lenient about unused bits of the last character as Go's decoder.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

pub struct LocalStorage {
    root: Arc<Path>,
}

impl LocalStorage {
    /// Checks and creates `rootPath`.
    pub async fn open(properties: &Properties) -> Result<Self, InitError> {
        let configured = properties.get("rootPath").unwrap_or_default().to_owned();
        let root = on_disk(move || prepare_root(&configured)).await.map_err(InitError::new)?;
        Ok(Self { root: root.into() })
    }
}

#[async_trait]
impl OutputBinding for LocalStorage {
    fn operations(&self) -> &[&str] {
        OPERATIONS
    }

    async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let root = self.root.clone();
        on_disk(move || invoke(&root, &request)).await.map_err(InvokeError::new)
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("file operation ended early: {error}")),
    }
}

fn prepare_root(configured: &str) -> Result<PathBuf, String> {
    let root = rooted::resolve_root(configured).map_err(|e| format!("failed to parse metadata: {e}"))?;
    std::fs::create_dir_all(&root).map_err(|e| {
        format!("unable to create directory specified by 'rootPath' {}: {}", root.display(), cause(&e))
    })?;
    Ok(root)
}

fn invoke(root: &Path, request: &InvokeRequest) -> Result<InvokeResponse, String> {
    let given = request.metadata.get("fileName").map(String::as_str).unwrap_or_default();
    let generated;
    let name = if given.is_empty() && request.operation == "create" {
        generated = uuid::Uuid::new_v4().to_string();
        &generated
    } else {
        given
    };
    let operation = match request.operation.as_str() {
        "create" => create,
        "get" => get,
        "delete" => delete,
        "list" => list,
        other => return Err(format!("unsupported operation {other}")),
    };
    let path = rooted::join(root, name)
        .map_err(|e| format!("error getting absolute path for file {name}: {}", cause(&e)))?;
    operation(root, &path, request)
}

fn create(root: &Path, path: &Path, request: &InvokeRequest) -> Result<InvokeResponse, String> {
    let data = decode(&request.data);
    let folder = path.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)
        .map_err(|e| format!("error creating directory {}: {}", folder.display(), cause(&e)))?;
    std::fs::write(path, &data)
        .map_err(|e| format!("error creating file {0}: open {0}: {1}", path.display(), cause(&e)))?;
    tracing::debug!(target: "dapr.contrib", "wrote file: {}. numBytes: {}", path.display(), data.len());
    let relative = match path.strip_prefix(root) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.to_string_lossy(),
        _ => ".".into(),
    };
    let answer = format!("{{\"fileName\":{}}}", json::escape_str(&relative));
    Ok(InvokeResponse { data: Some(answer.into()), ..InvokeResponse::default() })
}

/// A JSON string becomes its text, and what is base64 is decoded.
fn decode(data: &Bytes) -> Bytes {
    let quoted = std::str::from_utf8(data).ok().and_then(quote::unquote);
    let text = quoted.map_or_else(|| data.clone(), Bytes::from);
    let packed: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    BASE64.decode(packed).map_or(text, Bytes::from)
}

fn get(_root: &Path, path: &Path, _request: &InvokeRequest) -> Result<InvokeResponse, String> {
    let shown = path.display();
    let data = std::fs::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("file not found: {shown}"),
        io::ErrorKind::IsADirectory => format!("error reading file {shown}: read {shown}: {}", cause(&e)),
        _ => format!("error opening path {shown}: open {shown}: {}", cause(&e)),
    })?;
    tracing::debug!(target: "dapr.contrib", "read file: {shown}. size: {} bytes", data.len());
    Ok(InvokeResponse { data: Some(data.into()), ..InvokeResponse::default() })
}

/// Removes a file or an empty folder; the answer is empty.
fn delete(_root: &Path, path: &Path, _request: &InvokeRequest) -> Result<InvokeResponse, String> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.map_err(|e| format!("error deleting file {0}: remove {0}: {1}", path.display(), cause(&e)))?;
    tracing::debug!(target: "dapr.contrib", "removed file: {}", path.display());
    Ok(InvokeResponse::default())
}

/// Absolute paths of all files below a folder, or `null` when there is none.
fn list(_root: &Path, path: &Path, _request: &InvokeRequest) -> Result<InvokeResponse, String> {
    let shown = path.display();
    let found = std::fs::metadata(path)
        .map_err(|e| format!("error getting stats for path {shown}: stat {shown}: {}", cause(&e)))?;
    if !found.is_dir() {
        return Err(format!("unable to list files as the file specified is not a directory: {shown}"));
    }
    let mut files = Vec::new();
    rooted::walk(path, &mut files);
    let items: Vec<_> = files.iter().map(|file| json::escape_str(&file.to_string_lossy())).collect();
    let answer = if items.is_empty() { "null".to_owned() } else { format!("[{}]", items.join(",")) };
    Ok(InvokeResponse { data: Some(answer.into()), ..InvokeResponse::default() })
}

/// The system's text for an error, without Rust's number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => {
            let mut short = text[..end].to_owned();
            if let Some(first) = short.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            short
        }
        None => text,
    }
}

#[cfg(test)]
mod tests;
