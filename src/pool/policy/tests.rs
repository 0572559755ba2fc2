//! Timelines of the policy: the calls of the shell, and the policy's answers.

use super::hosts::MAX_EMPTIES;
use super::play::{NOTHING, Numbered, Play, S, config, hash};
use super::*;

#[test]
fn idle_connections_are_taken_newest_first() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3]);
    assert_eq!(play.counts(), [3, 0, 0, 0]);
    assert_eq!(play.want("a", 0, 9), ["reuse 3"]);
    assert_eq!(play.want("a", 0, 9), ["reuse 2"]);
    assert_eq!(play.checkin(3), NOTHING);
    assert_eq!(play.want("a", 0, 9), ["reuse 3"]);
    assert_eq!(play.want("a", 0, 9), ["reuse 1"]);
    assert_eq!(play.want("a", 0, 9), ["dial a/0"]);
}

#[test]
fn hosts_and_runtimes_share_nothing() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    assert_eq!(play.want("b", 0, 1), ["dial b/0"], "another host with the same hash");
    assert_eq!(play.want("a", 1, 2), ["dial a/1"]);
    assert_eq!(play.want("a", 0, 3), ["reuse 1"]);
    assert_eq!(play.dialed(2), ["grant 2 to 1"]);
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
}

#[test]
fn waiters_are_served_oldest_first_by_direct_hand_off() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), NOTHING);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.dialed(7), ["grant 7 to 1"]);
    assert_eq!(play.checkin(7), ["grant 7 to 2"]);
    assert_eq!(play.want("a", 0, 4), NOTHING, "a new request does not overtake the waiting ones");
    assert_eq!(play.checkin(7), ["grant 7 to 3"]);
    assert_eq!(play.release(7), ["dial a/0"]);
    assert_eq!(play.dialed(8), ["grant 8 to 4"]);
    assert_eq!(play.checkin(8), NOTHING);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
}

#[test]
fn whichever_comes_first_serves_and_the_late_dial_becomes_idle() {
    let mut play = Play::new(config());
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 1"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.checkin(1), ["grant 1 to 2"], "a connection is freed before the dial has ended");
    assert_eq!(play.want("a", 0, 3), NOTHING, "the dial under way serves one waiter");
    assert_eq!(play.dialed(2), ["grant 2 to 3"]);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert!(play.cancel(4));
    assert!(!play.cancel(4));
    assert_eq!(play.counts(), [0, 2, 1, 0]);
    assert_eq!(play.dialed(3), NOTHING);
    assert_eq!(play.counts(), [1, 2, 0, 0]);
    assert_eq!(play.want("a", 0, 5), ["reuse 3"]);
}

#[test]
fn dials_never_exceed_waiters() {
    let mut play = Play::new(config());
    for waiter in 1..=3 {
        assert_eq!(play.want("a", 0, waiter), ["dial a/0"]);
    }
    assert!(play.cancel(1));
    assert!(play.cancel(2));
    assert_eq!(play.want("a", 0, 4), NOTHING);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.want("a", 0, 6), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 3"]);
    assert_eq!(play.dialed(2), ["grant 2 to 4"]);
}

/// Each waiter is linked to its own dial, so that a request that times out can report the progress of this dial.
#[test]
fn each_of_many_dials_is_for_the_waiter_that_began_it() {
    let mut policy: Policy<Numbered> = Policy::new(config(), 1);
    for waiter in 0..200 {
        let mut out = Vec::new();
        let place = policy.place(0, |_| true, || 0, &0);
        policy.checkout(place, None, None, Instant::now(), || waiter, &mut out);
        let [Action::Dial { wanted_by, .. }] = out[..] else { panic!("{out:?}") };
        assert_eq!(wanted_by, Some(waiter));
    }
}

#[test]
fn the_queue_is_bounded() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, max_waiters_per_host: 2, ..config() });
    play.want("a", 0, 1);
    play.want("a", 1, 2);
    assert_eq!(play.want("a", 0, 3), ["full 2"]);
    assert_eq!(play.want("b", 0, 3), ["dial b/0"], "each host has a queue of its own");
    assert!(play.cancel(1));
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["full 2"]);
}

