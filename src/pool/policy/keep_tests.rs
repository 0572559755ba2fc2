//! Tests of connections that come back: whether such a connection is kept, and how long the connection stays idle.

use super::super::play::{NOTHING, Play, S, config};
use super::super::*;

#[test]
fn a_connection_of_an_unwanted_host_is_not_kept_while_another_host_is_blocked() {
    let mut play = Play::new(Limits { max_connections: 1, ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.want("b", 0, 2), NOTHING);
    assert_eq!(play.checkin(1), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial b/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    assert_eq!(play.checkin(2), NOTHING);
}

#[test]
fn idle_timeout_just_before_at_and_after() {
    for (after, reaped) in [(60 * S - Duration::from_nanos(1), false), (60 * S, true), (61 * S, true)] {
        let mut play = Play::new(config());
        play.open("a", 0, &[1]);
        assert_eq!(play.policy.due(), Some(play.now + 60 * S));
        play.now += after;
        let told = if reaped { vec!["bury 1 IdleTimeout"] } else { vec![] };
        assert_eq!(play.reap(), told, "{after:?}");
        assert_eq!(play.reap(), NOTHING);
        // A checkout treats a connection as expired at the same time as the reaper.
        let mut play = Play::new(config());
        play.open("a", 0, &[1]);
        play.now += after;
        let told = play.want("a", 0, 9);
        assert_eq!(told[0], if reaped { "bury 1 IdleTimeout" } else { "reuse 1" }, "{after:?}");
    }
}

#[test]
fn the_servers_stay_shortens_and_never_lengthens() {
    for (ours, theirs, until) in [
        (Some(60 * S), Some(5 * S), Some(5 * S)),
        (Some(60 * S), Some(600 * S), Some(60 * S)),
        (None, Some(5 * S), Some(5 * S)),
        (None, None, None),
    ] {
        let mut play = Play::new(Limits { idle_timeout: ours, ..config() });
        play.want("a", 0, 1);
        play.dialed(1);
        assert_eq!(play.checkin_for(1, theirs), NOTHING);
        assert_eq!(play.policy.due(), until.map(|until| play.now + until), "{ours:?} {theirs:?}");
    }
    // With a timeout of zero, the connection is not kept.
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.checkin_for(1, Some(Duration::ZERO)), ["bury 1 IdleTimeout"]);
}

/// The address of a connection may leave, and the network may change, while the connection is being made.
#[test]
fn rule_20_a_new_connection_whose_address_left_serves_the_request_that_waits() {
    for (reason, serves) in [(DropReason::AddressLeft, true), (DropReason::NetworkChanged, false)] {
        let ended = Terms { ended: Some(reason), ..Terms::default() };
        let buried = |conn: u32| [format!("bury {conn} {reason:?}")];
        let mut play = Play::new(config());
        play.want("a", 0, 1);
        let expected = if serves { "grant 1 to 1".to_owned() } else { buried(1)[0].clone() };
        assert_eq!(play.dialed_with(1, ended)[0], expected);
        // No request waits for the second connection.
        let mut play = Play::new(config());
        play.want("a", 0, 1);
        play.want("a", 0, 2);
        play.dialed(1);
        play.checkin(1);
        assert_eq!(play.dialed_with(2, ended), buried(2));
    }
}

#[test]
fn rule_16_a_lifetime_ends_idle_connections_and_those_that_come_back() {
    let mut play = Play::new(config());
    let until = play.now + 30 * S;
    play.want("a", 0, 1);
    assert_eq!(play.dialed_until(1, until), ["grant 1 to 1"]);
    play.want("a", 0, 2);
    assert_eq!(play.dialed_until(2, until + S), ["grant 2 to 2"]);
    assert_eq!(play.checkin_until(1, until), NOTHING);
    assert_eq!(play.policy.due(), Some(until), "the lifetime ends before the idle timeout");
    play.now = until - Duration::from_millis(1);
    assert_eq!(play.reap(), NOTHING);
    play.now = until;
    assert_eq!(
        play.want("a", 0, 3),
        ["bury 1 MaxLifetime", "dial a/0"],
        "a connection past its lifetime is not used"
    );
    play.now = until + S;
    assert_eq!(
        play.checkin_until(2, until + S),
        ["bury 2 MaxLifetime"],
        "a connection past its lifetime goes to no waiter"
    );
    assert_eq!(play.dialed_until(3, until + 60 * S), ["grant 3 to 3"]);
    play.checkin_until(3, until + 90 * S);
    play.now += 60 * S;
    assert_eq!(play.reap(), ["bury 3 IdleTimeout"], "the idle timeout ends before the lifetime");
}

#[test]
fn the_next_deadline_is_the_earliest_of_both_kinds() {
    let mut play = Play::new(config());
    for conn in 1..=3 {
        play.want("a", 0, conn);
        play.dialed(conn);
    }
    play.checkin(1);
    play.checkin_for(2, Some(30 * S));
    play.checkin_for(3, Some(10 * S));
    for (after, conn) in [(10, 3), (30, 2), (60, 1)] {
        let due = play.policy.due().unwrap();
        play.now = due;
        assert_eq!(play.reap(), [format!("bury {conn} IdleTimeout")], "after {after} s");
    }
    assert_eq!(play.policy.due(), None);
}

#[test]
fn one_too_many_idle_evicts_the_oldest() {
    let mut play = Play::new(Limits { max_idle_per_host: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[9]);
    play.now += S;
    for conn in [2, 3] {
        play.want("a", 1, conn);
        play.dialed(conn);
    }
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(play.checkin(3), ["bury 1 Evicted"], "the oldest connection of the host, on any runtime");

    let mut play = Play::new(Limits { max_idle: Some(2), ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[2]);
    play.want("c", 0, 3);
    play.now += S;
    assert_eq!(play.dialed(3), ["grant 3 to 3"]);
    assert_eq!(play.checkin(3), ["bury 1 Evicted"], "the oldest connection of all hosts");
    for limits in [Limits { max_idle: Some(0), ..config() }, Limits { max_idle_per_host: 0, ..config() }] {
        let mut play = Play::new(limits);
        play.want("a", 0, 1);
        play.dialed(1);
        assert_eq!(play.checkin(1), ["bury 1 IdleTimeout"]);
    }
}

/// A lifetime that is over at once must not cause endless dials: a waiting request gets the connection that was made
/// for this request.
#[test]
fn rule_16_a_waiter_gets_a_connection_however_short_its_life() {
    let mut play = Play::new(Limits { max_lifetime: Some(Duration::ZERO), ..config() });
    play.want("a", 0, 1);
    let now = play.now;
    assert_eq!(play.dialed_until(1, now), ["grant 1 to 1"]);
    assert_eq!(play.checkin_until(1, now), ["bury 1 MaxLifetime"]);
    assert_eq!(play.min_idle("a", 0, 3), NOTHING);
}

#[test]
fn once_shut_nothing_is_kept() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 9);
    play.policy.shut();
    let mut out = Vec::new();
    assert!(play.policy.bury_oldest(9, DropReason::Shutdown, &mut out) < 9);
    assert_eq!(play.say(out), ["bury 1 Shutdown"]);
    assert_eq!(play.buried(1), NOTHING);
    assert_eq!(play.checkin(2), ["bury 2 Shutdown"]);
    assert_eq!(play.buried(2), NOTHING);
    assert_eq!(play.counts(), [0, 0, 0, 0]);
}

/// A server's idle timeout runs from the last request, even if a later request took the connection and sent nothing.
#[test]
fn a_connection_that_comes_back_unused_is_as_old_as_it_was() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2]);
    let used = play.now;
    for _ in 0..5 {
        play.now += 10 * S;
        assert_eq!(play.want("a", 0, 9), ["reuse 2"]);
        let (place, now, mut out) = (play.places[&2], play.now, Vec::new());
        let terms = Terms { used: Some(used), is_used: true, ..Terms::default() };
        play.policy.checkin(place, 2, terms, Served::default(), now, &mut out);
        assert_eq!((play.say(out).len(), play.policy.due()), (0, Some(used + 60 * S)));
    }
    play.now = used + 60 * S;
    assert_eq!(play.reap().len(), 2);
    // A connection with a lifetime expires at the end of its lifetime, even if it was used shortly before.
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    let (used, until) = (play.now, play.now + 40 * S);
    play.now += 30 * S;
    play.want("a", 0, 9);
    let (place, now, mut out) = (play.places[&1], play.now, Vec::new());
    let terms = Terms { used: Some(used), until: Some(until), is_used: true, ..Terms::default() };
    play.policy.checkin(place, 1, terms, Served::default(), now, &mut out);
    assert_eq!((play.say(out).len(), play.policy.due()), (0, Some(until)));
}

