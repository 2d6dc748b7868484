//! The domain of the cluster: what must be put behind `kubernetes.default.svc`
//! for it to be a name (control-plane.md §3.4).

use std::time::Duration;

const RESOLVER_FILE: &str = "/etc/resolv.conf";
const SERVICE: &str = "kubernetes.default.svc";
const LIMIT: Duration = Duration::from_secs(2);

/// Tries the search domains of the resolver in order. A pod has no other way
/// to resolve that name, so that the one that works is the cluster's.
pub async fn find() -> Result<String, String> {
    let text = tokio::fs::read_to_string(RESOLVER_FILE).await.map_err(|e| format!("{RESOLVER_FILE}: {e}"))?;
    let search = async {
        for domain in search_domains(&text) {
            if tokio::net::lookup_host((format!("{SERVICE}.{domain}."), 443)).await.is_ok() {
                return Some(domain);
            }
        }
        None
    };
    match tokio::time::timeout(LIMIT, search).await {
        Ok(Some(domain)) => Ok(domain),
        Ok(None) => Err(format!("lookup {SERVICE}: no such host")),
        Err(_) => Err(format!("lookup {SERVICE}: i/o timeout")),
    }
}

/// The last `search` line counts.
fn search_domains(resolver: &str) -> Vec<String> {
    let mut lines = resolver.lines().filter_map(|line| line.trim().strip_prefix("search"));
    let last = lines.rfind(|rest| rest.starts_with([' ', '\t'])).unwrap_or_default();
    last.split_ascii_whitespace()
        .map(|domain| domain.trim_matches('.').to_owned())
        .filter(|d| !d.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_line_counts() {
        let text = "nameserver 10.0.0.1\nsearch x\nsearch a.svc.cluster.local svc.cluster.local\tcluster.local.\noptions ndots:5\n";
        assert_eq!(search_domains(text), ["a.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert!(search_domains("searching x").is_empty());
    }
}
