use dapr_components::Properties;
use dapr_kernel::AppIdentity;

use crate::state::{IllegalKey, SEPARATOR};

/// Tells locks from other keys in one store.
const API: &str = "lock";

/// How resources of different applications are told apart in one store
/// (components.md §1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockPrefix {
    /// What goes before the resource, separator included.
    prefix: String,
}

impl LockPrefix {
    /// From the component property `keyPrefix`, in any case; `store` is its
    /// name. A prefix of the user's own is lower-cased, as in Dapr.
    pub(super) fn from_properties(
        properties: &Properties,
        store: &str,
        identity: &AppIdentity,
    ) -> Result<Self, IllegalKey> {
        let strategy = properties.get("keyPrefix").map(str::to_lowercase);
        let strategy = strategy.as_deref().unwrap_or("appid");
        if strategy.contains(SEPARATOR) {
            return Err(IllegalKey(strategy.to_owned()));
        }
        let own = match strategy {
            "appid" => identity.app_id(),
            "name" => store,
            "none" => return Ok(Self { prefix: format!("{API}{SEPARATOR}") }),
            literal => literal,
        };
        Ok(Self { prefix: format!("{API}{SEPARATOR}{own}{SEPARATOR}") })
    }

    /// The resource as the store sees it.
    pub(super) fn apply(&self, resource: &str) -> Result<String, IllegalKey> {
        if resource.contains(SEPARATOR) {
            return Err(IllegalKey(resource.to_owned()));
        }
        Ok(format!("{}{resource}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(strategy: Option<&str>) -> String {
        let properties = Properties::new(strategy.map(|s| ("KeyPrefix", s))).unwrap();
        let identity = AppIdentity::new("app", Some("ns"));
        LockPrefix::from_properties(&properties, "store", &identity).unwrap().apply("r").unwrap()
    }

    #[test]
    fn strategies() {
        assert_eq!(key(None), "lock||app||r");
        assert_eq!(key(Some("AppID")), "lock||app||r");
        assert_eq!(key(Some("name")), "lock||store||r");
        assert_eq!(key(Some("none")), "lock||r");
        assert_eq!(key(Some("Mine")), "lock||mine||r");
        assert_eq!(key(Some("namespace")), "lock||namespace||r");
        let properties = Properties::new([("keyPrefix", "a||b")]).unwrap();
        let illegal = LockPrefix::from_properties(&properties, "store", &AppIdentity::new("app", None));
        assert_eq!(illegal.unwrap_err().to_string(), "input key/keyPrefix 'a||b' can't contain '||'");
    }
}
