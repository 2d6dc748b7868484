//! What the metadata of the middleware may hold (components.md §12).

use dapr_components::description::{Description, Field, FieldKind};
use http::HeaderName;
use regex::Regex;

use crate::route_alias;

pub(crate) const BEARER: Description = Description::new(
    &["middleware.http.bearer"],
    &[&[
        Field::text("issuer").aliases(&["issuerURL"]).required(),
        Field::text("audience").aliases(&["clientID"]).required(),
        Field::text("jwksURL"),
    ]],
);
pub(crate) const OAUTH2: Description = Description::new(
    &["middleware.http.oauth2"],
    &[&[
        Field::text("clientID").expected(),
        Field::text("clientSecret").expected(),
        Field::text("scopes"),
        Field::text("authURL").expected(),
        Field::text("tokenURL").expected(),
        Field::checked("authHeaderName", header),
        Field::text("redirectURL"),
        Field::bool("forceHTTPS"),
        Field::checked("pathFilter", regex),
    ]],
);
pub(crate) const CLIENT_CREDENTIALS: Description = Description::new(
    &["middleware.http.oauth2clientcredentials"],
    &[&[
        Field::checked("headerName", header).required(),
        Field::text("clientID").required(),
        Field::text("clientSecret").required(),
        Field::text("scopes").required(),
        Field::text("tokenURL").required(),
        Field::text("endpointParamsQuery"),
        Field::checked("authStyle", auth_style),
        Field::checked("pathFilter", regex),
    ]],
);
pub(crate) const RATE_LIMIT: Description =
    Description::new(&["middleware.http.ratelimit"], &[&[Field::checked("maxRequestsPerSecond", rate)]]);
/// Routes may be listed as properties, too.
pub(crate) const ROUTE_ALIAS: Description =
    Description::new(&["middleware.http.routeralias"], &[&[Field::checked("routes", routes)]]).open();
pub(crate) const ROUTER_CHECKER: Description =
    Description::new(&["middleware.http.routerchecker"], &[&[Field::checked("rule", regex).expected()]]);
pub(crate) const SENTINEL: Description = Description::new(
    &["middleware.http.sentinel"],
    &[&[
        Field::checked("flowRules", rules),
        Field::checked("circuitBreakerRules", rules),
        Field::checked("hotSpotParamRules", rules),
        Field::checked("isolationRules", rules),
        Field::checked("systemRules", rules),
    ]],
)
.without_effect(&["appName", "logDir"]);
pub(crate) const UPPERCASE: Description = Description::new(
    &["middleware.http.uppercase"],
    &[&[Field::new("direction", FieldKind::Lenient(direction)).exact_case()]],
);

fn header(text: &str) -> Result<(), String> {
    HeaderName::try_from(text).map(|_| ()).map_err(|_| "the name of an HTTP header".to_owned())
}

fn regex(text: &str) -> Result<(), String> {
    Regex::new(text).map(|_| ()).map_err(|error| {
        let reason = error.to_string();
        format!("a regular expression ({})", reason.lines().last().unwrap_or_default())
    })
}

fn auth_style(text: &str) -> Result<(), String> {
    let known = text.trim().parse().is_ok_and(|style: i64| (0..=2).contains(&style));
    if known { Ok(()) } else { Err("0 (detect), 1 (parameters) or 2 (header)".to_owned()) }
}

fn rate(text: &str) -> Result<(), String> {
    let positive = text.trim().parse().is_ok_and(|rate: f64| rate > 0.0);
    if positive { Ok(()) } else { Err("a number above zero".to_owned()) }
}

fn routes(text: &str) -> Result<(), String> {
    route_alias::listed(text)
        .map(|_| ())
        .map_err(|e| format!("a JSON or YAML mapping of paths to paths ({e})"))
}

fn rules(text: &str) -> Result<(), String> {
    serde_json::from_str::<Option<Vec<serde_json::Map<String, serde_json::Value>>>>(text)
        .map(|_| ())
        .map_err(|error| format!("a JSON list of rules ({error})"))
}

fn direction(text: &str) -> Result<(), String> {
    match text.to_lowercase().as_str() {
        "request" | "response" | "both" => Ok(()),
        _ => Err("request, response or both".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::description::DecoderCheck;
    use dapr_components::{InitContext, InitError};

    use super::*;
    use crate::client_credentials::ClientCredentials;
    use crate::oauth2::OAuth2;
    use crate::rate_limit::RateLimit;
    use crate::route_alias::RouteAlias;
    use crate::router_checker::RouterChecker;
    use crate::sentinel::Sentinel;
    use crate::testing::context;
    use crate::uppercase::Uppercase;

    fn check<M>(description: &Description, new: impl Fn(&InitContext) -> Result<M, InitError>) {
        let outcome = DecoderCheck::new(description)
            .sample("authHeaderName", "x-token")
            .sample("headerName", "x-token")
            .sample("pathFilter", "^/v1.0/")
            .sample("rule", "^/v1.0/")
            .sample("authStyle", "1")
            .sample("maxRequestsPerSecond", "7.5")
            .sample("routes", "/a: /b")
            .sample("direction", "both")
            .sample("flowRules", "[]")
            .sample("circuitBreakerRules", "[]")
            .sample("hotSpotParamRules", "[]")
            .sample("isolationRules", "[]")
            .sample("systemRules", "[]")
            .run(|properties| {
                let context = InitContext { properties: properties.clone(), ..context(&[]) };
                new(&context).map(|_| ()).map_err(|e| e.0)
            });
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        check(&BEARER, |c| crate::bearer::Settings::read(&c.properties));
        check(&OAUTH2, OAuth2::new);
        check(&CLIENT_CREDENTIALS, ClientCredentials::new);
        check(&RATE_LIMIT, RateLimit::new);
        check(&ROUTE_ALIAS, RouteAlias::new);
        check(&ROUTER_CHECKER, RouterChecker::new);
        check(&SENTINEL, Sentinel::new);
        check(&UPPERCASE, Uppercase::new);
    }
}
