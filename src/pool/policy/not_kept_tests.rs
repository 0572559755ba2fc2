//! Tests of hosts whose connections are not kept, and of requests that must not be sent twice.

use super::super::play::{NOTHING, Play, S, config, hash};
use super::super::*;

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
    assert_eq!(play.dialed(4), ["grant 4 to 4"], "a new connection goes to its waiter");
    assert_eq!(used(&mut play, 4, 1), ["bury 4 NotKept"], "a used connection goes to no waiter");
    play.dialed(5);
    play.dialed(6);
    play.now += 60 * S;
    assert_eq!(used(&mut play, 5, 1), NOTHING, "connections are kept again");
    assert_eq!(play.want("a", 0, 7), ["reuse 5"]);
    dead(&mut play, 5, 1);
    assert_eq!(used(&mut play, 6, 1), ["bury 6 NotKept"], "one more short-lived connection is enough");
    play.now += 60 * S;
    for (conn, times) in [(7, 1), (8, 2), (9, 1), (10, 1)] {
        assert_eq!(play.want("b", 0, conn), ["dial b/0"]);
        play.dialed(conn);
        dead(&mut play, conn, times);
    }
    assert_eq!(play.want("b", 0, 11), ["dial b/0"]);
    play.dialed(11);
    assert_eq!(used(&mut play, 11, 1), NOTHING, "a connection that answered twice ended the row");
}

#[test]
fn rule_27_an_unsafe_request_takes_only_a_fresh_connection() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    let fresh = |play: &mut Play, waiter: u32| {
        let mut out = Vec::new();
        let (hash, now) = (hash("a"), play.now);
        let place = play.policy.place(hash, |key| *key == "a", || "a", &0);
        let checkout = play.policy.checkout(place, Some(2 * S), None, now, || waiter, &mut out);
        play.answer(&checkout, waiter, out)
    };
    play.open("a", 0, &[1, 2]);
    play.now += 2 * S;
    assert_eq!(fresh(&mut play, 1), ["reuse 2"], "the newest connection is fresh");
    play.now += S;
    assert_eq!(fresh(&mut play, 2), ["bury 1 Evicted"], "at the limit, the stale connection gives way");
    assert_eq!(play.buried(1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.checkin(2), ["grant 2 to 2"], "a connection that comes back is fresh");
    assert_eq!(play.dialed(4), ["grant 4 to 3"]);
    play.checkin(2);
    play.now += 3 * S;
    assert_eq!(play.want("a", 0, 5), ["reuse 2"], "a safe request takes a stale connection too");
}

