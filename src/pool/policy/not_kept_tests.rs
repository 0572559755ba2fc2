//! What a connection's age means to those who cannot be asked twice.

use crate::pool::policy::play::{NOTHING, Play, S, config, hash};
use crate::pool::policy::*;

#[test]
fn rule_28_a_host_that_closes_after_one_response_is_not_kept() {
    let mut play = Play::new(config());
    let answered = |answered| Served { request: true, answered, ..Served::default() };
    let used = |play: &mut Play, conn: u32, times: u64| {
        let mut out = Vec::new();
        let terms = Terms { is_used: true, ..Terms::default() };
        play.policy.checkin(play.places[&conn], conn, terms, answered(times), play.now, &mut out);
        play.say(out)
    };
    let dead = |play: &mut Play, conn: u32, times: u64| {
        let mut out = Vec::new();
        let place = play.places.remove(&conn).unwrap();
        play.policy.release(place, answered(times), Some(DropReason::PeerClosed), play.now, &mut out);
        play.say(out)
    };
    for conn in 1..=3 {
        assert_eq!(play.want("a", 0, conn), ["dial a/0"]);
        play.dialed(conn);
        assert_eq!(used(&mut play, conn, 1), NOTHING, "kept");
        assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
        dead(&mut play, conn, 1);
    }
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 5), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 6), ["dial a/0"]);
    assert_eq!(play.dialed(4), ["grant 4 to 4"], "what is fresh is handed over");
    assert_eq!(used(&mut play, 4, 1), ["bury 4 NotKept"], "not to who waits either");
    play.dialed(5);
    play.dialed(6);
    play.now += 60 * S;
    assert_eq!(used(&mut play, 5, 1), NOTHING, "kept again, on trial");
    assert_eq!(play.want("a", 0, 7), ["reuse 5"]);
    dead(&mut play, 5, 1);
    assert_eq!(used(&mut play, 6, 1), ["bury 6 NotKept"], "one more is enough");
    play.now += 60 * S;
    for (conn, times) in [(7, 1), (8, 2), (9, 1), (10, 1)] {
        assert_eq!(play.want("b", 0, conn), ["dial b/0"]);
        play.dialed(conn);
        dead(&mut play, conn, times);
    }
    assert_eq!(play.want("b", 0, 11), ["dial b/0"]);
    play.dialed(11);
    assert_eq!(used(&mut play, 11, 1), NOTHING, "not three in a row: one had answered twice");
}

#[test]
fn rule_27_an_unsafe_request_takes_only_what_is_fresh() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    let fresh = |play: &mut Play, waiter: u32| {
        let mut out = Vec::new();
        let (hash, now) = (hash("a"), play.now);
        let place = play.policy.place(hash, |key| *key == "a", || "a", &0);
        let checkout = play.policy.checkout(place, Some(2 * S), None, now, || waiter, &mut out);
        play.answer(&checkout, waiter, out)
    };
    play.open("a", 0, &[1, 2]);
    play.now += 2 * S;
    assert_eq!(fresh(&mut play, 1), ["reuse 2"], "the newest is fresh");
    play.now += S;
    assert_eq!(fresh(&mut play, 2), ["bury 1 Evicted"], "at the limit, the stale one gives way");
    assert_eq!(play.buried(1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.checkin(2), ["grant 2 to 2"], "what comes back is as fresh as can be");
    assert_eq!(play.dialed(4), ["grant 4 to 3"]);
    play.checkin(2);
    play.now += 3 * S;
    assert_eq!(play.want("a", 0, 5), ["reuse 2"], "a safe request takes it all the same");
}

/// A connection that was found dead after one answer counts as one that its host closed.
#[test]
fn rule_28_what_is_replaced_counts_as_closed() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3, 4]);
    for conn in [4, 3, 2] {
        assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
        let (place, now, mut out) = (play.places[&conn], play.now, Vec::new());
        let checkout = play.policy.replace(place, 1, DropReason::PeerClosed, None, now, || 99, &mut out);
        let said = play.answer(&checkout, 99, out);
        assert_eq!(said, [format!("reuse {}", conn - 1)]);
        assert_eq!(play.checkin_unused(conn - 1), NOTHING);
    }
    play.want("a", 0, 50);
    let (place, now, mut out) = (play.places[&1], play.now, Vec::new());
    let terms = Terms { is_used: true, ..Terms::default() };
    play.policy.checkin(place, 1, terms, Served { answered: 1, ..Served::default() }, now, &mut out);
    assert_eq!(play.say(out), ["bury 1 NotKept"]);
}