#[test]
fn the_limit_per_host_counts_what_is_still_closing() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.now += 61 * S;
    assert_eq!(
        play.want("a", 0, 1),
        ["bury 2 IdleTimeout", "bury 1 IdleTimeout"],
        "both connections have expired and are not closed yet"
    );
    assert_eq!(play.counts(), [0, 2, 0, 1]);
    assert_eq!(play.buried(1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), NOTHING);
    assert_eq!(play.buried(2), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.counts(), [0, 0, 2, 3]);
}

#[test]
fn the_total_limit_evicts_the_longest_idle_of_any_host() {
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[2]);
    assert_eq!(play.want("c", 0, 9), ["bury 1 Evicted"]);
    assert_eq!(play.counts(), [1, 1, 0, 1]);
    assert_eq!(
        play.buried(1),
        ["dial c/0"],
        "the dial begins once the evicted connection is closed, so that the limit holds"
    );
    assert_eq!(play.dialed(3), ["grant 3 to 9"]);
    assert_eq!(play.counts(), [1, 1, 0, 0]);
}

#[test]
fn blocked_hosts_take_turns() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.want("z", 0, 0);
    for (host, waiter) in [("a", 1), ("a", 2), ("b", 3), ("c", 4)] {
        assert_eq!(play.want(host, 0, waiter), NOTHING);
    }
    play.dialed(1);
    assert_eq!(play.release(1), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 1"]);
    // The room of a closed connection goes to the next waiter of the same host first, like a connection that comes back.
    assert_eq!(play.release(2), ["dial a/0"]);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
    assert_eq!(play.release(3), ["dial b/0"]);
    assert_eq!(play.dialed(4), ["grant 4 to 3"]);
    assert_eq!(play.release(4), ["dial c/0"]);
}

/// A host with a constant stream of requests does not block another host for ever.
#[test]
fn rule_05_a_busy_host_lets_another_in_after_a_while() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    for waiter in 2..=9 {
        play.want("a", 0, waiter);
    }
    play.want("b", 0, 20);
    play.want("c", 0, 30);
    play.now += S - Duration::from_nanos(1);
    assert_eq!(play.checkin(1), ["grant 1 to 2"], "the other host has waited for less than a turn");
    play.now += Duration::from_nanos(1);
    assert_eq!(play.checkin(1), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial b/0"]);
    play.dialed(2);
    // The room of a connection that is closed goes to the host that has waited for a turn.
    assert_eq!(play.release(2), ["dial c/0"]);
    play.dialed(3);
    // When request 31 comes, the blocked host has waited for a whole turn.
    play.want("c", 0, 31);
    assert_eq!(play.checkin(3), ["grant 3 to 31"]);
    play.now += S;
    assert_eq!(play.checkin(3), ["bury 3 Evicted"]);
    assert_eq!(play.buried(3), ["dial a/0"]);
}

/// A hundred hosts wait for room, and their requests leave. A host that queued after these hosts gets its turn.
#[test]
fn hosts_that_gave_up_block_no_other() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.want("z", 0, 0);
    play.dialed(1);
    for n in 1..=100 {
        assert_eq!(play.want(format!("host-{n}").leak(), 0, n), NOTHING);
    }
    assert_eq!(play.want("a", 0, 101), NOTHING);
    for n in 1..=100 {
        assert!(play.cancel(n));
    }
    assert_eq!(play.release(1), ["dial a/0"]);
}

/// A connection of host b is evicted for host a. Before the evicted connection is closed, host b wants a connection
/// again and gets the room. After that, the idle connection of host c is evicted for host a.
#[test]
fn an_evicting_host_is_served_when_another_takes_the_room() {
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.open("b", 0, &[1]);
    play.now += S;
    play.open("c", 0, &[2]);
    assert_eq!(play.want("a", 0, 7), ["bury 1 Evicted"]);
    let mut said = play.want("b", 0, 8);
    said.extend(play.buried(1));
    if said.contains(&"bury 2 Evicted".to_owned()) {
        said.extend(play.buried(2));
    }
    said.sort();
    assert_eq!(said, ["bury 2 Evicted", "dial a/0", "dial b/0"]);
}

