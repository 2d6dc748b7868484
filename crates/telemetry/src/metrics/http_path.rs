//! The `path` and `method` labels of HTTP metrics (runtime.md §9.2).

use std::borrow::Cow;

use super::route::Routes;

const VERBS: [&str; 9] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
/// Paths that keep their own label in low cardinality.
const STATIC_PATHS: [&str; 4] = ["/dapr/config", "/dapr/metrics", "/dapr/subscribe", "/healthz"];
const INVOKE_PREFIX: &str = "/v1.0/invoke/";
/// Segments looked at; the last holds the rest of the path.
const MAX_SEGMENTS: usize = 6;

/// `metric.http` of a Configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLabelOptions {
    pub increased_cardinality: bool,
    pub path_matching: Vec<String>,
    pub exclude_verbs: bool,
}

impl Default for HttpLabelOptions {
    fn default() -> Self {
        Self { increased_cardinality: true, path_matching: Vec::new(), exclude_verbs: false }
    }
}

/// Turns paths and verbs into labels.
#[derive(Debug)]
pub struct HttpLabels {
    increased_cardinality: bool,
    exclude_verbs: bool,
    routes: Option<Routes>,
}

impl HttpLabels {
    pub fn new(options: &HttpLabelOptions) -> Self {
        let mut patterns = Vec::new();
        for entry in &options.path_matching {
            let pattern = clean(entry).into_owned();
            if !pattern.starts_with(INVOKE_PREFIX) {
                patterns.push(format!("{INVOKE_PREFIX}{{app_id}}/method{pattern}"));
            }
            patterns.push(pattern);
        }
        Self {
            increased_cardinality: options.increased_cardinality,
            exclude_verbs: options.exclude_verbs,
            routes: (!patterns.is_empty()).then(|| Routes::new(patterns)),
        }
    }

    pub fn increased_cardinality(&self) -> bool {
        self.increased_cardinality
    }

    /// The `method` label.
    pub fn method<'a>(&self, verb: &'a str) -> &'a str {
        match verb {
            _ if self.exclude_verbs => "",
            known if VERBS.contains(&known) => known,
            _ => "UNKNOWN",
        }
    }

    /// The `path` label of a request that the sidecar serves.
    pub fn server_path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if self.routes.is_none() && !self.increased_cardinality {
            return Cow::Borrowed("");
        }
        self.path(path)
    }

    /// The `path` label of a call to the application; `method` is its path
    /// without host, with or without a leading slash.
    pub fn client_path<'a>(&'a self, method: &'a str) -> Cow<'a, str> {
        let label = self.path(method);
        if self.increased_cardinality || self.routes.is_some() {
            return match label {
                Cow::Borrowed(label) => normalized(label),
                Cow::Owned(label) => Cow::Owned(normalized(&label).into_owned()),
            };
        }
        label
    }

    fn path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if STATIC_PATHS.contains(&path) {
            return Cow::Borrowed(path);
        }
        if let Some(label) = self.matched(path) {
            return label;
        }
        if self.increased_cardinality { normalized(path) } else { Cow::Borrowed("") }
    }

    fn matched(&self, path: &str) -> Option<Cow<'_, str>> {
        let routes = self.routes.as_ref()?;
        let find = |path: &str| {
            let label = routes.find(&clean(path))?;
            Some(Cow::Owned::<str>(label.into_owned()))
        };
        if path.is_empty() {
            return None;
        }
        let high = self.increased_cardinality;
        if let Some(label) = find(path).filter(|label| !high || label != path) {
            return Some(label);
        }
        let normalized = normalized(path);
        if normalized == path {
            return None;
        }
        find(&normalized).filter(|label| label != "/")
    }
}

/// Double slashes merged, a leading slash ensured.
fn clean(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 1);
    out.push('/');
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A path without what identifies single keys, actors and workflows.
pub(super) fn normalized(path: &str) -> Cow<'_, str> {
    if path.is_empty() {
        return Cow::Borrowed(path);
    }
    let path = clean(path);
    let label = {
        let (mut parts, mut count) = ([""; MAX_SEGMENTS], 0);
        for part in path[1..].splitn(MAX_SEGMENTS, '/') {
            parts[count] = part;
            count += 1;
        }
        shorten(&mut parts[..count])
    };
    label.map_or(path, Cow::Owned)
}

