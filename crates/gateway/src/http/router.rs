//! Matching of escaped paths against the route table.

use std::collections::HashMap;

use dapr_gocompat::urlesc;
use http::Method;

use super::call::Params;
use super::routes::Route;

/// A tree over path segments. Built once.
pub struct Router {
    root: Node,
}

#[derive(Default)]
struct Node {
    literals: HashMap<&'static str, Node>,
    param: Option<(&'static str, Box<Node>)>,
    /// Takes the rest of the path, at least one segment of it.
    rest: Option<(&'static str, Vec<&'static Route>)>,
    routes: Vec<&'static Route>,
}

/// A parameter with a broken escape.
pub struct BadParam {
    pub name: &'static str,
    pub reason: String,
}

impl Router {
    pub fn new(routes: impl IntoIterator<Item = &'static Route>) -> Self {
        let mut root = Node::default();
        for route in routes {
            root.insert(route);
        }
        Self { root }
    }

    /// The route for `path` (escaped, with a leading slash) and `method`.
    pub fn find(&self, method: &Method, path: &str) -> Result<Option<(&'static Route, Params)>, BadParam> {
        let mut raw = Vec::new();
        let Some(route) = self.root.find(method, path.strip_prefix('/').unwrap_or(path), &mut raw) else {
            return Ok(None);
        };
        let mut params = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let value =
                urlesc::query_unescape(value).map_err(|e| BadParam { name, reason: e.to_string() })?;
            params.push((name, value));
        }
        Ok(Some((route, Params(params))))
    }

    /// Whether `path` has a route for some method.
    pub fn knows(&self, path: &str) -> bool {
        let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
        methods.iter().any(|method| matches!(self.find(method, path), Ok(Some(_))))
    }
}

impl Node {
    fn insert(&mut self, route: &'static Route) {
        let mut node = self;
        for segment in route.pattern.split('/') {
            match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) if name.ends_with("...") => {
                    node.rest.get_or_insert_with(|| (name.trim_end_matches("..."), Vec::new())).1.push(route);
                    return;
                }
                Some(name) => node = &mut node.param.get_or_insert_with(|| (name, Box::default())).1,
                None => node = node.literals.entry(segment).or_default(),
            }
        }
        node.routes.push(route);
    }

    /// Literal segments beat parameters, parameters beat the rest; what leads
    /// nowhere is given up for the next alternative.
    fn find<'p>(
        &self,
        method: &Method,
        path: &'p str,
        params: &mut Vec<(&'static str, &'p str)>,
    ) -> Option<&'static Route> {
        if path.is_empty() {
            return self.routes.iter().copied().find(|r| r.methods.contains(method));
        }
        let (segment, tail) = path.split_once('/').unwrap_or((path, ""));
        if let Some(next) = self.literals.get(segment)
            && let Some(found) = next.find(method, tail, params)
        {
            return Some(found);
        }
        if let Some((name, next)) = &self.param {
            params.push((name, segment));
            if let Some(found) = next.find(method, tail, params) {
                return Some(found);
            }
            params.pop();
        }
        let (name, routes) = self.rest.as_ref()?;
        let route = routes.iter().copied().find(|r| r.methods.contains(method))?;
        params.push((name, path));
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;

    fn find(method: Method, path: &str) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let router = Router::new(routes::TABLE);
        router.find(&method, path).ok().flatten().map(|(r, p)| (r.name, p.0))
    }

    #[test]
    fn params_are_query_unescaped_single_segments() {
        let (name, params) = find(Method::GET, "/v1.0/state/s/a%2Fb+c").unwrap();
        assert_eq!(name, "GetState");
        assert_eq!(params, [("store", "s".to_owned()), ("key", "a/b c".to_owned())]);
        assert!(find(Method::GET, "/v1.0/state/s/a/b").is_none());
    }

    #[test]
    fn topics_may_contain_slashes_and_bulk_is_no_pubsub() {
        let (name, params) = find(Method::POST, "/v1.0/publish/p/a/b").unwrap();
        assert_eq!((name, params[1].1.as_str()), ("PublishEvent", "a/b"));
        assert_eq!(find(Method::POST, "/v1.0/publish/bulk/p/t").unwrap().0, "BulkPublishEvent");
        assert!(find(Method::POST, "/v1.0/publish/p").is_none());
        assert!(find(Method::GET, "/v1.0/publish/p/t").is_none());
    }

    #[test]
    fn a_broken_escape_names_the_parameter() {
        let router = Router::new(routes::TABLE);
        let Err(bad) = router.find(&Method::GET, "/v1.0/state/s/%zz") else { panic!("accepted") };
        assert_eq!(bad.name, "key");
    }
}
