//! The resolver's configuration, and what it registers.

use std::time::Duration;

use dapr_components::nameresolution::Instance;
use dapr_security::tls::{ClientTls, Verify};
use serde_json::{Value, json};

use crate::fields::Fields;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";
const DEFAULT_PORT_KEY: &str = "DAPR_PORT";
const CHECK_INTERVAL: &str = "15s";

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) client: Client,
    pub(crate) query: Query,
    /// What is sent to the agent, and the id in it.
    pub(crate) registration: Option<(String, Value)>,
    pub(crate) deregister: bool,
    /// Name in an instance's metadata of the port that sidecars listen on.
    pub(crate) port_key: String,
    pub(crate) use_cache: bool,
}

/// How to reach the agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// With scheme, without a final slash.
    pub(crate) base: String,
    pub(crate) datacenter: String,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
    pub(crate) token: String,
    pub(crate) wait: Duration,
    pub(crate) tls: ClientTls,
}

/// Options of queries for instances, as parameters of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) parameters: Vec<(&'static str, String)>,
    pub(crate) cached: bool,
    pub(crate) cache_control: String,
    pub(crate) token: String,
    pub(crate) wait: Duration,
}

impl Settings {
    pub(crate) fn parse(configuration: &Value, instance: &Instance) -> Result<Self, String> {
        let fields = Fields::of(configuration, "configuration")?;
        let client = client(&fields.object("client")?.unwrap_or_default())?;
        let query = match fields.object("queryOptions")? {
            Some(options) => query(&options)?,
            None => Query { cached: true, ..Query::default() },
        };
        let port_key = match fields.text("daprPortMetaKey")? {
            key if key.is_empty() => DEFAULT_PORT_KEY.to_owned(),
            key => key,
        };
        Ok(Self {
            client,
            query,
            registration: registration(&fields, instance, &port_key)?,
            deregister: fields.flag("selfDeregister")?,
            port_key,
            use_cache: fields.flag("useCache")?,
        })
    }
}

fn client(fields: &Fields) -> Result<Client, String> {
    let text = |name: &str| fields.text(name);
    let address = match text("address")? {
        address if address.is_empty() => DEFAULT_ADDRESS.to_owned(),
        address => address,
    };
    let base = match address.split_once("://") {
        Some(("http" | "https", _)) => address.trim_end_matches('/').to_owned(),
        Some((scheme, _)) => return Err(format!("unknown protocol scheme: {scheme}")),
        None => {
            let scheme = text("scheme")?;
            format!("{}://{address}", if scheme.is_empty() { "http" } else { &scheme })
        }
    };
    let login = match fields.object("httpAuth")? {
        None => None,
        Some(login) => Some((login.text("username")?, login.text("password")?)),
    };
    let token = match text("tokenFile")? {
        path if path.is_empty() => text("token")?,
        path => {
            let read = std::fs::read_to_string(&path);
            read.map_err(|e| format!("error loading token file {path}: {e}"))?.trim().to_owned()
        }
    };
    Ok(Client {
        base,
        datacenter: text("datacenter")?,
        login,
        token,
        wait: fields.nanoseconds("waitTime")?,
        tls: tls(&fields.object("tlsConfig")?.unwrap_or_default())?,
    })
}

fn tls(fields: &Fields) -> Result<ClientTls, String> {
    for unsupported in ["address", "caPath"] {
        if !fields.text(unsupported)?.is_empty() {
            return Err(format!("tlsConfig.{unsupported} is not supported by this build: use caFile"));
        }
    }
    let given = |name: &str| fields.text(name).map(|path| Some(path).filter(|path| !path.is_empty()));
    let insecure = fields.flag("insecureSkipVerify")?;
    if insecure {
        tracing::info!(
            target: "dapr.contrib",
            "hashicorp consul: you are using 'insecureSkipVerify' to skip server config verify which is unsafe!"
        );
    }
    Ok(ClientTls {
        root_ca_pem: given("caFile")?,
        cert_pem: given("certFile")?,
        key_pem: given("keyFile")?,
        verify: if insecure { Verify::None } else { Verify::Roots },
        ..ClientTls::default()
    })
}

fn query(fields: &Fields) -> Result<Query, String> {
    let mut parameters = Vec::new();
    for (name, parameter) in [("datacenter", "dc"), ("near", "near"), ("filter", "filter")] {
        match fields.text(name)? {
            text if text.is_empty() => {}
            text => parameters.push((parameter, text)),
        }
    }
    for (name, parameter) in
        [("allowStale", "stale"), ("requireConsistent", "consistent"), ("localOnly", "local-only")]
    {
        if fields.flag(name)? {
            parameters.push((parameter, "true".to_owned()));
        }
    }
    if let Value::Object(metadata) = fields.get("nodeMeta") {
        for (name, value) in metadata {
            parameters.push(("node-meta", format!("{name}:{}", value.as_str().unwrap_or_default())));
        }
    }
    if let Some(factor) = fields.get("relayFactor").as_u64().filter(|factor| *factor > 0) {
        parameters.push(("relay-factor", factor.to_string()));
    }
    let (age, stale) = (fields.nanoseconds("maxAge")?, fields.nanoseconds("staleIfError")?);
    let rules = [("max-age", age), ("stale-if-error", stale)];
    let rules = rules.iter().filter(|(_, time)| !time.is_zero());
    let cache_control: Vec<_> = rules.map(|(rule, time)| format!("{rule}={}", time.as_secs())).collect();
    Ok(Query {
        parameters,
        cached: fields.flag("useCache")? && !fields.flag("requireConsistent")?,
        cache_control: cache_control.join(", "),
        token: fields.text("token")?,
        wait: fields.nanoseconds("waitTime")?,
    })
}

/// What the agent is told of this sidecar, the port for others to call in
/// its metadata.
fn registration(
    fields: &Fields,
    instance: &Instance,
    port_key: &str,
) -> Result<Option<(String, Value)>, String> {
    let app_id = instance.identity.app_id();
    let mut registration = match fields.object("advancedRegistration")? {
        Some(registration) => registration,
        None if !fields.flag("selfRegister")? => return Ok(None),
        None => {
            let host = instance.address.to_string();
            let id = format!("{app_id}-{host}-{}", instance.http_port);
            let checks = match fields.get("checks") {
                Value::Array(checks) if !checks.is_empty() => json!(checks),
                _ => {
                    let own = std::net::SocketAddr::new(instance.address, instance.http_port);
                    let url = format!("http://{own}/v1.0/healthz?appid={app_id}");
                    json!([{
                        "Name": "Dapr Health Status",
                        "CheckID": format!("daprHealth:{id}"),
                        "Interval": CHECK_INTERVAL,
                        "HTTP": url,
                    }])
                }
            };
            let plain = json!({
                "ID": id,
                "Name": app_id,
                "Address": host,
                "Port": instance.app_port,
                "Checks": checks,
                "Tags": fields.get("tags"),
                "Meta": fields.get("meta"),
            });
            Fields::of(&plain, "registration")?
        }
    };
    let mut metadata = registration.object("Meta")?.unwrap_or_default();
    metadata.set(port_key, json!(instance.internal_grpc_port.to_string()));
    registration.set("Meta", metadata.into_value());
    let mut id = registration.text("ID")?;
    if id.is_empty() {
        // The agent's own rule.
        id = registration.text("Name")?;
    }
    Ok(Some((id, registration.into_value())))
}