/// The label made of the segments, where it differs from the path.
fn shorten(parts: &mut [&str]) -> Option<String> {
    if parts.len() < 3 {
        return None;
    }
    if parts[0] == "actors" {
        // Calls to the application: no leading slash.
        parts[2] = "{id}";
        return Some(parts.join("/"));
    }
    let first = |parts: &[&str], n: usize| Some(format!("/{}", parts[..n].join("/")));
    match parts[1] {
        "state" | "secrets" => first(parts, 3),
        "actors" if parts.len() >= 5 => {
            parts[3] = "{id}";
            first(parts, 5)
        }
        "workflows" => match parts.len() {
            0..4 => None,
            4 => {
                parts[3] = "{instanceId}";
                first(parts, 4)
            }
            5 if parts[4].starts_with("start") => {
                parts[4] = "start";
                first(parts, 5)
            }
            count => {
                parts[3] = "{instanceId}";
                if count == MAX_SEGMENTS && parts[4] == "raiseEvent" && !parts[5].is_empty() {
                    parts[5] = "{eventName}";
                    return first(parts, 6);
                }
                first(parts, 5)
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(high: bool, patterns: &[&str]) -> HttpLabels {
        HttpLabels::new(&HttpLabelOptions {
            increased_cardinality: high,
            path_matching: patterns.iter().map(|p| (*p).to_owned()).collect(),
            exclude_verbs: false,
        })
    }

    #[test]
    fn normalised_paths_drop_what_is_variable() {
        for (path, label) in [
            ("/v1.0/state/store/key1", "/v1.0/state/store"),
            ("/v1.0/state/store", "/v1.0/state/store"),
            ("//v1.0//secrets/vault/name/x", "/v1.0/secrets/vault"),
            ("/v1.0/actors/Type/1/timer/name", "/v1.0/actors/Type/{id}/timer"),
            ("/v1.0/actors/Type/1", "/v1.0/actors/Type/1"),
            ("actors/Type/1/method/go", "actors/Type/{id}/method/go"),
            ("/actors/Type/1/method/remind/r/x", "actors/Type/{id}/method/remind/r/x"),
            ("/v1.0/workflows/dapr/abc", "/v1.0/workflows/dapr/{instanceId}"),
            ("/v1.0/workflows/dapr/order/start?instanceID=1", "/v1.0/workflows/dapr/order/start"),
            ("/v1.0/workflows/dapr/abc/pause", "/v1.0/workflows/dapr/{instanceId}/pause"),
            (
                "/v1.0/workflows/dapr/abc/raiseEvent/ev",
                "/v1.0/workflows/dapr/{instanceId}/raiseEvent/{eventName}",
            ),
            ("/v1.0/invoke/app/method/a/b/c", "/v1.0/invoke/app/method/a/b/c"),
            ("/v1.0/healthz", "/v1.0/healthz"),
        ] {
            assert_eq!(normalized(path), label, "{path}");
        }
    }

    #[test]
    fn low_cardinality_has_no_paths_but_the_static_ones_on_calls() {
        let l = labels(false, &[]);
        assert_eq!(l.server_path("/v1.0/state/s/k"), "");
        assert_eq!(l.server_path("/healthz"), "");
        assert_eq!(l.client_path("/orders"), "");
        assert_eq!(l.client_path("/dapr/subscribe"), "/dapr/subscribe");
    }

    #[test]
    fn patterns_also_hold_behind_the_invoke_route() {
        for high in [false, true] {
            let l = labels(high, &["/orders/{id}"]);
            assert_eq!(l.server_path("/orders/7"), "/orders/{id}");
            assert_eq!(
                l.server_path("/v1.0/invoke/app/method/orders/7"),
                "/v1.0/invoke/{app_id}/method/orders/{id}"
            );
            assert_eq!(l.client_path("/orders/7"), "/orders/{id}");
        }
    }

    #[test]
    fn without_a_match_the_cardinality_decides() {
        assert_eq!(labels(false, &["/orders"]).server_path("/v1.0/state/s/k"), "");
        assert_eq!(labels(true, &["/orders"]).server_path("/v1.0/state/s/k"), "/v1.0/state/s");
        assert_eq!(labels(false, &["/"]).server_path("/anything"), "/");
    }

    #[test]
    fn patterns_may_name_normalised_paths() {
        let l = labels(false, &["/v1.0/actors/Type/{id}/state"]);
        assert_eq!(l.server_path("/v1.0/actors/Type/1/state/key"), "/v1.0/actors/Type/{id}/state");
    }

    #[test]
    fn verbs() {
        let mut l = labels(true, &[]);
        assert_eq!((l.method("GET"), l.method("PURGE")), ("GET", "UNKNOWN"));
        l.exclude_verbs = true;
        assert_eq!(l.method("GET"), "");
    }
}
