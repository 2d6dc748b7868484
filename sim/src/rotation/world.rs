//! The authority, the roots, time, and what goes wrong.

use dapr_security::rotation::{Event, Failure, Rotation, Time, Validity};
use fastrand::Rng;

use super::sidecar::{Anchors, Leaf, Next, Sidecar};
use super::{
    ALLOWANCE, DAY, HOUR, LEAF, MINUTE, NEVER, OVERLAP, PROPAGATION, RECOVERY, ROOT, SECOND, SIDECARS, Seen,
    Violation,
};

/// When the world begins; anything long after 1970.
const BEGINNING: u64 = 1_000_000_000 * SECOND;
/// Roots are bits of [`Anchors`].
const MAX_ROOTS: usize = 64;

/// What happens to the authority and its roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Outage,
    Publish,
    Switch,
    Withdraw,
    Compromise,
    Probe,
}

#[derive(Debug)]
pub struct World {
    seed: u64,
    rng: Rng,
    now: u64,
    sidecars: [Sidecar; SIDECARS],
    /// Root and issuer below it have the same validity.
    roots: Vec<Validity>,
    published: Anchors,
    issuer: usize,
    authority: Authority,
    /// Since when each sidecar can reach the authority without trouble.
    reachable_since: [u64; SIDECARS],
    /// After a root was replaced without overlap: when all know.
    settled_at: u64,
    /// When each root was withdrawn.
    withdrawn: Vec<u64>,
    outage_at: u64,
    publish_at: u64,
    switch_at: u64,
    withdraw_at: u64,
    compromise_at: u64,
    probe_at: u64,
    /// What comes next for each sidecar and for the rest; found anew only
    /// where something changed.
    next: [(u64, Next); SIDECARS],
    own: (u64, Own),
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    Up,
    Away,
    /// Answers half of the time.
    Flaky,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = Self {
            seed,
            now: BEGINNING,
            sidecars: std::array::from_fn(|_| Sidecar::new(0)),
            roots: Vec::new(),
            published: 0,
            issuer: 0,
            authority: Authority::Up,
            reachable_since: [BEGINNING; SIDECARS],
            settled_at: 0,
            withdrawn: Vec::new(),
            outage_at: BEGINNING + rng.u64(HOUR..20 * DAY),
            publish_at: NEVER,
            switch_at: NEVER,
            withdraw_at: NEVER,
            compromise_at: BEGINNING + rng.u64(30 * DAY..1500 * DAY),
            probe_at: BEGINNING + MINUTE,
            next: [(NEVER, Next::Wake); SIDECARS],
            own: (NEVER, Own::Probe),
            seen: Seen::default(),
            rng,
        };
        world.published = 1 << world.new_root();
        for sidecar in &mut world.sidecars {
            sidecar.up_at = BEGINNING + world.rng.u64(0..HOUR);
            sidecar.clock_at = BEGINNING;
            sidecar.partition_at = BEGINNING + world.rng.u64(HOUR..100 * DAY);
        }
        world.look_ahead();
        world
    }

    pub fn elapsed(&self) -> u64 {
        self.now - BEGINNING
    }

    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// To the next thing that happens.
    pub fn advance(&mut self) -> Result<(), Violation> {
        let mut earliest = (self.own.0, None);
        for (index, (at, next)) in self.next.iter().enumerate() {
            if *at < earliest.0 {
                earliest = (*at, Some((index, *next)));
            }
        }
        self.now = earliest.0;
        match earliest.1 {
            Some((index, next)) => {
                match next {
                    Next::Wake => self.wake(index)?,
                    next => self.happens_to(index, next)?,
                }
                self.next[index] = self.sidecars[index].next();
            }
            None => {
                self.happens(self.own.1)?;
                self.look_ahead();
            }
        }
        Ok(())
    }

    /// One sidecar, again and again, for as long as nothing else happens:
    /// nearly all of what happens is that somebody wakes and sleeps on.
    fn wake(&mut self, index: usize) -> Result<(), Violation> {
        let others = (0..SIDECARS).filter(|i| *i != index).map(|i| self.next[i].0);
        let limit = others.fold(self.own.0, u64::min);
        let limit = limit.min(self.sidecars[index].next_but_waking());
        loop {
            self.happens_to(index, Next::Wake)?;
            let at = self.sidecars[index].wake_at;
            if at >= limit || !self.sidecars[index].is_idle() {
                return Ok(());
            }
            self.now = at;
        }
    }

    fn look_ahead(&mut self) {
        for (next, sidecar) in self.next.iter_mut().zip(&self.sidecars) {
            *next = sidecar.next();
        }
        self.own = self.next_own();
    }

    fn next_own(&self) -> (u64, Own) {
        [
            (self.outage_at, Own::Outage),
            (self.publish_at, Own::Publish),
            (self.switch_at, Own::Switch),
            (self.withdraw_at, Own::Withdraw),
            (self.compromise_at, Own::Compromise),
            (self.probe_at, Own::Probe),
        ]
        .into_iter()
        .min_by_key(|(at, _)| *at)
        .unwrap_or((NEVER, Own::Probe))
    }

    fn violation(&self, what: impl Into<String>) -> Violation {
        Violation { seed: self.seed, at: self.elapsed(), what: what.into() }
    }

    fn happens(&mut self, own: Own) -> Result<(), Violation> {
        match own {
            Own::Outage => self.outage(),
            Own::Publish => {
                let root = self.new_root();
                self.publish(self.published | 1 << root);
                (self.publish_at, self.switch_at) = (NEVER, self.now + OVERLAP);
            }
            Own::Switch => {
                self.issuer = self.roots.len() - 1;
                (self.switch_at, self.withdraw_at) = (NEVER, self.now + OVERLAP);
                self.plan_next_root();
            }
            Own::Withdraw => {
                self.withdraw_at = NEVER;
                self.only_issuer();
            }
            Own::Compromise => {
                self.issuer = self.new_root();
                (self.switch_at, self.withdraw_at, self.publish_at) = (NEVER, NEVER, NEVER);
                self.plan_next_root();
                self.only_issuer();
                self.settled_at = self.now + PROPAGATION + RECOVERY;
                self.compromise_at = self.now + self.rng.u64(100 * DAY..1500 * DAY);
            }
            Own::Probe => {
                self.probe_at = self.now + self.rng.u64(MINUTE..15 * MINUTE);
                self.check_certificates()?;
                let (a, b) = (self.rng.usize(..SIDECARS), self.rng.usize(..SIDECARS));
                self.handshake(a, b)?;
            }
        }
        Ok(())
    }

    /// Away for minutes or hours, or answering half of the time, and back.
    fn outage(&mut self) {
        self.authority = match (self.authority, self.rng.u8(0..4)) {
            (Authority::Up, 0) => Authority::Flaky,
            (Authority::Up, _) => Authority::Away,
            _ => Authority::Up,
        };
        self.outage_at = self.now
            + match self.authority {
                Authority::Up => self.rng.u64(MINUTE..20 * DAY),
                Authority::Flaky => self.rng.u64(SECOND..HOUR),
                Authority::Away => self.rng.u64(SECOND..12 * HOUR),
            };
        if self.authority == Authority::Up {
            self.reachable_since = [self.now; SIDECARS];
        } else {
            self.seen.outages += 1;
        }
    }

    fn new_root(&mut self) -> usize {
        assert!(self.roots.len() < MAX_ROOTS, "the world is too long for its roots");
        self.seen.roots += 1;
        let validity = Validity { not_before: Time(self.now - ALLOWANCE), not_after: Time(self.now + ROOT) };
        self.roots.push(validity);
        self.withdrawn.push(NEVER);
        if self.roots.len() == 1 {
            self.plan_next_root();
        }
        self.roots.len() - 1
    }

    fn plan_next_root(&mut self) {
        self.publish_at = self.now + self.rng.u64(280 * DAY..340 * DAY);
    }

    fn only_issuer(&mut self) {
        for (root, withdrawn) in self.withdrawn.iter_mut().enumerate() {
            if root != self.issuer && *withdrawn == NEVER {
                *withdrawn = self.now;
            }
        }
        self.publish(1 << self.issuer);
    }

    fn publish(&mut self, anchors: Anchors) {
        self.published = anchors;
        for sidecar in self.sidecars.iter_mut().filter(|s| s.running) {
            sidecar.next_anchors = anchors;
            sidecar.anchors_at = self.now + self.rng.u64(0..PROPAGATION);
        }
    }

    fn happens_to(&mut self, index: usize, next: Next) -> Result<(), Violation> {
        let now = self.now;
        match next {
            Next::Wake => {
                self.sidecars[index].wake_at = NEVER;
                self.step(index, Event::Woke)
            }
            Next::Answer => {
                let event = self.answer(index);
                self.sidecars[index].answer_at = NEVER;
                self.step(index, event)
            }
            Next::Anchors => {
                let sidecar = &mut self.sidecars[index];
                sidecar.anchors = sidecar.next_anchors;
                sidecar.anchors_at = NEVER;
                let clock = sidecar.clock(now);
                let still_trusted = match self.sidecars[index].leaf {
                    Some(leaf) => self.accepts(index, clock, &leaf),
                    None => false,
                };
                self.step(index, Event::AnchorsChanged { still_trusted })
            }
            Next::Restart => {
                self.go_down(index, 10 * MINUTE);
                Ok(())
            }
            Next::Up => {
                let restart_at = now + self.rng.u64(MINUTE..120 * DAY);
                let sidecar = &mut self.sidecars[index];
                sidecar.rotation = Rotation::new();
                (sidecar.running, sidecar.started) = (true, now);
                (sidecar.up_at, sidecar.restart_at) = (NEVER, restart_at);
                sidecar.anchors = self.published;
                self.step(index, Event::Started)
            }
            Next::SetClock => {
                let most = i64::try_from(ALLOWANCE - SECOND).unwrap_or(i64::MAX);
                self.sidecars[index].offset = self.rng.i64(-most..=most);
                self.sidecars[index].clock_at = now + self.rng.u64(10 * MINUTE..60 * DAY);
                Ok(())
            }
            Next::Partition => {
                let longest = if self.sidecars[index].partitioned { 100 * DAY } else { 12 * HOUR };
                let sidecar = &mut self.sidecars[index];
                sidecar.partitioned = !sidecar.partitioned;
                sidecar.partition_at = now + self.rng.u64(SECOND..longest);
                if !sidecar.partitioned {
                    self.reachable_since[index] = self.reachable_since[index].max(now);
                }
                Ok(())
            }
        }
    }

    fn go_down(&mut self, index: usize, longest: u64) {
        self.seen.restarts += 1;
        self.sidecars[index].stop();
        self.sidecars[index].up_at = self.now + self.rng.u64(SECOND..longest);
    }

    fn step(&mut self, index: usize, event: Event) -> Result<(), Violation> {
        let chance = self.rng.u16(..);
        match self.sidecars[index].step(self.now, chance, event) {
            Err(what) => Err(self.violation(what)),
            Ok((_, true)) => {
                // Whoever watches over it starts it again.
                self.go_down(index, 10 * SECOND);
                Ok(())
            }
            Ok((true, false)) => {
                self.sidecars[index].answer_at = self.now + self.latency(index);
                Ok(())
            }
            Ok((false, false)) => Ok(()),
        }
    }

    fn is_reachable(&self, index: usize) -> bool {
        self.authority != Authority::Away && !self.sidecars[index].partitioned
    }

    /// Refused connections are quick, lost ones take as long as a dial may.
    fn latency(&mut self, index: usize) -> u64 {
        match (self.is_reachable(index), self.rng.u8(0..5)) {
            (true, _) => self.rng.u64(2..800),
            (false, 0) => 10 * SECOND,
            (false, _) => self.rng.u64(1..50),
        }
    }

    fn answer(&mut self, index: usize) -> Event {
        let clock = self.sidecars[index].clock(self.now);
        // The authority shows a certificate, too.
        let serving = Leaf { validity: self.roots[self.issuer], root: self.issuer };
        if !self.is_reachable(index) || !self.accepts(index, clock, &serving) {
            return Event::Failed(Failure::Unreachable);
        }
        if self.authority == Authority::Flaky && self.rng.bool() {
            return Event::Failed(Failure::Busy);
        }
        self.seen.issued += 1;
        // Certificates have whole seconds.
        let second = self.now / SECOND * SECOND;
        let validity = Validity { not_before: Time(second - ALLOWANCE), not_after: Time(second + LEAF) };
        let leaf = Leaf { validity, root: self.issuer };
        self.sidecars[index].issued = Some(leaf);
        Event::Issued(Sidecar::terms(&leaf))
    }

    /// What the verifier does: everything on the chain valid now, and the root
    /// among the anchors.
    fn accepts(&self, index: usize, clock: Time, leaf: &Leaf) -> bool {
        // Certificates have whole seconds.
        let clock = Time(clock.0 / SECOND * SECOND);
        self.sidecars[index].trusts(leaf.root)
            && leaf.validity.contains(clock)
            && self.roots[leaf.root].contains(clock)
    }

    fn handshake(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        let (Some(leaf_a), Some(leaf_b)) = (self.sidecars[a].leaf, self.sidecars[b].leaf) else {
            return Ok(());
        };
        self.seen.handshakes += 1;
        let mut accepted = true;
        for (judge, shown) in [(a, leaf_b), (b, leaf_a)] {
            let clock = self.sidecars[judge].clock(self.now);
            let fine = self.accepts(judge, clock, &shown);
            if fine {
                self.check_acceptance(&shown)?;
            }
            accepted &= fine;
        }
        if !accepted {
            self.seen.refused += 1;
        }
        let good = |i: usize| self.sidecars[i].has_good_leaf(self.now);
        if good(a) && good(b) && self.now >= self.settled_at && self.agreed(a) && self.agreed(b) {
            self.seen.healthy += 1;
            if !accepted {
                return Err(self.violation(format!("{a} and {b} are healthy and do not meet")));
            }
        }
        Ok(())
    }

    /// Whether it has renewed since a root was replaced without overlap.
    fn agreed(&self, index: usize) -> bool {
        self.sidecars[index].leaf.is_some_and(|leaf| self.published & (1 << leaf.root) != 0)
    }

    fn check_acceptance(&self, leaf: &Leaf) -> Result<(), Violation> {
        let wrong = ALLOWANCE + SECOND;
        let leaf_time = leaf.validity.not_before.0 - wrong..=leaf.validity.not_after.0 + wrong;
        let root = self.roots[leaf.root];
        let root_time = root.not_before.0 - wrong..=root.not_after.0 + wrong;
        if !leaf_time.contains(&self.now) || !root_time.contains(&self.now) {
            return Err(self.violation("a certificate is accepted outside its validity"));
        }
        if self.now > self.withdrawn[leaf.root].saturating_add(PROPAGATION) {
            return Err(self.violation("a certificate of a withdrawn root is accepted"));
        }
        Ok(())
    }

    /// Who could have renewed has.
    fn check_certificates(&self) -> Result<(), Violation> {
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            let quiet = self.authority == Authority::Up
                && !sidecar.partitioned
                && sidecar.running
                && self.now >= self.settled_at
                && self.now - self.reachable_since[index] >= RECOVERY
                && self.now - sidecar.started >= RECOVERY;
            if quiet && !(sidecar.has_good_leaf(self.now) && self.agreed(index)) {
                let what =
                    format!("{index} can reach the authority and has no good certificate: {sidecar:?}");
                return Err(self.violation(what));
            }
        }
        Ok(())
    }
}
