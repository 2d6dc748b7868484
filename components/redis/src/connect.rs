//! Opening connections to a node, to a cluster, or to the node that sentinels
//! name.

use std::time::Duration;

use dapr_components::InitError;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};
use rustls::crypto::CryptoProvider;
use tokio::sync::Mutex;

use crate::settings::{Settings, Tls, Topology, split_host_port};

/// Commands that may wait for their turn on one connection.
const COMMAND_QUEUE: usize = 1024;

/// An open connection; cloning shares it. Commands of all holders are
/// pipelined.
#[derive(Clone)]
pub(crate) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(crate) async fn call(&mut self, command: &Cmd) -> RedisResult<Value> {
        let value = match self {
            Self::Single(link) => link.send_packed_command(command).await?,
            Self::Cluster(link) => link.req_packed_command(command).await?,
        };
        match value {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        }
    }

    /// `count` answers after the first `offset`; errors of single commands are
    /// values.
    pub(crate) async fn call_all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(link) => link.send_packed_commands(pipeline, offset, count).await,
            Self::Cluster(link) => link.req_packed_commands(pipeline, offset, count).await,
        }
    }
}

/// Knows how to open connections.
pub(crate) struct Connector {
    target: Target,
    dial_timeout: Option<Duration>,
}

enum Target {
    Node(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<Settings>),
}

impl Connector {
    /// Checks the settings; connects to nothing.
    pub(crate) fn new(settings: &Settings) -> Result<Self, InitError> {
        if settings.tls.is_some() && CryptoProvider::get_default().is_none() {
            // The client library takes the provider of the process and panics
            // when there is none; that another thread was faster is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let target = match settings.topology {
            Topology::Node => Target::Node(Box::new(node(settings)?)),
            Topology::Sentinel => Target::Sentinel(Box::new(Mutex::new(sentinel(settings)?))),
            Topology::Cluster => {
                cluster(settings, settings.read_timeout).map_err(configuration)?;
                Target::Cluster(Box::new(settings.clone()))
            }
        };
        Ok(Self { target, dial_timeout: settings.dial_timeout })
    }

    pub(crate) async fn open(&self, response_timeout: Option<Duration>) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(self.dial_timeout)
            .set_response_timeout(response_timeout)
            .set_pipeline_buffer_size(COMMAND_QUEUE);
        Ok(match &self.target {
            Target::Node(client) => {
                let opened = client.get_multiplexed_async_connection_with_config(&config).await;
                Link::Single(opened.map_err(|e| dialled(client, e))?)
            }
            Target::Sentinel(client) => {
                Link::Single(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            Target::Cluster(settings) => {
                Link::Cluster(cluster(settings, response_timeout)?.get_async_connection().await?)
            }
        })
    }
}

impl Connector {
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    /// A connection that only listens. Nodes of a cluster announce only their
    /// own keys, so there is none to one.
    pub(crate) async fn open_pubsub(&self) -> RedisResult<PubSub> {
        let open = async {
            match &self.target {
                Target::Node(client) => client.get_async_pubsub().await,
                Target::Sentinel(client) => {
                    let master = client.lock().await.async_get_client().await?;
                    master.get_async_pubsub().await
                }
                Target::Cluster(_) => Err(redis::RedisError::from((
                    redis::ErrorKind::InvalidClientConfig,
                    "subscribing is not supported with a Redis cluster",
                ))),
            }
        };
        let limit = self.dial_timeout.unwrap_or(FOREVER);
        match tokio::time::timeout(limit, open).await {
            Ok(opened) => opened,
            Err(_) => Err(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
        }
    }
}

/// Says who refused, in the words that callers know.
fn dialled(client: &Client, error: redis::RedisError) -> redis::RedisError {
    if !error.is_connection_refusal() {
        return error;
    }
    let text = format!("dial tcp {}: connect: connection refused", client.get_connection_info().addr());
    redis::RedisError::from(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, text))
}

fn node(settings: &Settings) -> Result<Client, InitError> {
    let address = settings.hosts.first().map(String::as_str).unwrap_or_default();
    let info = info(address, settings, credentials(settings).set_db(settings.database))?;
    let opened = match &settings.tls {
        None => Client::open(info),
        Some(tls) => Client::build_with_tls(info, certificates(tls)),
    };
    opened.map_err(configuration)
}

fn sentinel(settings: &Settings) -> Result<SentinelClient, InitError> {
    let addresses =
        settings.hosts.iter().map(|host| address(host, settings)).collect::<Result<Vec<_>, _>>()?;
    let master = &settings.sentinel_master;
    let mut builder =
        SentinelClientBuilder::new(addresses, master, SentinelServerType::Master).map_err(configuration)?;
    builder = builder
        .set_client_to_redis_db(settings.database)
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if !settings.password.is_empty() {
        builder = builder.set_client_to_redis_password(&settings.password);
        if !settings.username.is_empty() {
            builder = builder.set_client_to_redis_username(&settings.username);
        }
    }
    if !settings.sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(&settings.sentinel_password);
        if !settings.sentinel_username.is_empty() {
            builder = builder.set_client_to_sentinel_username(&settings.sentinel_username);
        }
    }
    if let Some(tls) = &settings.tls {
        builder = builder
            .set_client_to_redis_tls_mode(mode(tls))
            .set_client_to_redis_certificates(certificates(tls))
            .set_client_to_sentinel_tls_mode(mode(tls))
            .set_client_to_sentinel_certificates(certificates(tls));
    }
    builder.build().map_err(configuration)
}

