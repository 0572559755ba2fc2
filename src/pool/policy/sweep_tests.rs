//! Tests of sweeps, which look at idle connections.

use super::super::play::{NOTHING, Play, S, config};
use super::super::*;

/// A connection that is being looked at stays on its shelf. A request that comes during the look takes the next idle
/// connection. Without a next idle connection, the request waits for the look to end, and no dial begins.
#[test]
fn rule_22_a_connection_being_looked_at_is_waited_for() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3]);
    play.open("b", 1, &[4]);
    let mut lent = play.lend(0);
    assert_eq!(
        lent.iter().map(|lent| lent.conn).collect::<Vec<_>>(),
        [1, 2, 3],
        "the connections of this runtime"
    );
    assert!(play.lend(0).is_empty());
    let three = lent.pop().unwrap();
    assert_eq!(play.give_back(three, None), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 3"]);
    assert_eq!(
        play.want("a", 0, 2),
        NOTHING,
        "the requests wait for the connections that are being looked at"
    );
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    let two = lent.pop().unwrap();
    assert_eq!(play.give_back(two, None), ["grant 2 to 2"]);
    // The second lent connection is dead, and a dial takes its room.
    let one = lent.pop().unwrap();
    assert_eq!(play.give_back(one, Some(DropReason::PeerClosed)), ["bury 1 PeerClosed", "dial a/0"]);
    assert_eq!(play.counts(), [1, 3, 2, 2]);
    assert_eq!(play.policy.total().0.closed()[DropReason::PeerClosed as usize], 1);
}

/// A connection that is buried while it is being looked at is closed when the look ends, whatever the look found. The
/// connection counts under the limits until it is closed.
#[test]
fn rule_22_a_connection_being_looked_at_can_be_buried() {
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    let mut lent = play.lend(0);
    assert!(play.policy.is_swept());
    assert_eq!(play.want("b", 0, 1), NOTHING, "the oldest connection is evicted when it comes back");
    assert_eq!(play.counts(), [1, 1, 0, 1]);
    let two = lent.pop().unwrap();
    assert_eq!(play.give_back(two, None), NOTHING, "one connection makes enough room");
    let one = lent.pop().unwrap();
    assert_eq!(play.give_back(one, Some(DropReason::PeerClosed)), ["bury 1 Evicted"]);
    assert!(!play.policy.is_swept());
    assert_eq!(play.buried(1), ["dial b/0"]);
    assert_eq!(play.policy.total().0.closed().iter().sum::<u64>(), 1, "counted once");
    // A later connection in the same slot is not mistaken for the buried connection.
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    let lent = play.lend(0).pop().unwrap();
    let mut out = Vec::new();
    play.policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out);
    assert_eq!(play.say(out), NOTHING);
    play.open("a", 0, &[2]);
    assert_eq!(play.give_back(lent, None), ["bury 1 Shutdown"]);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
}

#[test]
fn rule_22_a_sweep_takes_a_few_at_a_time() {
    let mut play = Play::new(Limits { max_idle_per_host: 1_000, ..config() });
    let conns: Vec<_> = (1..=100).collect();
    play.open("a", 0, &conns);
    play.open("a", 1, &[101]);
    let (mut next, mut seen) = (Some(0), Vec::new());
    while let Some(from) = next {
        let mut lent = Vec::new();
        next = play.policy.lend(&0, from, &mut lent);
        assert!(lent.len() <= 16);
        for lent in lent {
            seen.push(lent.conn);
            play.give_back(lent, None);
        }
    }
    assert_eq!(seen, conns);
}

/// A request that must not be sent twice gets only a connection that was used lately, whether from the shelf, from
/// a sweep, or from another request.
#[test]
fn a_waiter_that_wants_a_fresh_connection_gets_no_old_one_from_a_sweep() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += 5 * S;
    let mut lent = play.lend(0);
    let (place, now, mut out) = (play.place("a", 0), play.now, Vec::new());
    let checkout = play.policy.checkout(place, Some(2 * S), None, now, || 7, &mut out);
    assert_eq!(play.answer(&checkout, 7, out), NOTHING, "the connection is being looked at");
    assert_eq!(play.give_back(lent.remove(0), None), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 8), ["reuse 1"], "a request that accepts any connection takes it");
    assert_eq!(play.dialed(2), ["grant 2 to 7"]);
    // The waiter does not get the old connection from a request that took the connection and left either.
    play.release(2);
    let (now, mut out) = (play.now, Vec::new());
    let checkout = play.policy.checkout(place, Some(2 * S), None, now, || 9, &mut out);
    assert_eq!(play.answer(&checkout, 9, out), ["dial a/0"]);
    let mut out = Vec::new();
    let terms = Terms { used: Some(now - 5 * S), is_used: true, ..Terms::default() };
    play.policy.checkin(play.places[&1], 1, terms, Served::default(), now, &mut out);
    assert_eq!(play.say(out), NOTHING, "the connection is kept for other requests");
    assert_eq!(play.dialed(3), ["grant 3 to 9"]);
}
