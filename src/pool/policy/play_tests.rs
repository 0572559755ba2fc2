//! A policy for tests. The test plays the shell and decides when the policy's actions are carried out.

use std::collections::{HashMap, VecDeque};

use super::*;

pub(crate) const S: Duration = Duration::from_secs(1);

pub(crate) type Act = Action<Named>;

/// A policy, and the actions that the test has not carried out yet.
pub(crate) struct Play {
    pub(crate) policy: Policy<Named>,
    pub(crate) now: Instant,
    /// Dials under way, oldest first.
    pub(crate) dials: VecDeque<(Place, u64)>,
    /// Places of the connections that are used or being closed.
    pub(crate) places: HashMap<u32, Place>,
    pub(crate) tickets: HashMap<u32, Ticket>,
}

/// Text of the policy's answer if it returned no actions.
pub(crate) const NOTHING: [&str; 0] = [];

/// A failure that counts against the host.
pub(crate) const FAILED: &str = "refused";

/// Types of a shell for tests. A host is a word, and every other value is a number.
#[derive(Debug)]
pub(crate) struct Named;

impl Kinds for Named {
    type Key = &'static str;
    type Connection = u32;
    type Waiter = u32;
    type Partition = u32;
    type Failure = &'static str;
}

/// Types of a shell for tests. Every value is a number.
#[derive(Debug)]
pub(crate) struct Numbered;

impl Kinds for Numbered {
    type Key = u32;
    type Connection = u32;
    type Waiter = u32;
    type Partition = u32;
    type Failure = u32;
}

pub(crate) fn config() -> Limits {
    Limits::default()
}

impl Play {
    pub(crate) fn new(config: Limits) -> Self {
        Self {
            policy: Policy::new(config, 1),
            now: Instant::now(),
            dials: VecDeque::new(),
            places: HashMap::new(),
            tickets: HashMap::new(),
        }
    }

    /// Notes the actions, and returns each action as text.
    pub(crate) fn say(&mut self, actions: Vec<Act>) -> Vec<String> {
        let mut said = Vec::new();
        for action in actions {
            said.push(match action {
                Action::Forget { .. } => continue,
                Action::Cut { id } => format!("cut {id}"),
                Action::Abort { dial_id } => {
                    self.dials.retain(|dial| dial.1 != dial_id);
                    "abort".to_owned()
                }
                Action::Grant { waiter, conn, place } => {
                    self.places.insert(conn, place);
                    format!("grant {conn} to {waiter}")
                }
                Action::Fail { waiter } => format!("fail {waiter}"),
                Action::Dial { key, partition, place, dial_id, .. } => {
                    self.dials.push_back((place, dial_id));
                    format!("dial {key}/{partition}")
                }
                Action::Bury { conn, place, reason } => {
                    self.places.insert(conn, place);
                    format!("bury {conn} {reason:?}")
                }
            });
        }
        said
    }

    pub(crate) fn want(&mut self, host: &'static str, runtime: u32, waiter: u32) -> Vec<String> {
        let mut out = Vec::new();
        let place = self.policy.place(hash(host), |key| *key == host, || host, &runtime);
        let checkout = self.policy.checkout(place, None, None, self.now, || waiter, &mut out);
        self.answer(&checkout, waiter, out)
    }

    pub(crate) fn place(&mut self, host: &'static str, runtime: u32) -> Place {
        self.policy.place(hash(host), |key| *key == host, || host, &runtime)
    }

    pub(crate) fn answer(&mut self, checkout: &Checkout<Named>, waiter: u32, out: Vec<Act>) -> Vec<String> {
        let mut said = self.say(out);
        match *checkout {
            Checkout::Reuse(conn, place) => {
                self.places.insert(conn, place);
                said.push(format!("reuse {conn}"));
            }
            Checkout::Queued(ticket) => {
                self.tickets.insert(waiter, ticket);
            }
            Checkout::Full(waiting) => said.push(format!("full {waiting}")),
            Checkout::Failing(ref failing) => said.push(format!("refused after {}", failing.dials)),
            Checkout::Shut => said.push("shut".to_owned()),
        }
        said
    }