fn cluster(settings: &Settings, response_timeout: Option<Duration>) -> RedisResult<ClusterClient> {
    let addresses = settings
        .hosts
        .iter()
        .map(|host| info(host, settings, credentials(settings)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| redis::RedisError::from(std::io::Error::other(e.to_string())))?;
    let mut builder = ClusterClient::builder(addresses)
        .retries(settings.retry.attempts)
        .min_retry_wait(millis(settings.retry.min.min(settings.retry.max)))
        .max_retry_wait(millis(settings.retry.max))
        .connection_timeout(settings.dial_timeout.unwrap_or(FOREVER))
        .response_timeout(response_timeout.unwrap_or(FOREVER))
        .tcp_settings(tcp());
    if !settings.password.is_empty() {
        builder = builder.password(&settings.password);
        if !settings.username.is_empty() {
            builder = builder.username(&settings.username);
        }
    }
    if let Some(tls) = &settings.tls {
        builder = builder.tls(mode(tls)).certs(certificates(tls));
    }
    builder.build()
}

/// What a disabled timeout is for a client that wants one.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn credentials(settings: &Settings) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default();
    if !settings.password.is_empty() {
        info = info.set_password(&settings.password);
        if !settings.username.is_empty() {
            info = info.set_username(&settings.username);
        }
    }
    info
}

fn info(host: &str, settings: &Settings, login: RedisConnectionInfo) -> Result<ConnectionInfo, InitError> {
    let info = address(host, settings)?.into_connection_info().map_err(configuration)?;
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp()))
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn address(host: &str, settings: &Settings) -> Result<ConnectionAddr, InitError> {
    let parsed = split_host_port(host).and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    let Some((host, port)) = parsed else {
        return Err(InitError::new(format!(
            "redis client configuration error: '{host}' is not an address: redisHost must be host:port"
        )));
    };
    Ok(match &settings.tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(tls) => ConnectionAddr::TcpTls { host, port, insecure: tls.insecure, tls_params: None },
    })
}

fn mode(tls: &Tls) -> TlsMode {
    if tls.insecure { TlsMode::Insecure } else { TlsMode::Secure }
}

fn certificates(tls: &Tls) -> TlsCertificates {
    let client_tls = tls.client.clone().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.into_bytes(),
        client_key: key.into_bytes(),
    });
    TlsCertificates { client_tls, root_cert: None }
}

fn configuration(error: redis::RedisError) -> InitError {
    InitError::new(format!("redis client configuration error: {error}"))
}