#[test]
fn at_the_hosts_limit_idle_connections_of_other_runtimes_give_way() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("a", 1, &[2]);
    assert_eq!(play.want("a", 2, 9), ["bury 1 Evicted"]);
    assert_eq!(play.want("a", 2, 8), ["bury 2 Evicted"]);
    assert_eq!(play.buried(2), ["dial a/2"]);
    assert_eq!(play.buried(1), ["dial a/2"]);
    assert_eq!(play.dialed(3), ["grant 3 to 9"]);
    assert_eq!(play.want("a", 0, 7), NOTHING);
    assert_eq!(play.dialed(4), ["grant 4 to 8"]);
    assert_eq!(play.checkin(4), ["bury 4 Evicted"], "a waiter of another runtime needs the room");
    assert_eq!(play.buried(4), ["dial a/0"]);
}

#[test]
fn replace_keeps_the_head_of_the_queue() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    assert_eq!(play.want("a", 0, 11), ["reuse 2"]);
    assert_eq!(play.replace(2, 11), ["reuse 1"], "the next idle connection");
    assert_eq!(play.counts(), [0, 1, 0, 0]);
    assert_eq!(play.want("a", 0, 12), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 13), NOTHING);
    assert_eq!(play.replace(1, 11), ["dial a/0"], "a dial takes the room of the dead connection");
    assert_eq!(play.counts(), [0, 0, 2, 3]);
    assert_eq!(play.dialed(3), ["grant 3 to 11"], "request 11 is served before the later requests");
    assert_eq!(play.dialed(4), ["grant 4 to 12"]);
    assert_eq!(play.checkin(3), ["grant 3 to 13"]);
}

#[test]
fn redial_keeps_the_room_and_takes_only_new_connections() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 11);
    play.want("a", 0, 12);
    assert_eq!(play.want("a", 0, 13), NOTHING);
    assert_eq!(play.redial(1, 11), ["dial a/0"]);
    assert_eq!(play.counts(), [0, 1, 1, 2], "the limit is not exceeded");
    assert_eq!(
        play.checkin(2),
        ["grant 2 to 13"],
        "request 11 accepts only a new connection, and 2 is not new"
    );
    assert_eq!(play.want("a", 0, 14), NOTHING);
    assert_eq!(play.dialed(3), ["grant 3 to 11"], "the dial was for request 11");
    assert_eq!(play.checkin(3), ["grant 3 to 14"]);
}

#[test]
fn a_redial_that_fails_fails_the_request_it_was_for() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    play.open("a", 0, &[1]);
    play.want("a", 0, 11);
    play.want("a", 0, 12);
    assert_eq!(play.redial(1, 11), ["dial a/0"]);
    assert_eq!(play.fails(false), ["fail 11", "dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 12"]);
    assert_eq!(play.redial(2, 12), ["dial a/0"]);
    assert!(play.cancel(12));
    assert_eq!(play.dialed(3), NOTHING);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
}

/// A shutdown fails every waiter of every partition, a batch at a time.
#[test]
fn a_shutdown_fails_every_waiter() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    for waiter in 0..100 {
        play.want(["a", "b"][waiter as usize % 2], waiter % 3, waiter);
    }
    play.policy.shut();
    assert_eq!(play.want("a", 0, 100), ["shut"]);
    let (mut slot, mut refused, mut calls) = (Some(0), 0, 0);
    while let Some(from) = slot {
        let mut out = Vec::new();
        slot = play.policy.refuse_waiters(None, from, &mut out);
        refused += out.iter().filter(|action| matches!(action, Action::Fail { .. })).count();
        assert!(out.len() <= BATCH + 1);
        calls += 1;
    }
    assert_eq!((refused, play.counts()), (100, [0, 0, 1, 0]));
    assert_eq!(play.policy.hosts.listed(), 1, "host b has no connection and no waiter left");
    assert!(calls >= 2 && !play.policy.is_quiet());
    assert_eq!(play.dialed(1), ["bury 1 Shutdown"]);
    assert_eq!(play.buried(1), NOTHING);
    assert!(play.policy.is_quiet());
}

