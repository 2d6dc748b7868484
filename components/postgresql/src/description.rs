//! What the metadata of the components may hold (components.md §1.6, §7).

use std::net::IpAddr;
use std::time::Duration;

use dapr_components::Properties;
use dapr_components::description::{Description, Field};

use crate::configuration::check_name;
use crate::settings::EXEC_MODES;

const PARTS: &[&str] = &["host", "hostaddr", "user", "password", "database", "port"];
const CONNECTION: &[Field] = &[
    Field::text("connectionString").aliases(&["url"]).required_unless(PARTS),
    Field::text("host"),
    Field::checked("hostaddr", addresses),
    Field::checked("port", ports),
    Field::text("database"),
    Field::text("user"),
    Field::text("password"),
    Field::text("sslRootCert"),
    Field::duration("connectionMaxIdleTime"),
    Field::duration("connMaxIdleTime"),
    Field::integer("maxConns"),
    Field::checked("queryExecMode", exec_mode),
    Field::checked("useAzureAD", not_truthy),
    Field::checked("useAWSIAM", not_truthy),
];
const TABLE: &[Field] = &[
    Field::checked("table", check_name).required(),
    Field::checked("notifyChannel", check_name).aliases(&["pgNotifyChannel"]),
    Field::checked("timeout", timeout).aliases(&["timeoutInSeconds"]),
];
/// They belong to the login with an identity of AWS or Azure.
const IDENTITY: &[&str] = &[
    "awsRegion",
    "awsAccessKey",
    "awsSecretKey",
    "awsSessionToken",
    "azureTenantId",
    "azureClientId",
    "azureClientSecret",
    "azureEnvironment",
];

pub(crate) const CONFIGURATION: Description =
    Description::new(&["configuration.postgresql", "configuration.postgres"], &[CONNECTION, TABLE])
        .without_effect(IDENTITY);

fn list<T: std::str::FromStr>(text: &str, wanted: &str) -> Result<(), String> {
    if text.split(',').all(|part| part.parse::<T>().is_ok()) { Ok(()) } else { Err(wanted.to_owned()) }
}

fn addresses(text: &str) -> Result<(), String> {
    list::<IpAddr>(text, "an IP address")
}

fn ports(text: &str) -> Result<(), String> {
    list::<u16>(text, "a port number")
}

fn exec_mode(text: &str) -> Result<(), String> {
    if EXEC_MODES.contains(&text) { Ok(()) } else { Err(format!("one of {}", EXEC_MODES.join(", "))) }
}

fn not_truthy(text: &str) -> Result<(), String> {
    if Properties::new([("switch", text)]).is_ok_and(|properties| properties.truthy("switch")) {
        return Err("false: this build logs in with user and password only".to_owned());
    }
    Ok(())
}

fn timeout(text: &str) -> Result<(), String> {
    let time = Properties::new([("time", text)]).and_then(|properties| properties.duration("time"));
    if time.is_ok_and(|time| time.is_some_and(|time| time >= Duration::from_secs(1))) {
        return Ok(());
    }
    Err("a duration of at least 1s, or a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use dapr_components::description::DecoderCheck;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let outcome = DecoderCheck::new(&CONFIGURATION)
            .sample("connectionString", "host=localhost user=me")
            .sample("host", "localhost")
            .sample("hostaddr", "127.0.0.1")
            .sample("port", "5432")
            .sample("queryExecMode", "exec")
            .sample("useAzureAD", "false")
            .sample("useAWSIAM", "false")
            .sample("table", "settings")
            .sample("notifyChannel", "changes")
            .sample("timeout", "5s")
            .run(|properties| {
                Settings::parse(properties).map_err(|e| e.0)?;
                crate::configuration::check_metadata(properties).map_err(|e| e.0)
            });
        assert_eq!(outcome, Ok(()));
    }
}
