//! One sidecar as the world sees it.

use dapr_security::rotation::{Chance, Effects, Event, Rotation, Terms, Time, Validity};

use super::{ALLOWANCE, NEVER};

/// A certificate and the root that its chain leads to.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub validity: Validity,
    pub root: usize,
}

/// Roots that are trusted, as bits by number.
pub type Anchors = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wake,
    Answer,
    Anchors,
    Restart,
    Up,
    SetClock,
    Partition,
}

/// Everything that lies ahead of it is a point of true time.
#[derive(Debug)]
pub struct Sidecar {
    pub rotation: Rotation,
    pub running: bool,
    /// True time of its last start.
    pub started: u64,
    /// What its clock shows more than the true time.
    pub offset: i64,
    pub leaf: Option<Leaf>,
    /// What the answer under way brings if all goes well.
    pub issued: Option<Leaf>,
    pub anchors: Anchors,
    pub next_anchors: Anchors,
    /// Cut off from the authority.
    pub partitioned: bool,
    pub wake_at: u64,
    pub answer_at: u64,
    pub anchors_at: u64,
    pub restart_at: u64,
    pub up_at: u64,
    pub clock_at: u64,
    pub partition_at: u64,
}

impl Sidecar {
    pub fn new(anchors: Anchors) -> Self {
        Self {
            rotation: Rotation::new(),
            running: false,
            started: 0,
            offset: 0,
            leaf: None,
            issued: None,
            anchors,
            next_anchors: anchors,
            partitioned: false,
            wake_at: NEVER,
            answer_at: NEVER,
            anchors_at: NEVER,
            restart_at: NEVER,
            up_at: NEVER,
            clock_at: NEVER,
            partition_at: NEVER,
        }
    }

    /// What its clock shows.
    pub fn clock(&self, now: u64) -> Time {
        Time(now.saturating_add_signed(self.offset))
    }

    pub fn next(&self) -> (u64, Next) {
        [
            (self.wake_at, Next::Wake),
            (self.answer_at, Next::Answer),
            (self.anchors_at, Next::Anchors),
            (self.restart_at, Next::Restart),
            (self.up_at, Next::Up),
            (self.clock_at, Next::SetClock),
            (self.partition_at, Next::Partition),
        ]
        .into_iter()
        .min_by_key(|(at, _)| *at)
        .unwrap_or((NEVER, Next::Wake))
    }

    pub fn trusts(&self, root: usize) -> bool {
        self.anchors & (1 << root) != 0
    }

    /// Whether everyone whose clock is within the allowance finds the leaf
    /// valid.
    pub fn has_good_leaf(&self, now: u64) -> bool {
        self.leaf.is_some_and(|leaf| {
            leaf.validity.contains(Time(now - ALLOWANCE)) && leaf.validity.contains(Time(now + ALLOWANCE))
        })
    }

    /// When something happens to it that is not waking.
    pub fn next_but_waking(&self) -> u64 {
        let Self { answer_at, anchors_at, restart_at, up_at, clock_at, partition_at, .. } = *self;
        [answer_at, anchors_at, restart_at, up_at, clock_at, partition_at].into_iter().fold(NEVER, u64::min)
    }

    /// Whether it runs and has asked for nothing.
    pub fn is_idle(&self) -> bool {
        self.running && self.answer_at == NEVER
    }

    /// One step of the core, and its effects but for a request, which the
    /// world answers. Says whether there is one.
    pub fn step(&mut self, now: u64, chance: u16, event: Event) -> Result<(bool, bool), &'static str> {
        let waiting = self.answer_at != NEVER;
        let effects = self.rotation.step(self.clock(now), Chance(chance), event);
        let Effects { install, request, give_up, wake } = effects;
        if install {
            self.leaf = Some(self.issued.take().ok_or("a certificate is installed that was not issued")?);
        }
        if request && waiting {
            return Err("a request while another is under way");
        }
        self.wake_at = match wake {
            // As long as it is by its own clock.
            Some(wake) => now + wake.0.saturating_sub(self.clock(now).0),
            None if request || waiting || give_up => NEVER,
            None => return Err("nothing is under way and nothing is waited for"),
        };
        Ok((request, give_up))
    }

    pub fn terms(leaf: &Leaf) -> Terms {
        Terms { validity: leaf.validity, token_expiry: None }
    }

    pub fn stop(&mut self) {
        self.running = false;
        (self.leaf, self.issued) = (None, None);
        (self.wake_at, self.answer_at, self.anchors_at, self.restart_at) = (NEVER, NEVER, NEVER, NEVER);
    }
}