/// A request whose grant was withdrawn, because it was not polled in time, comes back to its old turn.
#[test]
fn rule_09_a_request_that_asks_again_has_its_old_turn() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, max_waiters_per_host: 1, ..config() });
    let again = |play: &mut Play, waiter: u32, is_resending: bool| {
        let (turn, now, mut out) = (play.tickets[&waiter].turn, play.now, Vec::new());
        let again = Some(Again { turn, since: play.now, is_resending });
        let is_a = |key: &&'static str| *key == "a";
        let policy = &mut play.policy;
        let place = policy.place(hash("a"), is_a, || "a", &0);
        let checkout = policy.checkout(place, None, again, now, || waiter, &mut out);
        play.answer(&checkout, waiter, out)
    };
    play.want("a", 0, 1);
    play.dialed(1);
    play.want("a", 0, 2);
    // Request 1 did not claim the connection. Request 2 gets it, and another request queues.
    assert_eq!(play.checkin(1), ["grant 1 to 2"]);
    play.want("a", 0, 3);
    assert_eq!(play.want("a", 0, 4), ["full 1"]);
    assert_eq!(again(&mut play, 1, false), NOTHING, "the request was admitted before");
    assert_eq!(play.checkin(1), ["grant 1 to 1"], "request 1 is served before request 3");
    assert_eq!(play.checkin(1), ["grant 1 to 3"]);
    assert_eq!(play.checkin(1), NOTHING);
    assert_eq!(again(&mut play, 1, false), ["reuse 1"]);
    // A request whose connection died takes no idle connection, and waits for its own dial.
    play.checkin(1);
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    play.want("a", 0, 1);
    assert_eq!(play.redial(1, 2), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(again(&mut play, 2, true), ["dial a/0"]);
    play.policy.shut();
    assert_eq!(play.want("a", 0, 9), ["shut"]);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
}

/// A grant that was not claimed is withdrawn only if another request or the shelf can use the connection.
#[test]
fn rule_09_a_grant_is_withdrawn_only_for_a_gain() {
    let gains = |play: &Play| play.policy.gains_by(play.places[&1]);
    let granted = |config: Limits| {
        let mut play = Play::new(config);
        play.want("a", 0, 1);
        play.dialed(1);
        play
    };
    assert!(gains(&granted(config())), "the connection could be kept idle");
    let nothing = Limits { max_idle: Some(0), max_connections_per_host: 1, ..config() };
    let mut play = granted(nothing.clone());
    assert!(!gains(&play), "the connection would only be closed");
    play.want("a", 0, 2);
    assert!(gains(&play), "another request of the host waits");
    let mut play = granted(Limits { max_connections: 1, ..nothing });
    play.want("b", 0, 2);
    assert!(gains(&play), "another host is blocked");
    let mut play = granted(nothing);
    play.policy.shut();
    assert!(gains(&play), "the pool is shut");
}

/// While a connection is being closed for a blocked host, no other connection is closed for the same host.
#[test]
fn rule_05_one_connection_is_closed_for_one_blocked_host() {
    let mut play = Play::new(Limits { max_connections: 3, ..config() });
    for waiter in 1..=3 {
        play.want("a", 0, waiter);
        play.dialed(waiter);
    }
    for waiter in 4..=9 {
        play.want("a", 0, waiter);
    }
    play.want("b", 0, 20);
    play.now += S;
    let said: Vec<_> = (1..=3).map(|conn| play.checkin(conn)).collect();
    let closed = said.iter().flatten().filter(|said| said.starts_with("bury")).count();
    // The first blocked host may be the busy host.
    assert!((1..=2).contains(&closed), "{said:?}");
}