/// The connections of a host that sends unsolicited bytes are not kept. The bytes may be found on an idle connection,
/// by a request that is sent again, or by a sweep, and the connection may have been used any number of times.
#[test]
fn a_host_that_speaks_unasked_is_not_kept() {
    let checkin = |play: &mut Play, conn: u32, answered: u64| {
        let mut out = Vec::new();
        let terms = Terms { is_used: true, ..Terms::default() };
        let served = Served { request: true, is_answered: true, answered, ..Served::default() };
        play.policy.checkin(play.places[&conn], conn, terms, served, play.now, &mut out);
        play.say(out)
    };
    // Each case says how the bytes are found, and how often each connection had answered.
    for (way, answered) in [("idle", 1), ("idle", 40), ("resent", 2), ("sweep", 2), ("lost", 7)] {
        let mut play = Play::new(config());
        for conn in 1..=4 {
            assert_eq!(play.want("a", 0, conn), ["dial a/0"], "{way}");
            play.dialed(conn);
            let kept = checkin(&mut play, conn, answered);
            if conn == 4 {
                assert_eq!(kept, ["bury 4 NotKept"], "{way} after {answered}");
                break;
            }
            assert_eq!(kept, NOTHING, "{way} after {answered}");
            let (place, now, mut out) = (play.places[&conn], play.now, Vec::new());
            let lost = Served { request: true, answered, ..Served::default() };
            if way == "sweep" {
                let mut lent = Vec::new();
                play.policy.lend(&0, 0, &mut lent);
                let served = Served { answered, ..Served::default() };
                play.policy.note_end(place, served, DropReason::Unsolicited, now);
                for one in lent {
                    play.policy.give_back(one, Some(DropReason::Unsolicited), now, &mut out);
                }
                assert_eq!(play.say(out), [format!("bury {conn} Unsolicited")]);
                assert_eq!(play.buried(conn), NOTHING);
                continue;
            }
            assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
            let reason = DropReason::Unsolicited;
            match way {
                "idle" => {
                    let checkout =
                        play.policy.replace(place, answered, reason, None, now, || 90 + conn, &mut out);
                    play.answer(&checkout, 90 + conn, out);
                }
                "resent" => {
                    play.policy.redial(place, lost, reason, 90 + conn, now, &mut out);
                    play.say(out);
                }
                _ => {
                    play.policy.release(place, lost, Some(reason), now, &mut out);
                    play.say(out);
                    continue;
                }
            }
            // The request is answered on a new connection, which is closed.
            assert_eq!(play.dialed(50 + conn), [format!("grant {} to {}", 50 + conn, 90 + conn)]);
            let (place, mut out) = (play.places[&(50 + conn)], Vec::new());
            play.policy.release(place, Served::default(), Some(DropReason::NotReusable), now, &mut out);
        }
        // For 59 s, a connection that has answered is closed at checkin. After 60 s, connections are kept again.
        for (pause, expected) in [(59, "bury 5 NotKept"), (1, "")] {
            play.now += pause * S;
            if expected.is_empty() {
                play.want("a", 0, 6);
                play.dialed(6);
                assert_eq!(checkin(&mut play, 6, 9), NOTHING, "{way}: connections are kept again");
            } else {
                play.want("a", 0, 5);
                play.dialed(5);
                assert_eq!(checkin(&mut play, 5, 9), [expected], "{way}: answers do not clear the suspicion");
            }
        }
    }
}

/// Unsolicited bytes on connections that have answered no request are not held against the host.
#[test]
fn a_host_that_speaks_on_new_connections_is_kept() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3, 4]);
    for conn in [4, 3, 2] {
        assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
        let (place, now, mut out) = (play.places[&conn], play.now, Vec::new());
        let reason = DropReason::Unsolicited;
        let checkout = play.policy.replace(place, 0, reason, None, now, || 99, &mut out);
        assert_eq!(play.answer(&checkout, 99, out), [format!("reuse {}", conn - 1)]);
        assert_eq!(play.checkin(conn - 1), NOTHING);
    }
}

/// Unsolicited bytes that come together with a response do no harm. If the response was the connection's only
/// response, the bytes count like a close.
#[test]
fn surplus_behind_a_response_counts_where_it_was_the_only_one() {
    for (answered, is_kept) in [(1, false), (2, true), (8, true)] {
        let mut play = Play::new(config());
        for conn in 1..=4 {
            assert_eq!(play.want("a", 0, conn), ["dial a/0"]);
            play.dialed(conn);
            let (place, now, mut out) = (play.places[&conn], play.now, Vec::new());
            let served = Served { request: true, is_answered: true, answered, ..Served::default() };
            if conn == 4 {
                let terms = Terms { is_used: true, ..Terms::default() };
                play.policy.checkin(place, conn, terms, served, now, &mut out);
                assert_eq!(play.say(out).is_empty(), is_kept, "{answered}");
            } else {
                play.policy.release(place, served, Some(DropReason::Unsolicited), now, &mut out);
            }
        }
    }
}

/// A connection that was found dead after one answer counts as a connection that the host closed after one answer.
#[test]
fn rule_28_a_replaced_connection_counts_as_closed_by_its_host() {
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
