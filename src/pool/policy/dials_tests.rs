//! Tests of dials that are given up: overdue dials, and dials ahead whose room a request needs.

use super::super::play::{NOTHING, Play, S, config};
use super::super::*;

fn limited(per_host: usize, total: usize) -> Play {
    Play::new(Limits { max_connections_per_host: per_host, max_connections: total, ..config() })
}

#[test]
fn an_overdue_dial_frees_its_room_for_another_runtime() {
    for (per_host, total, host) in [(1, 9, "a"), (9, 1, "a"), (9, 1, "bb")] {
        let mut play = limited(per_host, total);
        assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
        assert_eq!(play.want("a", 0, 2), NOTHING);
        assert_eq!(play.want(host, 1, 3), NOTHING);
        let due = play.policy.next_overdue().unwrap();
        assert_eq!(due, play.now + 10 * S + Duration::from_millis(250));
        play.now = due - Duration::from_nanos(1);
        assert_eq!(play.reclaim(), NOTHING);
        play.now = due;
        let told = play.reclaim();
        let dial = format!("dial {host}/1");
        assert_eq!(
            told,
            ["fail 1", "fail 2", "abort", &*dial],
            "the runtime does not run, so its requests are not served"
        );
        assert_eq!(play.dialed(1), ["grant 1 to 3"]);
        assert_eq!(play.counts(), [0, 1, 0, 0]);
    }
}

#[test]
fn an_overdue_dial_without_a_limit_fails_its_waiters() {
    let mut play = limited(9, 9);
    play.want("a", 0, 1);
    play.now = play.policy.next_overdue().unwrap();
    assert_eq!(play.reclaim(), ["fail 1", "abort"]);
    assert_eq!((play.counts(), play.policy.next_overdue()), ([0; 4], None));
}

#[test]
fn hundreds_of_waiters_of_an_overdue_dial_fail_in_batches() {
    let mut play = limited(1, 9);
    for waiter in 0..200 {
        play.want("a", 0, waiter);
    }
    play.now = play.policy.next_overdue().unwrap();
    let failed = play.reclaim().iter().filter(|said| said.starts_with("fail")).count();
    assert_eq!((failed, play.counts()), (200, [0; 4]));
}

#[test]
fn a_dial_that_was_begun_ahead_gives_way_to_a_request() {
    // The request is for another host.
    let mut play = limited(9, 1);
    assert_eq!(play.min_idle("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("bb", 0, 2), ["abort", "dial bb/0"]);
    // The dial belongs to another runtime.
    let mut play = limited(1, 9);
    assert_eq!(play.warm("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 1, 2), ["abort", "dial a/1"]);
    // On the same runtime, the request waits for the dial.
    let mut play = limited(1, 1);
    assert_eq!(play.warm("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), NOTHING);
    assert_eq!(play.dialed(1), ["grant 1 to 2"]);
    // A request waits for the dial.
    let mut play = limited(9, 1);
    assert_eq!(play.warm("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 1), NOTHING);
    assert_eq!(play.want("bb", 0, 2), NOTHING);
    // Rule 12: the dial was begun for a request, and its connection will be kept.
    let mut play = limited(9, 1);
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert!(play.cancel(1));
    assert_eq!(play.want("bb", 0, 2), NOTHING);
    assert_eq!(play.dialed(1), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial bb/0"]);
}

#[test]
fn a_shutdown_gives_every_dial_up() {
    let mut play = limited(9, 9);
    for waiter in 0..3 {
        play.want("a", waiter, waiter);
        assert!(play.cancel(waiter));
    }
    let mut out = Vec::new();
    assert!(!play.policy.give_up_all(&mut out));
    assert_eq!((play.say(out).len(), play.counts()), (3, [0; 4]));
}

/// Requests for several hosts wait on a parked runtime. The hosts must not get dials on this runtime one after
/// another, because the parked runtime runs no dial.
#[test]
fn an_overdue_dial_fails_all_requests_of_its_runtime() {
    let mut play = limited(9, 1);
    play.want("a", 0, 1);
    for (waiter, host) in [(2, "bb"), (3, "ccc"), (4, "dddd")] {
        assert_eq!(play.want(host, 0, waiter), NOTHING);
    }
    assert_eq!(play.want("ccc", 1, 5), NOTHING);
    play.now = play.policy.next_overdue().unwrap();
    assert_eq!(play.reclaim(), ["fail 1", "fail 2", "fail 3", "fail 4", "abort", "dial ccc/1"]);
    assert_eq!(play.dialed(1), ["grant 1 to 5"]);
}
