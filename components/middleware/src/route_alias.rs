//! `middleware.http.routeralias`: other paths for routes.

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next};
use dapr_components::{InitContext, InitError, Properties};
use dapr_resources::yaml::{self, Dialect, Kind};
use dapr_transport::Body;
use http::{Request, Uri};

use crate::route_template::Template;
use crate::uri;

const SCOPE: &str = "dapr.middleware.http.routeralias";
const ROUTES: &str = "routes";

pub struct RouteAlias {
    /// The first that matches counts.
    routes: Vec<(Template, String)>,
}

impl RouteAlias {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let pairs = pairs(&context.properties)?;
        let mut routes = Vec::with_capacity(pairs.len());
        for (path, target) in pairs {
            match Template::compile(&path) {
                Ok(template) => routes.push((template, target)),
                // Such routes have always been accepted and never matched.
                Err(error) => tracing::warn!(
                    target: SCOPE,
                    "route {path:?} of {} matches nothing: {error}",
                    context.log_name()
                ),
            }
        }
        Ok(Self { routes })
    }

    /// Where a request goes instead.
    fn alias(&self, from: &Uri) -> Option<Uri> {
        let path = uri::decoded_path(from);
        let found = self.routes.iter().find_map(|(t, target)| t.variables(&path).map(|v| (v, target)));
        let (variables, target) = found?;
        let query = from.query().unwrap_or_default();
        let query = if variables.is_empty() {
            query.to_owned()
        } else {
            let mut pairs = uri::query_pairs(query);
            pairs.extend(variables.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
            uri::encode(pairs)
        };
        uri::origin_form(target, &query).ok()
    }
}

#[async_trait]
impl HttpMiddleware for RouteAlias {
    async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
        if let Some(alias) = self.alias(request.uri()) {
            *request.uri_mut() = alias;
        }
        next.run(request).await
    }
}

fn pairs(properties: &Properties) -> Result<Vec<(String, String)>, InitError> {
    let routes = properties.get(ROUTES).unwrap_or_default();
    let count = properties.iter().count();
    if count == 0 {
        return Ok(Vec::new());
    }
    if count == 1 && !routes.is_empty() {
        return listed(routes)
            .map_err(|e| InitError::new(format!("failed to decode 'routes' property as JSON or YAML: {e}")));
    }
    tracing::warn!(
        target: SCOPE,
        "Listing routes as key-value pairs is deprecated. Please use the 'routes' property instead. See: https://docs.dapr.io/reference/components-reference/supported-middleware/middleware-routeralias/"
    );
    let mut pairs: Vec<_> = properties.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    if pairs.iter().any(|(path, target)| path.is_empty() || target.is_empty()) {
        return Err(InitError::new("invalid key/value pair in metadata: must not be empty"));
    }
    // Properties have no order: what names one path goes before what names many.
    pairs.sort_by_key(|(path, _)| (path.contains('{'), path.clone()));
    Ok(pairs)
}

/// The routes of a JSON or YAML mapping, in its order.
pub(crate) fn listed(text: &str) -> Result<Vec<(String, String)>, String> {
    let Some(node) = yaml::parse_first(text).map_err(|e| e.to_string())? else { return Ok(Vec::new()) };
    if node.is_null() {
        return Ok(Vec::new());
    }
    let entries = node.entries(Dialect::Configuration).map_err(|e| e.to_string())?;
    let entries = entries.ok_or("it is not a mapping of paths to paths")?;
    let pair = |entry: yaml::Entry<'_>| match &entry.value.kind {
        Kind::Scalar(_) if entry.value.is_null() => Ok((entry.key, String::new())),
        Kind::Scalar(scalar) => Ok((entry.key, scalar.text.clone())),
        _ => Err(format!("line {}: the path for {:?} is not text", entry.value.line, entry.key)),
    };
    entries.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{End, context, get, send};

    async fn through(properties: &[(&str, &str)], path: &str) -> String {
        let end = End::default();
        send(RouteAlias::new(&context(properties)).unwrap(), &end, get(path)).await;
        end.uris().remove(0)
    }

    #[tokio::test]
    async fn routes_may_be_json_yaml_or_pairs() {
        let expected = "/v1.0/invoke/srv/method/x";
        for properties in [
            &[("routes", r#"{"/a/b": "/v1.0/invoke/srv/method/x"}"#)][..],
            &[("Routes", "/a/b: /v1.0/invoke/srv/method/x\n")],
            &[("/a/b", expected), ("/c", "/d")],
            &[("/a/b", expected)],
        ] {
            assert_eq!(through(properties, "/a/b").await, expected, "{properties:?}");
            assert_eq!(through(properties, "/a/c?x=1").await, "/a/c?x=1");
        }
        assert_eq!(through(&[], "/a/b").await, "/a/b");
    }

    #[tokio::test]
    async fn variables_join_the_query() {
        let routes = [("routes", r#"{"/a/{id}/{name:[a-z]+}": "/t", "/{any}": "/u"}"#)];
        assert_eq!(through(&routes, "/a/7/bob?z=1&id=6").await, "/t?id=6&id=7&name=bob&z=1");
        assert_eq!(through(&routes, "/a/7/BOB").await, "/a/7/BOB");
        assert_eq!(through(&routes, "/x%20y?q=%20").await, "/u?any=x+y&q=+");
    }

    #[tokio::test]
    async fn a_path_without_variables_keeps_its_query() {
        assert_eq!(through(&[("routes", "/a: /b c")], "/a?q=%20").await, "/b%20c?q=%20");
    }

    #[tokio::test]
    async fn a_template_that_is_none_matches_nothing() {
        assert_eq!(through(&[("routes", r#"{"/{a": "/b", "/c": "/d"}"#)], "/c").await, "/d");
    }

    #[test]
    fn bad_metadata_is_refused() {
        let error = |p: &[(&str, &str)]| RouteAlias::new(&context(p)).err().unwrap().to_string();
        assert_eq!(
            error(&[("/a", ""), ("/b", "/c")]),
            "invalid key/value pair in metadata: must not be empty"
        );
        let prefix = "failed to decode 'routes' property as JSON or YAML: ";
        for bad in ["[1]", "{\"a\"", "text", "{\"/a\": [1]}"] {
            assert!(error(&[("routes", bad)]).starts_with(prefix), "{bad}");
        }
    }
}
