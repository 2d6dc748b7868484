//! Connections: a pool for statements, and single ones that listen.

use std::error::Error as _;
use std::time::Duration;

use dapr_components::InitError;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Notification};

use crate::settings::Settings;

/// Opens the pool; connections are made when they are needed.
pub(crate) fn open(settings: &Settings, timeout: Duration) -> Result<Pool, InitError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &settings.tls {
        None => Manager::from_config(settings.config.clone(), NoTls, recycling),
        Some(tls) => Manager::from_config(settings.config.clone(), tls.connector()?, recycling),
    };
    let (max_idle, max_lifetime) = (settings.max_idle, settings.max_lifetime);
    Pool::builder(manager)
        .max_size(settings.max_connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(timeout))
        .create_timeout(Some(timeout))
        .pre_recycle(Hook::sync_fn(move |_, metrics| {
            if metrics.last_used() > max_idle || metrics.age() > max_lifetime {
                return Err(HookError::message("the connection is too old"));
            }
            Ok(())
        }))
        .build()
        .map_err(|e| InitError::new(e.to_string()))
}

/// A connection that yields what is notified; it ends with the stream.
pub(crate) async fn listen(
    settings: &Settings,
) -> Result<(Client, futures::stream::BoxStream<'static, Notification>), String> {
    match &settings.tls {
        None => {
            let (client, connection) = settings.config.connect(NoTls).await.map_err(|e| text(&e))?;
            Ok((client, notifications(connection).boxed()))
        }
        Some(tls) => {
            let connector = tls.connector().map_err(|e| e.to_string())?;
            let (client, connection) = settings.config.connect(connector).await.map_err(|e| text(&e))?;
            Ok((client, notifications(connection).boxed()))
        }
    }
}

/// Drives the connection for as long as it is polled.
fn notifications<S, T>(mut connection: Connection<S, T>) -> impl Stream<Item = Notification> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    futures::stream::poll_fn(move |context| connection.poll_message(context)).filter_map(async |message| {
        match message {
            Ok(AsyncMessage::Notification(notification)) => Some(notification),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(target: "dapr.contrib", "PostgreSQL connection: {}", text(&error));
                None
            }
        }
    })
}

/// An error with its causes: the first only names the kind.
pub(crate) fn text(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(refused), _) => {
            format!("{}: {} (SQLSTATE {})", refused.severity(), refused.message(), refused.code().code())
        }
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

pub(crate) fn pool_text(error: &deadpool_postgres::PoolError) -> String {
    match error {
        deadpool_postgres::PoolError::Backend(error) => text(error),
        other => other.to_string(),
    }
}
