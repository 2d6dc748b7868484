//! Carries out what the rotation decides.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::directory::IdentityDirectory;
use super::sentry::{Refusal, Sentry};
use super::{Error, Observer, Options, SCOPE};
use crate::expiry::{Ends, Reminder};
use crate::identity::Identity;
use crate::mtls::{Material, verify_chain};
use crate::rotation::{Chance, Effects, Event, Rotation, Time};

/// Between two lines about an authority that is away.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(30);

type Pending = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>;

pub(super) struct Shell {
    rotation: Rotation,
    sentry: Arc<Sentry>,
    material: Material,
    observer: Arc<dyn Observer>,
    changes: watch::Receiver<()>,
    directory: Option<IdentityDirectory>,
    pending: Option<Pending>,
    wake: Option<Time>,
    issued: Option<Identity>,
    last: Option<Refusal>,
    complained: Option<Instant>,
    reminder: Reminder,
    shown: Option<(Time, Ends)>,
}

fn now() -> Time {
    SystemTime::now().into()
}

impl Shell {
    pub fn new(
        sentry: Arc<Sentry>,
        material: Material,
        observer: Arc<dyn Observer>,
        changes: watch::Receiver<()>,
        options: &Options,
    ) -> Self {
        Self {
            rotation: Rotation::new(),
            sentry,
            material,
            observer,
            changes,
            directory: options.identity_dir.clone().map(IdentityDirectory::new),
            pending: None,
            wake: None,
            issued: None,
            last: None,
            complained: None,
            reminder: Reminder::default(),
            shown: None,
        }
    }

    /// Returns once there is an identity.
    pub async fn until_ready(mut self) -> Result<Self, Error> {
        tracing::info!(target: SCOPE, "Fetching initial identity");
        self.happened(Event::Started)?;
        while !self.rotation.has_identity() {
            let event = self.next().await;
            self.happened(event)?;
        }
        self.observer.initialized();
        tracing::info!(target: SCOPE, "Security is initialized successfully");
        Ok(self)
    }

    pub async fn run(mut self) {
        loop {
            let event = self.next().await;
            if let Err(error) = self.happened(event) {
                tracing::error!(target: SCOPE, "Renewing the identity ends: {error}");
                return;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let wake = self.wake;
        let sleep = async move {
            match wake {
                Some(wake) => tokio::time::sleep(wake.since(now())).await,
                None => std::future::pending().await,
            }
        };
        let pending = async {
            match &mut self.pending {
                Some(pending) => pending.await,
                None => std::future::pending().await,
            }
        };
        // Static anchors have no sender: they never change.
        let changed = async {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let answer = tokio::select! {
            answer = pending => answer,
            () = changed => return Event::AnchorsChanged { still_trusted: self.is_trusted() },
            () = sleep => return Event::Woke,
        };
        self.pending = None;
        match answer {
            Ok(identity) => {
                let terms = identity.terms();
                self.issued = Some(identity);
                Event::Issued(terms)
            }
            Err(refusal) => {
                let failure = refusal.failure;
                self.complain(&refusal);
                self.observer.rotation_failed(refusal.reason);
                self.last = Some(refusal);
                Event::Failed(failure)
            }
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), Error> {
        let renewal = self.rotation.has_identity();
        let effects = self.rotation.step(now(), Chance(fastrand::u16(..)), event);
        let Effects { install, request, give_up, wake } = effects;
        if install && let Some(identity) = self.issued.take() {
            self.install(identity, renewal)?;
        }
        if request {
            self.pending = Some(Box::pin(self.sentry.clone().fetch()));
        }
        self.wake = wake;
        self.watch_expiry();
        if !give_up {
            return Ok(());
        }
        let (reason, text) = self.last.take().map_or(("sign", String::new()), |r| (r.reason, r.text));
        self.observer.init_failed(reason);
        Err(Error::Identity(text))
    }

    fn install(&mut self, identity: Identity, renewal: bool) -> Result<(), Error> {
        let expiry = identity.validity().not_after;
        let until = expiry.since(now());
        if let Some(directory) = &mut self.directory {
            let anchors = self.material.anchors.current();
            match directory.write(&identity, anchors.pem(), now()) {
                Err(error) if renewal => {
                    tracing::error!(target: SCOPE, "Writing the identity to files failed: {error}");
                }
                written => written.map_err(|e| Error::Identity(format!("cannot write it to files: {e}")))?,
            }
        }
        self.material.identity.replace(identity);
        (self.complained, self.last) = (None, None);
        if renewal {
            tracing::info!(target: SCOPE, "Successfully renewed workload identity; cert expires in {until:?}");
            self.observer.rotated();
        } else {
            tracing::info!(target: SCOPE, "Starting workload identity expiry watcher; cert expires in {until:?}");
        }
        Ok(())
    }

    /// Called at least every minute, the longest sleep of the rotation.
    fn watch_expiry(&mut self) {
        let Some(identity) = self.material.identity.current() else { return };
        let ends = identity.ends(&self.material.anchors.current());
        for line in self.reminder.due(now(), ends) {
            tracing::warn!(target: SCOPE, "{line}");
        }
        let shown = (identity.validity().not_after, ends);
        if self.shown.replace(shown) != Some(shown) {
            self.observer.certificates(shown.0, shown.1);
        }
    }

    /// Whether peers that know only the current anchors believe us.
    fn is_trusted(&self) -> bool {
        let Some(identity) = self.material.identity.current() else { return false };
        let Some((leaf, rest)) = identity.chain().split_first() else { return false };
        verify_chain(&self.material.anchors.current(), leaf, rest, UnixTime::now()).is_ok()
    }

    /// A first failure at once, then now and then: waiting is not news.
    fn complain(&mut self, refusal: &Refusal) {
        if self.complained.is_some_and(|last| last.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        self.complained = Some(Instant::now());
        if self.rotation.has_identity() {
            tracing::error!(target: SCOPE, "Error renewing identity, trying again: {}", refusal.text);
        } else {
            tracing::warn!(target: SCOPE, "No identity yet: {}", refusal.text);
        }
    }
}