#[test]
fn too_many_idle_connections_go_when_they_are_cold() {
    let mut play = Play::new(Limits { max_idle: Some(2), ..config() });
    play.open("a", 0, &[1, 2, 3, 4]);
    assert_eq!(play.counts(), [4, 0, 0, 0], "a burst keeps its connections");
    assert_eq!(play.policy.due(), Some(play.now + S));
    play.now += S - Duration::from_nanos(1);
    assert_eq!(play.reap(), NOTHING);
    play.now += Duration::from_nanos(1);
    assert_eq!(play.reap(), ["bury 1 Evicted", "bury 2 Evicted"]);
    assert_eq!((play.counts(), play.policy.due()), ([2, 2, 0, 0], Some(play.now + 59 * S)));
}

#[test]
fn a_limit_on_connections_leaves_as_much_idle_room() {
    for (per_host, total, max_idle, room) in [
        (usize::MAX, usize::MAX, None, 1024),
        (10, 20, None, 1024),
        (2_000, usize::MAX, None, 2_000),
        (2_000, 3_000, None, 3_000),
        (2_000, 3_000, Some(5), 5),
    ] {
        let config =
            Limits { max_connections_per_host: per_host, max_connections: total, max_idle, ..config() };
        assert_eq!(config.idle_room(), room);
    }
}