#[test]
fn the_counts_and_the_state_of_the_pool_agree() {
    let mut play = Play::new(Limits { failing_host_backoff: Some(S), ..config() });
    assert!(play.policy.is_empty() && play.policy.is_quiet() && !play.policy.needs_reaper());
    play.want("a", 0, 1);
    assert!(!play.policy.is_empty() && play.policy.needs_reaper(), "the dial may become overdue");
    play.dialed(1);
    play.checkin(1);
    assert!(!play.policy.is_empty() && play.policy.needs_reaper());
    play.want("a", 0, 2);
    assert!(!play.policy.needs_reaper(), "no request waits, and nothing is idle");
    for _ in 0..2 {
        play.want("b", 0, 3);
        play.fails(true);
    }
    assert_eq!(play.want("b", 0, 3), ["refused after 2"]);
    let counters = play.policy.total().0;
    assert_eq!((counters.opened, counters.failed_dials), (1, 2));
    assert!(!play.policy.is_shut());
    play.policy.shut();
    assert!(play.policy.is_shut());
    play.release(1);
    assert!(play.policy.is_empty());
}

/// The policy returns the facts that the shell's ledgers and error messages show.
#[test]
fn the_shell_can_ask_about_hosts_and_waiters() {
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.want("a", 7, 1);
    play.dialed(1);
    play.want("b", 0, 2);
    assert_eq!(play.policy.host_slots(), 2);
    let known =
        |play: &Play, slot| play.policy.host_at(slot).map(|(key, counters, _)| (*key, counters.opened));
    assert_eq!((known(&play, 0), known(&play, 1), known(&play, 2)), (Some(("a", 1)), Some(("b", 0)), None));
    assert_eq!(play.policy.partition(play.places[&1]), Some(&7));
    // A request that was granted a connection is in no queue. A waiting request is in a queue, and so is a request
    // that is sent again.
    assert!(play.policy.of_ticket(play.tickets[&1]).is_none());
    play.want("c", 0, 3);
    let host = play.policy.of_ticket(play.tickets[&3]).unwrap();
    assert_eq!((host.counts.waiting, host.is_blocked, host.failure.is_some()), (1, true, false));
    assert!(!play.policy.of_ticket(play.tickets[&2]).unwrap().is_blocked);
    play.redial(1, 4);
    assert!(play.policy.of_ticket(play.tickets[&4]).is_some());
    // The ledger adds up over several exchanges.
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    for (nth, (reused, saved)) in [(false, false), (true, true), (true, true)].into_iter().enumerate() {
        // Each reuse counts the shortest handshake so far.
        let place = play.places[&1];
        play.policy.note_handshake(place, [3 * S, 2 * S, 5 * S][nth]);
        assert_eq!(play.want("a", 0, nth as u32), ["reuse 1"]);
        let served = Served { request: true, reused, saved, answered: 1, ..Served::default() };
        let (now, mut out) = (play.now, Vec::new());
        play.policy.checkin(place, 1, Terms::default(), served, now, &mut out);
        play.say(out);
    }
    let total = play.policy.total().0;
    assert_eq!((total.requests, total.reused, total.handshakes_saved, total.time_saved()), (3, 2, 2, 4 * S));
}

#[test]
fn an_abandoned_runtime_loses_its_idle_connections_and_no_other_does() {
    let mut play = Play::new(Limits { max_idle_per_host: 200, ..config() });
    play.open("a", 0, &[1, 2]);
    play.open("a", 1, &[3]);
    play.open("b", 1, &(100..250).collect::<Vec<_>>());
    let said = play.abandon(1);
    assert_eq!(said.len(), 151);
    assert_eq!(said[..2], ["bury 3 RuntimeGone", "bury 100 RuntimeGone"]);
    assert_eq!(play.counts(), [2, 151, 0, 0]);
    assert_eq!(play.abandon(1), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
}

#[test]
fn no_call_touches_more_than_a_batch() {
    let mut play = Play::new(Limits { max_idle_per_host: 1000, max_idle: Some(1000), ..config() });
    play.open("a", 0, &(0..300).collect::<Vec<_>>());
    play.now += 100 * S;
    let mut out = Vec::new();
    assert!(play.policy.reap(play.now, &mut out));
    assert_eq!(out.len(), BATCH);
    assert_eq!(play.policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out), BATCH);
    assert_eq!(out.len(), 2 * BATCH);
}

