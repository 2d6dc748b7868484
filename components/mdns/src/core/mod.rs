//! The protocol without input or output: what to send, to whom, when, and what
//! the answers mean. Time comes in as an argument, effects go out as values.

mod browser;
mod cache;
mod message;
mod service;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use browser::App;
use cache::Origin;
pub use message::{Found, MessageError};
pub use service::Service;

/// How long a first lookup waits for any answer (runtime.md §7).
pub const BROWSE_LIMIT: Duration = Duration::from_secs(1);
/// Lifetime of an address after it was last heard of (runtime.md §7).
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(60);
/// Interval at which addresses in use are asked for again (runtime.md §7).
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Head start of multicast over the local registry: answers on one machine
/// take a few milliseconds.
pub const REGISTRY_GRACE: Duration = Duration::from_millis(100);
/// Port of multicast DNS (RFC 6762 §2).
pub const PORT: u16 = 5353;

/// When an unanswered first lookup asks again, counted from its start.
const BROWSE_REPEATS: [Duration; 2] = [REGISTRY_GRACE, Duration::from_millis(400)];
/// Pause before a refresh that was not answered in full is repeated.
const REFRESH_RETRY: Duration = Duration::from_secs(1);
/// Queries of one refresh round.
const REFRESH_ATTEMPTS: u8 = 3;
/// When the service is announced, counted from the start (RFC 6762 §8.3).
const ANNOUNCEMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(1)];
/// Application ids known at a time. Callers choose ids, so there is a limit.
const MAX_APPS: usize = 4096;

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask or announce on every interface.
    MulticastAll(Bytes),
    /// Answer on the interface that leads to `near`.
    Multicast {
        near: SocketAddr,
        packet: Bytes,
    },
    Unicast {
        to: SocketAddr,
        packet: Bytes,
    },
    /// Look the application up in the local registry and report to
    /// [`Core::registry_answer`].
    ReadRegistry(String),
    /// Addresses are there for callers that wait.
    Resolved(String),
    /// Nobody answered in time.
    NotFound(String),
}

/// A lookup that cannot even start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrowseError {
    #[error("couldn't find service: {0}")]
    Unnameable(String),
    #[error("couldn't find service: {0}: {MAX_APPS} other applications are being looked up already")]
    TooMany(String),
}

/// State machine of one resolver: its own service and what it knows of others.
#[derive(Debug)]
pub struct Core {
    /// Absent when the own app id is no DNS name: then only lookups work.
    service: Option<Service>,
    apps: HashMap<String, App>,
    started: Instant,
    announced: usize,
    multicast: bool,
}

impl Core {
    pub fn new(service: Option<Service>, now: Instant) -> Self {
        Self { service, apps: HashMap::new(), started: now, announced: 0, multicast: true }
    }

    /// Tells whether packets leave. While they do not, the local registry is
    /// asked at once instead of after [`REGISTRY_GRACE`].
    pub fn set_multicast(&mut self, works: bool) {
        self.multicast = works;
    }

    /// Next known address of `app_id`, in turns; IPv4 before IPv6.
    pub fn lookup(&mut self, app_id: &str) -> Option<&str> {
        self.apps.get_mut(app_id)?.next_address()
    }

    /// Starts to look for `app_id`, or joins the lookup under way. The next
    /// [`Core::tick`] sends; [`Effect::Resolved`] or [`Effect::NotFound`] ends it.
    pub fn browse(&mut self, app_id: &str, now: Instant) -> Result<(), BrowseError> {
        if let Some(app) = self.apps.get_mut(app_id) {
            app.start_browse(now);
            return Ok(());
        }
        let query = message::query(app_id).map_err(|_| BrowseError::Unnameable(app_id.to_owned()))?;
        if self.apps.len() >= MAX_APPS {
            return Err(BrowseError::TooMany(app_id.to_owned()));
        }
        let mut app = App::new(query);
        app.start_browse(now);
        self.apps.insert(app_id.to_owned(), app);
        Ok(())
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.next_announcement().is_some_and(|due| due <= now) {
            self.announced += 1;
            effects.extend(self.service.as_ref().map(|s| Effect::MulticastAll(s.announcement())));
        }
        let multicast = self.multicast;
        self.apps.retain(|app_id, app| {
            app.tick(app_id, now, multicast, &mut effects);
            !app.is_forgotten()
        });
        effects
    }

    /// When [`Core::tick`] wants to run next; `None` while nothing is pending.
    pub fn deadline(&self) -> Option<Instant> {
        let apps = self.apps.values().filter_map(App::deadline);
        apps.chain(self.next_announcement()).min()
    }

    /// Takes a packet from the network. Malformed ones are an error, which
    /// means nothing to the sidecar: anybody may send anything.
    pub fn receive(
        &mut self,
        packet: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Result<Vec<Effect>, MessageError> {
        let message = message::decode(packet)?;
        if message::is_query(&message) {
            return Ok(self.service.as_ref().map(|s| s.answer(&message, from)).unwrap_or_default());
        }
        let mut effects = Vec::new();
        // RFC 6762 §6: only the port of the protocol may answer.
        if from.port() == PORT {
            for found in message::found(&message) {
                self.learn(&found, now, &mut effects);
            }
        }
        Ok(effects)
    }

    /// Takes what the local registry knows of `app_id`; empty when nothing.
    pub fn registry_answer(&mut self, app_id: &str, addresses: &[SocketAddr], now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(app) = self.apps.get_mut(app_id) {
            app.retain_registered(addresses);
            for address in addresses {
                app.learn(*address, Origin::Registry, now);
            }
            app.settle(app_id, now, &mut effects);
        }
        effects
    }

    /// The packet that tells others to forget this service.
    pub fn goodbye(&self) -> Option<Bytes> {
        self.service.as_ref().map(Service::goodbye)
    }

    fn next_announcement(&self) -> Option<Instant> {
        ANNOUNCEMENTS.get(self.announced).map(|after| self.started + *after)
    }

    fn learn(&mut self, found: &Found, now: Instant, effects: &mut Vec<Effect>) {
        let Some(app) = self.apps.get_mut(&found.app_id) else { return };
        if !message::is_instance_of(found, &found.app_id) {
            return;
        }
        for address in &found.addresses {
            if found.gone {
                app.forget(*address);
            } else {
                app.learn(*address, Origin::Multicast, now);
            }
        }
        app.settle(&found.app_id, now, effects);
    }
}
