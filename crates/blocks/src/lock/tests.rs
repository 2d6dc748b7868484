use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::Properties;
use dapr_components::lock::{Error, LockStore, UnlockStatus};
use dapr_kernel::AppIdentity;
use dapr_resiliency::Policies;

use super::{LockService, Options};

/// Grants the lock whose key is the one expected, and fails otherwise.
struct Store;

#[async_trait]
impl LockStore for Store {
    async fn try_lock(&self, resource: &str, _: &str, expiry: Duration) -> Result<bool, Error> {
        if resource == "lock||app||door" { Ok(expiry.as_secs() == 5) } else { Err(Error::new("jammed")) }
    }

    async fn unlock(&self, resource: &str, _: &str) -> Result<UnlockStatus, Error> {
        if resource == "lock||app||door" {
            Ok(UnlockStatus::LockBelongsToOthers)
        } else {
            Err(Error::new("jammed"))
        }
    }
}

fn service() -> LockService {
    LockService::new(Options { identity: AppIdentity::new("app", None), policies: Policies::default() })
}

#[tokio::test]
async fn requests_are_checked_in_order() {
    let service = service();
    let lock = |store: &'static str, resource: &'static str, owner: &'static str, expiry| {
        let service = service.clone();
        async move {
            let error = service.try_lock(store, resource, owner, expiry).await.unwrap_err();
            (error.http, error.tag.into_owned(), error.message)
        }
    };
    let case = |http, tag: &str, message: &str| (http, tag.to_owned(), message.to_owned());
    assert_eq!(
        lock("s", "", "", 0).await,
        case(400, "ERR_MALFORMED_REQUEST", "ExpiryInSeconds is not positive in lock store s")
    );
    assert_eq!(lock("s", "", "", -1).await.0, 400);
    assert_eq!(
        lock("s", "", "", 1).await,
        case(500, "ERR_LOCK_STORE_NOT_CONFIGURED", "lock store is not configured")
    );
    service.add("s", Arc::new(Store), &Properties::default()).unwrap();
    assert_eq!(
        lock("x", "", "", 1).await,
        case(400, "ERR_MALFORMED_REQUEST", "ResourceId is empty in lock store x")
    );
    assert_eq!(
        lock("x", "r", "", 1).await,
        case(400, "ERR_MALFORMED_REQUEST", "LockOwner is empty in lock store x")
    );
    assert_eq!(lock("x", "r", "o", 1).await, case(400, "ERR_LOCK_STORE_NOT_FOUND", "lock store x not found"));
    assert_eq!(
        lock("s", "a||b", "o", 1).await,
        case(
            500,
            "ERR_TRY_LOCK",
            "failed to try acquiring lock: input key/keyPrefix 'a||b' can't contain '||'"
        )
    );
    assert_eq!(
        lock("s", "window", "o", 1).await,
        case(500, "ERR_TRY_LOCK", "failed to try acquiring lock: jammed")
    );
    let error = service.unlock("s", "window", "o").await.unwrap_err();
    assert_eq!((&*error.tag, error.message.as_str()), ("ERR_UNLOCK", "failed to release lock: jammed"));
    assert!(service.try_lock("s", "door", "o", 5).await.unwrap());
    assert_eq!(service.unlock("s", "door", "o").await.unwrap(), UnlockStatus::LockBelongsToOthers);
    service.remove("s").unwrap();
    assert_eq!(service.unlock("s", "door", "o").await.unwrap_err().message, "lock store is not configured");
}