    /// Ends the oldest dial with success.
    pub(crate) fn dialed(&mut self, conn: u32) -> Vec<String> {
        self.dialed_with(conn, Terms::default())
    }

    /// Ends the oldest dial with a connection that is not used from `until` on.
    pub(crate) fn dialed_until(&mut self, conn: u32, until: Instant) -> Vec<String> {
        self.dialed_with(conn, Terms { until: Some(until), ..Terms::default() })
    }

    /// Ends the oldest dial with a connection that has these terms.
    pub(crate) fn dialed_with(&mut self, conn: u32, terms: Terms) -> Vec<String> {
        let (place, dial_id) = self.dials.pop_front().unwrap();
        let mut out = Vec::new();
        self.places.insert(conn, place);
        self.policy.dialed(place, dial_id, conn, terms, self.now, &mut out);
        self.say(out)
    }

    pub(crate) fn checkin_until(&mut self, conn: u32, until: Instant) -> Vec<String> {
        let place = self.places[&conn];
        let mut out = Vec::new();
        let terms = Terms { until: Some(until), is_used: true, ..Terms::default() };
        self.policy.checkin(place, conn, terms, Served::default(), self.now, &mut out);
        self.say(out)
    }

    /// Ends the oldest dial with a failure.
    pub(crate) fn fails(&mut self, concerns_host: bool) -> Vec<String> {
        let (place, dial_id) = self.dials.pop_front().unwrap();
        let mut out = Vec::new();
        let decides = self.policy.note_failure(place, dial_id, Some(FAILED), self.now);
        while self.policy.fail_waiters(place, dial_id, concerns_host || decides, &mut out) {}
        while self.policy.fail_unserved(place, true, &mut out) {}
        self.policy.dial_failed(place, true, self.now, &mut out);
        self.say(out)
    }

    /// Forgets that the last dial to the host failed.
    pub(crate) fn forgive(&mut self, host: &str) {
        let slot = (0..self.policy.hosts.slots())
            .find(|slot| self.policy.hosts.get(*slot as u32).is_some_and(|known| known.key == host));
        self.policy.hosts.host_mut(slot.unwrap() as u32).failing = None;
    }

    pub(crate) fn checkin(&mut self, conn: u32) -> Vec<String> {
        self.checkin_for(conn, None)
    }

    /// Checks in a connection on which no request was sent.
    pub(crate) fn checkin_unused(&mut self, conn: u32) -> Vec<String> {
        let (place, now, mut out) = (self.places[&conn], self.now, Vec::new());
        self.policy.checkin(place, conn, Terms::default(), Served::default(), now, &mut out);
        self.say(out)
    }

    pub(crate) fn checkin_for(&mut self, conn: u32, stay: Option<Duration>) -> Vec<String> {
        let place = self.places[&conn];
        let mut out = Vec::new();
        let terms = Terms { stay, is_used: true, ..Terms::default() };
        self.policy.checkin(place, conn, terms, Served::default(), self.now, &mut out);
        self.say(out)
    }

    pub(crate) fn release(&mut self, conn: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        self.policy.release(place, Served::default(), Some(DropReason::Failed), self.now, &mut out);
        self.say(out)
    }

    pub(crate) fn buried(&mut self, conn: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        self.policy.buried(place, self.now, &mut out);
        self.say(out)
    }

    pub(crate) fn replace(&mut self, conn: u32, waiter: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        let checkout =
            self.policy.replace(place, 2, DropReason::PeerClosed, None, self.now, || waiter, &mut out);
        self.answer(&checkout, waiter, out)
    }

    pub(crate) fn redial(&mut self, conn: u32, waiter: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        let ticket =
            self.policy.redial(place, Served::default(), DropReason::PeerClosed, waiter, self.now, &mut out);
        self.tickets.insert(waiter, ticket);
        self.say(out)
    }

