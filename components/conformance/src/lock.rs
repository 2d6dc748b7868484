//! Lock stores.

use std::sync::Arc;
use std::time::Duration;

use dapr_components::lock::{LockStore, UnlockStatus};
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(3);
/// Longest time until a lock of [`SHORT`] is free again.
const FREE_AGAIN: Duration = Duration::from_secs(20);

/// Runs the whole suite on resources of its own and closes the store.
pub async fn run(store: Arc<dyn LockStore>) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let (door, window) = (format!("lock||suite||{id}-door"), format!("lock||suite||{id}-window"));
    let lock = |resource: &str, owner: &'static str, expiry| {
        let (store, resource) = (store.clone(), resource.to_owned());
        async move { store.try_lock(&resource, owner, expiry).await.expect("try_lock answers") }
    };
    let unlock = |resource: &str, owner: &'static str| {
        let (store, resource) = (store.clone(), resource.to_owned());
        async move { store.unlock(&resource, owner).await.expect("unlock answers") }
    };

    assert_eq!(unlock(&door, "anna").await, UnlockStatus::LockDoesNotExist, "nobody has locked yet");
    assert!(lock(&door, "anna", SHORT).await, "a free lock is given");
    assert!(!lock(&door, "ben", LONG).await, "a held lock is refused to others");
    assert!(!lock(&door, "anna", LONG).await, "a held lock is refused to its owner");
    assert!(lock(&window, "ben", LONG).await, "locks are independent");
    assert_eq!(unlock(&window, "anna").await, UnlockStatus::LockBelongsToOthers, "not the owner");
    assert_eq!(unlock(&window, "ben").await, UnlockStatus::Success, "the owner unlocks");
    assert_eq!(unlock(&window, "ben").await, UnlockStatus::LockDoesNotExist, "it is free");
    assert!(lock(&window, "anna", LONG).await, "a lock that was given back is free");

    let since = Instant::now();
    while !lock(&door, "ben", LONG).await {
        assert!(since.elapsed() < FREE_AGAIN, "a lock that ran out is free");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(unlock(&door, "anna").await, UnlockStatus::LockBelongsToOthers, "it ran out and went on");

    one_of_many_wins(&store, &format!("lock||suite||{id}-gate")).await;
    for (resource, owner) in [(&door, "ben"), (&window, "anna")] {
        assert_eq!(unlock(resource, owner).await, UnlockStatus::Success);
    }
    store.close().await;
}

async fn one_of_many_wins(store: &Arc<dyn LockStore>, resource: &str) {
    let owners: Vec<String> = (0..20).map(|n| format!("owner-{n}")).collect();
    let mut tries = tokio::task::JoinSet::new();
    for owner in owners {
        let (store, resource) = (store.clone(), resource.to_owned());
        tries.spawn(async move {
            store.try_lock(&resource, &owner, LONG).await.expect("try_lock answers").then_some(owner)
        });
    }
    let winners: Vec<String> = tries.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "one of many callers at once gets the lock: {winners:?}");
    assert_eq!(store.unlock(resource, &winners[0]).await.expect("unlock answers"), UnlockStatus::Success);
}
