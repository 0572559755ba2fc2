//! Tests of dials ahead, which are begun before any request needs the connections.

use super::super::play::{NOTHING, Play, S, config};
use super::super::*;

#[test]
fn warm_dials_what_is_missing_within_the_limits() {
    let mut play = Play::new(Limits { max_connections_per_host: 3, ..config() });
    play.open("a", 0, &[1]);
    assert_eq!(play.warm("a", 0, 1), NOTHING);
    assert_eq!(play.warm("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.warm("a", 0, 2), NOTHING, "both dials are under way already");
    assert_eq!(play.warm("a", 0, 9), ["dial a/0"]);
    assert_eq!(play.dialed(2), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
    assert_eq!(play.counts(), [1, 1, 1, 0]);
}

#[test]
fn rule_14_so_many_are_idle_always() {
    let mut play = Play::new(Limits { max_connections_per_host: 4, ..config() });
    assert_eq!(play.min_idle("a", 0, 2), ["dial a/0", "dial a/0"]);
    assert_eq!(play.min_idle("a", 0, 2), NOTHING, "the dials are under way already");
    play.dialed(1);
    play.dialed(2);
    assert_eq!(play.counts(), [2, 0, 0, 0]);
    // A connection that is taken is replaced by a dial, within the limit.
    assert_eq!(play.want("a", 0, 1), ["dial a/0", "reuse 2"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0", "reuse 1"]);
    play.dialed(3);
    play.dialed(4);
    assert_eq!(play.want("a", 0, 3), ["reuse 4"], "the limit allows four connections");
    // A connection that is closed is replaced by a dial too.
    assert_eq!(play.release(1), ["dial a/0"]);
    // A waiting request comes before the minimum of idle connections.
    play.want("a", 0, 4);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.dialed(5), ["grant 5 to 5"]);
    // Dials ahead do not exceed the limit on idle connections.
    let mut play = Play::new(Limits { max_idle_per_host: 3, max_idle: Some(2), ..config() });
    assert_eq!(play.min_idle("a", 0, 9), ["dial a/0", "dial a/0"]);
    let mut play = Play::new(Limits { idle_timeout: Some(Duration::ZERO), ..config() });
    assert_eq!(play.min_idle("a", 0, 9), NOTHING);
    // A limited number of dials runs at a time.
    let mut play = Play::new(config());
    assert_eq!(play.min_idle("a", 0, 20).len(), AHEAD);
    for conn in 1..=12 {
        assert_eq!(play.dialed(conn), ["dial a/0"], "the end of each dial begins the next one");
    }
    for conn in 13..=20 {
        assert_eq!(play.dialed(conn), NOTHING);
    }
    assert_eq!(play.counts(), [20, 0, 0, 0]);
    let mut play = Play::new(config());
    assert_eq!(play.warm("a", 0, 20), vec!["dial a/0"; AHEAD]);
}

/// A waiting request gets the room before a dial for the minimum of idle connections.
#[test]
fn rule_14_nothing_is_dialed_ahead_while_a_request_waits_for_the_room() {
    // The request is for another host.
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.min_idle("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.want("bb", 0, 2), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial bb/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    assert_eq!(play.checkin(2), NOTHING);
    play.now += 5 * S;
    assert_eq!(play.reap(), NOTHING, "nothing is evicted for a dial ahead");
    // The request is for the same host on another runtime.
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    play.min_idle("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.want("a", 1, 2), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial a/1"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    // Requests of several hosts wait at the total limit.
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.want("a", 0, 1);
    play.want("bb", 0, 2);
    assert_eq!(play.want("ccc", 0, 3), NOTHING);
    assert_eq!(play.min_idle("dddd", 0, 1), NOTHING);
    assert_eq!(play.warm("dddd", 0, 1), NOTHING);
    play.dialed(1);
    assert_eq!(play.release(1), ["dial ccc/0"]);
}

/// Dials ahead to a host that is down pause after each failure.
#[test]
fn rule_14_a_failed_dial_ahead_is_not_repeated_at_once() {
    let mut play = Play::new(config());
    assert_eq!(play.min_idle("a", 0, 3).len(), 3);
    for _ in 0..3 {
        assert_eq!(play.fails(true), NOTHING);
    }
    for after in [5, 10, 15] {
        assert_eq!(play.reap(), NOTHING);
        play.now = play.policy.due().unwrap();
        assert_eq!(play.reap(), ["dial a/0"], "one, after {after} s");
        assert_eq!(play.fails(true), NOTHING);
    }
    play.now = play.policy.due().unwrap();
    play.reap();
    assert_eq!(play.dialed(1).len(), 2, "after a success, all missing dials begin");
}

/// A dial ahead that has no room or fails is tried again later, and no connection is evicted for a dial ahead.
#[test]
fn rule_14_a_dial_ahead_without_room_is_tried_later() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.open("b", 0, &[1]);
    assert_eq!(play.min_idle("a", 0, 1), NOTHING, "b keeps its idle connection");
    assert!(play.policy.needs_reaper());
    let due = play.now + 5 * S;
    assert_eq!(play.policy.due(), Some(due));
    play.want("b", 0, 1);
    assert_eq!(play.release(1), NOTHING);
    play.now = due - Duration::from_nanos(1);
    assert_eq!(play.reap(), NOTHING);
    play.now = due;
    assert_eq!(play.reap(), ["dial a/0"]);
    for _ in 0..3 {
        assert_eq!(play.fails(true), NOTHING);
        play.now += 5 * S;
        assert_eq!(play.policy.due(), Some(play.now));
        assert_eq!(play.reap(), ["dial a/0"]);
    }
    play.dialed(2);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
    // From this point on, the minimum of idle connections is zero.
    play.min_idle("a", 0, 0);
    play.now += 60 * S;
    assert_eq!(play.reap(), ["bury 2 IdleTimeout"]);
    assert_eq!(play.buried(2), NOTHING);
    assert!(!play.policy.needs_reaper());
}

#[test]
fn rule_14_no_dial_ahead_for_a_runtime_that_is_gone() {
    let mut play = Play::new(config());
    play.min_idle("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.abandon(0), ["bury 1 RuntimeGone"]);
    assert_eq!(play.buried(1), NOTHING);
    assert_eq!(play.counts(), [0, 0, 0, 0]);
}

/// Two runtimes want more idle connections than the host may have: no connection is dialed only to be closed.
#[test]
fn rule_14_no_dial_ahead_beyond_what_is_kept() {
    let mut play = Play::new(Limits { max_idle_per_host: 3, ..config() });
    assert_eq!(play.min_idle("a", 0, 2).len(), 2);
    assert_eq!(play.min_idle("a", 1, 2), ["dial a/1"]);
    for conn in 1..=3 {
        assert_eq!(play.dialed(conn), NOTHING);
    }
    for _ in 0..10 {
        play.now += 6 * S;
        assert!(play.reap().iter().all(|said| !said.starts_with("dial")));
    }
    // One connection is taken and comes back, again and again.
    let mut play = Play::new(Limits { max_idle_per_host: 3, ..config() });
    play.min_idle("a", 0, 3);
    (1..=3).for_each(|conn| assert_eq!(play.dialed(conn), NOTHING));
    for _ in 0..3 {
        assert_eq!(play.want("a", 0, 1), ["reuse 3"]);
        assert_eq!(play.checkin(3), NOTHING);
    }
}

#[test]
fn rule_14_a_host_is_considered_at_the_earlier_of_two_times() {
    let mut play = Play::new(config());
    let place = play.place("a", 0);
    for (at, expected) in [(10, 10), (5, 5), (7, 5), (5, 5)] {
        play.policy.wake_at(place.host, play.now + at * S);
        assert_eq!(play.policy.next_wake(), Some(play.now + expected * S), "{at}");
    }
    play.now += 5 * S;
    assert_eq!(play.reap(), NOTHING);
    assert_eq!(play.policy.next_wake(), None, "only the earliest of the times was kept");
}

#[test]
fn rule_14_dials_ahead_fill_the_idle_room_and_no_more() {
    let mut play = Play::new(Limits { max_idle: Some(2), ..config() });
    assert_eq!(play.min_idle("a", 0, 2), ["dial a/0", "dial a/0"]);
    assert_eq!(play.min_idle("b", 0, 1), NOTHING);
    let mut play = Play::new(Limits { max_idle: Some(3), ..config() });
    assert_eq!(play.min_idle("a", 0, 2), ["dial a/0", "dial a/0"]);
    assert_eq!(play.min_idle("b", 0, 1), ["dial b/0"]);
}
