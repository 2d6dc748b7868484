use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dapr_components::registry::Registry;
use dapr_components::{InitContext, InitError};
use futures::stream;
use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;

use crate::bindings::{PluggableInput, PluggableOutput};
use crate::connection::Connection;
use crate::errors;
use crate::names::Names;
use crate::pubsub::PluggablePubSub;
use crate::secrets::PluggableSecrets;
use crate::state::PluggableState;

const SCOPE: &str = "pluggable-components-discovery";
const PACKAGE: &str = "dapr.proto.components.v1.";
/// How long a process may take to say what it serves.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the components of a folder are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("could not list pluggable components unix sockets in {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("unable to list services of {}: {reason}", socket.display())]
    Services { socket: PathBuf, reason: String },
}

/// Asks every socket directly in `folder` for its services and registers the
/// component types that they are (runtime.md §13). The file name without its
/// last extension is what follows the category in the type. A folder that does
/// not exist holds no components. One socket that does not answer fails all.
pub async fn discover(folder: &Path, registry: &mut Registry) -> Result<(), DiscoveryError> {
    let sockets =
        sockets(folder).map_err(|source| DiscoveryError::Folder { folder: folder.to_owned(), source })?;
    let mut found = Vec::new();
    for socket in sockets {
        let services = tokio::time::timeout(LIST_TIMEOUT, services(&socket))
            .await
            .unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
            .map_err(|reason| DiscoveryError::Services { socket: socket.clone(), reason })?;
        found.push((socket, services));
    }
    for (socket, services) in found {
        // Only names that are text can be written into a component's type.
        let Some(name) = socket.file_name().and_then(|n| n.to_str()).map(component_name) else { continue };
        for service in services {
            if register(registry, &service, name, &socket) {
                tracing::info!(
                    target: SCOPE,
                    "pluggable component '{name}' was successfully registered for '{service}'"
                );
            }
        }
    }
    Ok(())
}

/// The sockets in a folder, by name.
fn sockets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_socket() {
            sockets.push(entry.path());
        } else if !kind.is_dir() {
            tracing::warn!(target: SCOPE, "could not use socket for file {}", entry.path().display());
        }
    }
    sockets.sort();
    Ok(sockets)
}

fn component_name(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(name, _)| name)
}

/// Full names of the services behind a socket.
async fn services(socket: &Path) -> Result<Vec<String>, String> {
    let connection = Connection::anonymous(socket);
    let listed = list(connection.clone()).await;
    connection.close().await;
    listed
}

async fn list(connection: Connection) -> Result<Vec<String>, String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(connection);
    let answer =
        client.server_reflection_info(stream::iter([request])).await.map_err(|s| errors::text(&s))?;
    let message = answer.into_inner().message().await.map_err(|s| errors::text(&s))?;
    match message.and_then(|m| m.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        Some(MessageResponse::ErrorResponse(error)) => Err(error.error_message),
        _ => Err("the answer to the reflection request is not a list of services".to_owned()),
    }
}

/// Whether the service is one that a component can be.
fn register(registry: &mut Registry, service: &str, name: &str, socket: &Path) -> bool {
    let socket: Arc<Path> = socket.into();
    match service.strip_prefix(PACKAGE) {
        Some("StateStore") => registry.state.register(&format!("state.{name}"), move |context: InitContext| {
            let socket = socket.clone();
            async move { Ok::<_, InitError>(Arc::new(PluggableState::open(&socket, &context).await?) as _) }
        }),
        Some("PubSub") => registry.pubsub.register(&format!("pubsub.{name}"), move |context: InitContext| {
            let socket = socket.clone();
            async move { Ok::<_, InitError>(Arc::new(PluggablePubSub::open(&socket, context).await?) as _) }
        }),
        Some("InputBinding") => {
            registry.input_bindings.register(&format!("bindings.{name}"), move |context: InitContext| {
                let socket = socket.clone();
                async move { Ok::<_, InitError>(Arc::new(PluggableInput::open(&socket, context).await?) as _) }
            })
        }
        Some("OutputBinding") => {
            let names = Names::default();
            registry.output_bindings.register(&format!("bindings.{name}"), move |context: InitContext| {
                let (socket, names) = (socket.clone(), names.clone());
                async move {
                    let binding = PluggableOutput::open(&socket, &context, &names).await?;
                    Ok::<_, InitError>(Arc::new(binding) as _)
                }
            })
        }
        Some("SecretStore") => {
            registry.secret_stores.register(&format!("secretstores.{name}"), move |context: InitContext| {
                let socket = socket.clone();
                async move { Ok::<_, InitError>(Arc::new(PluggableSecrets::open(&socket, &context).await?) as _) }
            })
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_goes() {
        assert_eq!(component_name("abc.sock"), "abc");
        assert_eq!(component_name("a.b.sock"), "a.b");
        assert_eq!(component_name("abc"), "abc");
    }

    #[test]
    fn only_sockets_directly_in_the_folder_count() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("b.sock")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(dir.path().join("sub/c.sock")).unwrap();
        assert_eq!(sockets(dir.path()).unwrap(), [dir.path().join("b.sock")]);
        assert!(sockets(&dir.path().join("none")).unwrap().is_empty());
    }
}