/// A crawler requests a million hosts. The number of entries stays bounded, and the cost of a forgotten host stays
/// bounded.
#[test]
fn empty_hosts_are_forgotten() {
    let mut policy: Policy<Numbered> = Policy::new(config(), 1);
    let now = Instant::now();
    let mut out = Vec::new();
    for host in 0..1_000_000u32 {
        let hash = u64::from(host).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = policy.place(hash, |key| *key == host, || host, &0);
        let checkout = policy.checkout(place, None, None, now, || host, &mut out);
        let Checkout::Queued(ticket) = checkout else { panic!("nothing is idle") };
        if host % 2 == 0 {
            assert!(policy.cancel(ticket, &mut out));
        }
        let Some(Action::Dial { place, dial_id, .. }) = out.pop() else { panic!("nothing else to do") };
        if host % 3 == 0 {
            policy.note_failure(place, dial_id, None, now);
            policy.fail_waiters(place, u64::MAX, true, &mut out);
            policy.dial_failed(place, false, now, &mut out);
        } else {
            policy.dialed(place, dial_id, host, Terms::default(), now, &mut out);
            out.clear();
            policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out);
            if host % 2 == 0 {
                policy.buried(place, now, &mut out);
            } else {
                policy.release(place, Served::default(), Some(DropReason::Failed), now, &mut out);
            }
        }
        out.clear();
        assert!(policy.hosts.listed() <= MAX_EMPTIES);
        assert!(policy.host_slots() <= MAX_EMPTIES + 1, "{} hosts", policy.host_slots());
    }
    assert_eq!(policy.hosts.len(), MAX_EMPTIES);
    assert_eq!(policy.total().1, Counts::default());
    // A search of all slots visits vacant slots too.
    assert_eq!(policy.host_slots(), MAX_EMPTIES + 1);
    let mut slot = Some(0);
    while let Some(from) = slot {
        slot = policy.refuse_waiters(None, from, &mut out);
    }
    assert_eq!(out.len(), 0, "no request waits");
}

/// A host that was empty once is listed. If its last connection is released while the list overflows because of
/// another host, the host must not be used after it was forgotten.
#[test]
fn a_host_is_not_forgotten_while_the_caller_uses_it() {
    let mut policy: Policy<Numbered> = Policy::new(Limits { max_connections: 1, ..config() }, 1);
    let now = Instant::now();
    let mut out = Vec::new();
    let want = |policy: &mut Policy<Numbered>, host: u32| {
        let mut out = Vec::new();
        let place = policy.place(u64::from(host), |key| *key == host, || host, &0);
        let checkout = policy.checkout(place, None, None, now, || host, &mut out);
        let Checkout::Queued(ticket) = checkout else { panic!("nothing is idle") };
        let dial = out.into_iter().find_map(|action| match action {
            Action::Dial { place, dial_id, .. } => Some((place, dial_id)),
            _ => None,
        });
        (ticket, dial)
    };
    // Host 0 becomes empty first, so host 0 is the oldest host in the list. The other hosts fill the list.
    for host in 0..MAX_EMPTIES as u32 {
        let (place, dial_id) = want(&mut policy, host).1.unwrap();
        policy.note_failure(place, dial_id, None, now);
        policy.fail_waiters(place, u64::MAX, true, &mut out);
        policy.dial_failed(place, false, now, &mut out);
    }
    // Host 0 is used again. Host 0 blocks a new host, and the request of the new host leaves.
    let (place, dial_id) = want(&mut policy, 0).1.unwrap();
    let (ticket, dial) = want(&mut policy, 5_000);
    assert!(dial.is_none());
    assert!(policy.cancel(ticket, &mut out));
    let (ticket, _) = want(&mut policy, 5_001);
    assert!(policy.cancel(ticket, &mut out));
    // Host 0's connection is closed: hosts 5000 and 5001 are listed, and the list overflows.
    policy.dialed(place, dial_id, 1, Terms::default(), now, &mut out);
    policy.release(place, Served::default(), Some(DropReason::Failed), now, &mut out);
    assert_eq!(policy.total().1, Counts::default());
}