    pub(crate) fn warm(&mut self, host: &'static str, runtime: u32, wanted: usize) -> Vec<String> {
        let mut out = Vec::new();
        let place = self.place(host, runtime);
        self.policy.warm(place, wanted, usize::MAX, self.now, &mut out);
        self.say(out)
    }

    pub(crate) fn min_idle(&mut self, host: &'static str, runtime: u32, wanted: usize) -> Vec<String> {
        let mut out = Vec::new();
        let now = self.now;
        let place = self.place(host, runtime);
        self.policy.set_min_idle(place, wanted, now, &mut out);
        self.say(out)
    }

    /// Lends the idle connections of a runtime.
    pub(crate) fn lend(&mut self, runtime: u32) -> Vec<Lent<u32>> {
        let mut lent = Vec::new();
        assert_eq!(self.policy.lend(&runtime, 0, &mut lent), None);
        lent
    }

    pub(crate) fn give_back(&mut self, lent: Lent<u32>, reason: Option<DropReason>) -> Vec<String> {
        let mut out = Vec::new();
        self.policy.give_back(lent, reason, self.now, &mut out);
        self.say(out)
    }

    /// Whether an active connection may drain.
    pub(crate) fn drain(&mut self, conn: u32, terms: Terms) -> bool {
        self.policy.begin_drain(self.places[&conn], conn.into(), terms, self.now)
    }

    /// Ends a drain by checking the connection in or closing it.
    pub(crate) fn drained(&mut self, conn: u32, is_kept: bool) -> Vec<String> {
        let (place, now) = (self.places[&conn], self.now);
        let served = Served { drained: Some(conn.into()), ..Served::default() };
        let mut out = Vec::new();
        if is_kept {
            self.policy.checkin(place, conn, Terms::default(), served, now, &mut out);
        } else {
            self.policy.release(place, served, Some(DropReason::Abandoned), now, &mut out);
        }
        self.say(out)
    }

    pub(crate) fn cancel(&mut self, waiter: u32) -> bool {
        self.policy.cancel(self.tickets[&waiter], &mut Vec::new())
    }

    pub(crate) fn reap(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while self.policy.reap(self.now, &mut out) {}
        self.say(out)
    }

    /// Gives up the overdue dials.
    pub(crate) fn reclaim(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        let mut said = Vec::new();
        while let Some((dial_id, runtime)) = self.policy.overdue(self.now) {
            let mut slot = Some(0);
            while let Some(from) = slot {
                slot = self.policy.refuse_waiters(Some(&runtime), from, &mut out);
                assert!(out.len() <= BATCH);
                said.extend(self.say(std::mem::take(&mut out)));
            }
            self.policy.reclaim(dial_id, self.now, &mut out);
            said.extend(self.say(std::mem::take(&mut out)));
        }
        said
    }

    pub(crate) fn abandon(&mut self, runtime: u32) -> Vec<String> {
        let mut out = Vec::new();
        let mut slot = Some(0);
        let mut said = Vec::new();
        while let Some(from) = slot {
            slot = self.policy.abandon(&runtime, from, &mut out);
            said.extend(self.say(std::mem::take(&mut out)));
        }
        said
    }

    pub(crate) fn counts(&self) -> [usize; 4] {
        let counts = self.policy.total().1;
        [counts.idle, counts.active, counts.dialing, counts.waiting]
    }

    /// Opens connections to the host and makes them idle in the order of `conns`.
    pub(crate) fn open(&mut self, host: &'static str, runtime: u32, conns: &[u32]) {
        for _ in conns {
            self.want(host, runtime, 0);
        }
        for conn in conns {
            self.dialed(*conn);
        }
        for conn in conns {
            self.checkin(*conn);
        }
    }
}

/// Returns the length of the host as its hash, so that hosts of equal length collide.
pub(crate) fn hash(host: &str) -> u64 {
    host.len() as u64
}
