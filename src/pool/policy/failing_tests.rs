//! Tests of dials that fail, and of hosts that keep failing.

use super::super::play::{FAILED, NOTHING, Play, S, config};
use super::super::*;

#[test]
fn a_dial_that_concerns_the_host_fails_every_earlier_request() {
    let mut play = Play::new(Limits { max_connections_per_host: 2, ..config() });
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 1, 4), NOTHING, "another runtime's dials are another matter");
    // The first dial began before requests 2 and 3 queued. The room of this dial goes to a dial for those requests.
    assert_eq!(play.fails(true), ["fail 1", "dial a/0"]);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    play.forgive("a");
    // The second dial began before request 3 queued.
    assert_eq!(play.fails(true), ["fail 2", "dial a/0"]);
    play.forgive("a");
    // The third dial began after request 3 queued and before request 5 queued.
    assert_eq!(play.fails(true), ["fail 3", "dial a/1"]);
    assert_eq!(play.counts(), [0, 0, 2, 2]);
}

#[test]
fn a_dial_that_concerns_nobody_else_fails_exactly_one() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    for waiter in 1..=3 {
        play.want("a", 0, waiter);
    }
    assert_eq!(play.fails(false), ["fail 1", "dial a/0"]);
    play.forgive("a");
    assert_eq!(play.fails(false), ["fail 2", "dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 3"]);
    // No request that queued before the dial began is left, so the failed dial fails no request. A later request gets
    // its own dial.
    assert_eq!(play.release(1), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert!(play.cancel(4));
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.fails(true), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 5"]);
}

/// The dial that a request began fails. The request does not fail, because it can be served by a dial that was begun for
/// a request that left.
#[test]
fn rule_11_a_request_with_another_dial_does_not_fail() {
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.want("a", 0, 2);
    assert!(play.cancel(1));
    let other = play.dials.pop_front().unwrap();
    assert_eq!(play.fails(false), NOTHING);
    play.dials.push_back(other);
    assert_eq!(play.dialed(1), ["grant 1 to 2"]);
    play.want("a", 0, 3);
    play.want("a", 0, 4);
    assert_eq!(play.fails(false), ["fail 3"], "4 has the other dial, and 3 none");
    assert_eq!(play.dialed(2), ["grant 2 to 4"]);
}

/// Returns the time at which the next dial of the host may begin.
fn next_dial(play: &Play) -> Instant {
    play.policy.hosts.get(0).unwrap().failing.as_ref().unwrap().until
}

#[test]
fn rule_13_a_failing_host_has_one_shared_dial_at_a_time() {
    let mut play = Play::new(config());
    for waiter in 1..=2 {
        assert_eq!(play.want("a", 0, waiter), ["dial a/0"]);
        assert_eq!(play.fails(false), [format!("fail {waiter}")]);
    }
    for first in [10, 20, 30] {
        // No time has passed, and the next request begins the next dial.
        assert_eq!(play.want("a", 0, first), ["dial a/0"]);
        assert_eq!(play.want("a", 0, first + 1), NOTHING);
        assert_eq!(play.want("a", 1, first + 2), NOTHING, "requests of another runtime share the dial");
        let told = play.fails(false);
        assert_eq!(
            told,
            [format!("fail {first}"), format!("fail {}", first + 1), format!("fail {}", first + 2)]
        );
    }
    assert_eq!(play.want("bb", 0, 9), ["dial bb/0"], "the failures of a host do not concern another host");
    play.dialed(9);
    // The host can be reached again.
    assert_eq!(play.want("a", 0, 40), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 41), NOTHING);
    assert_eq!(play.want("a", 1, 42), NOTHING);
    assert_eq!(play.dialed(1), ["grant 1 to 40", "dial a/0", "dial a/1"]);
    assert_eq!(play.dialed(2), ["grant 2 to 41"]);
    assert_eq!(play.dialed(3), ["grant 3 to 42"]);
    assert_eq!(play.want("a", 0, 43), ["dial a/0"], "the success clears all failures");
    assert_eq!(play.fails(true), ["fail 43"]);
    assert_eq!(play.want("a", 0, 44), ["dial a/0"], "failures count from zero again");
    assert_eq!(play.want("a", 0, 45), ["dial a/0"]);
}

/// A name has several addresses, and one address refuses. Dials to the other addresses do not fail because of the
/// address that refuses.
#[test]
fn a_refused_dial_fails_nobody_whose_own_dial_is_under_way() {
    for concerns_host in [false, true] {
        for refused in 0..3 {
            let mut play = Play::new(config());
            for waiter in 0..3 {
                play.want("a", 0, waiter);
            }
            play.dials.rotate_left(refused);
            assert_eq!(play.fails(concerns_host), [format!("fail {refused}")]);
            assert_eq!(play.counts(), [0, 0, 2, 2]);
            let mut granted: Vec<_> = [play.dialed(1), play.dialed(2)].concat();
            granted.sort();
            assert_eq!(granted.len(), 2, "{granted:?}");
        }
    }
}

#[test]
fn rule_13_a_shortage_of_our_own_says_nothing_of_the_host() {
    let mut play = Play::new(config());
    for waiter in 0..20 {
        assert_eq!(play.want("a", 0, waiter), ["dial a/0"], "no failure is remembered");
        let (place, dial_id) = play.dials.pop_front().unwrap();
        let mut out = Vec::new();
        assert!(!play.policy.note_failure(place, dial_id, None, play.now));
        assert!(!play.policy.fail_waiters(place, dial_id, false, &mut out));
        play.policy.dial_failed(place, false, play.now, &mut out);
        assert_eq!(play.say(out), [format!("fail {waiter}")]);
        assert!(play.policy.failure(place).is_none());
    }
}

#[test]
fn rule_13_with_a_waiting_period_requests_fail_until_it_is_over() {
    let mut play = Play::new(Limits { failing_host_backoff: Some(30 * S), ..config() });
    play.want("a", 0, 1);
    assert_eq!(play.fails(false), ["fail 1"]);
    assert_eq!(next_dial(&play), play.now, "after one failure the host is not failing");
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), ["dial a/0"]);
    assert_eq!(play.fails(false), ["fail 2"]);
    let until = next_dial(&play);
    assert_eq!(play.want("a", 0, 4), NOTHING, "the request shares the dial of request 3");
    assert_eq!(play.fails(false), ["fail 3", "fail 4"]);
    assert_eq!(next_dial(&play), until, "dials that were under way together count as one failure");
    play.now = until - Duration::from_nanos(1);
    assert_eq!(play.want("a", 0, 4), ["refused after 2"]);
    play.now = until;
    assert_eq!(play.want("a", 0, 5), ["dial a/0"]);
    assert_eq!(play.want("a", 1, 6), NOTHING, "the request shares the dial");
    assert_eq!(play.fails(false), ["fail 5", "fail 6"]);
    play.now = next_dial(&play);
    assert_eq!(play.want("a", 0, 7), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 7"]);
    assert_eq!(play.want("a", 0, 10), ["dial a/0"], "the success clears all failures");
}

/// The steps of several dials that fail together are mixed in different orders. In every order, no request is left
/// waiting without a dial.
#[test]
fn rule_13_dials_that_fail_together_leave_nobody_behind() {
    for (limit, waiters, resending) in [(2, 5, false), (3, 3, false), (4, 100, false), (2, 2, true)] {
        let mut play = Play::new(Limits { max_connections_per_host: limit, ..config() });
        if resending {
            play.open("a", 0, &[1, 2]);
            for (conn, waiter) in [(1, 11), (2, 12)] {
                assert_eq!(play.want("a", 0, waiter), [format!("reuse {}", 3 - conn)]);
                play.redial(3 - conn, waiter);
            }
        } else {
            for waiter in 0..waiters {
                play.want("a", 0, waiter);
            }
        }
        let dials: Vec<_> = play.dials.drain(..).collect();
        let (mut out, now) = (Vec::new(), play.now);
        for (place, dial_id) in &dials {
            play.policy.note_failure(*place, *dial_id, Some(FAILED), now);
        }
        for (place, dial_id) in &dials {
            while play.policy.fail_waiters(*place, *dial_id, false, &mut out) {}
        }
        for (place, _) in &dials {
            while play.policy.fail_unserved(*place, true, &mut out) {}
        }
        for (place, _) in &dials {
            play.policy.dial_failed(*place, true, now, &mut out);
        }
        let failed = out.iter().filter(|action| matches!(action, Action::Fail { .. })).count();
        assert_eq!((failed, play.counts()), (waiters as usize, [0; 4]), "{limit}, {waiters}, {resending}");
    }
}

/// A shelf that becomes empty releases its runtime.
#[test]
fn rule_13_a_failing_host_keeps_nothing_of_other_runtimes() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    play.want("a", 0, 1);
    assert_eq!(play.fails(false), ["fail 1"]);
    play.want("a", 0, 2);
    assert_eq!(play.want("a", 1, 3), NOTHING);
    let told = play.fails(false);
    assert!(told.contains(&"fail 3".to_owned()), "{told:?}");
    let host = play.policy.hosts.get(0).unwrap();
    assert!(host.shelves.iter().all(|shelf| shelf.partition.is_none()));
}

#[test]
fn rule_13_a_failing_host_fails_requests_without_a_dial() {
    let limited = Limits { max_connections_per_host: 8, ..config() };
    let mut play = Play::new(limited);
    for waiter in 0..200 {
        let said = play.want("a", 0, waiter);
        assert_eq!(said.len(), usize::from(waiter < 8), "each of the first eight requests begins a dial");
    }
    assert_eq!(play.fails(true), ["fail 0", "dial a/0"], "after one failure the host is not failing");
    let told = play.fails(true);
    assert_eq!(told.len(), 1 + 200 - 8, "request 1 fails, and all requests without a dial: {told:?}");
    assert!(told.iter().all(|said| said.starts_with("fail ")), "{told:?}");
    for waiter in 2..8 {
        assert_eq!(play.fails(true), [format!("fail {waiter}")]);
    }
    let next = play.counts();
    assert_eq!(next, [0, 0, 1, 0], "the next request shares the dial that replaced the first one");
    assert_eq!(play.want("a", 0, 200), NOTHING);
    assert_eq!(play.fails(true), ["fail 200"]);
    assert_eq!(play.counts(), [0; 4]);
}

/// The waiting period is random. Its upper bound doubles with each failure, up to half a minute.
#[test]
fn rule_13_backoff_doubles_up_to_a_bound() {
    let mut longest = Vec::new();
    for seed in 1..200u64 {
        let config = Limits { failing_host_backoff: Some(30 * S), ..config() };
        let mut play = Play::new(config.clone());
        play.policy = Policy::new(config, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for failure in 0..12usize {
            play.want("a", 0, 1);
            play.fails(true);
            let wait = next_dial(&play) - play.now;
            let bound = Duration::from_millis(250 << failure.saturating_sub(1).min(7)).min(30 * S);
            assert!(wait <= bound, "failure {failure}: {wait:?}");
            longest.resize(longest.len().max(failure + 1), Duration::ZERO);
            longest[failure] = longest[failure].max(wait);
            play.now += wait;
        }
    }
    for (failure, longest) in longest.iter().enumerate().skip(1) {
        let bound = Duration::from_millis(250 << (failure - 1).min(7)).min(30 * S);
        assert!(*longest > bound * 9 / 10, "failure {failure}: {longest:?} of {bound:?}");
    }
}

#[test]
fn a_thousand_fail_in_batches() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    for waiter in 0..1000 {
        play.want("a", 0, waiter);
    }
    // The requests that queued after the first dial wait for the second dial, which began when the first dial failed.
    assert_eq!(play.fails(true), ["fail 0", "dial a/0"]);
    let (place, dial_id) = play.dials.pop_front().unwrap();
    let mut failed = 0;
    loop {
        let mut out = Vec::new();
        let more = play.policy.fail_waiters(place, dial_id, true, &mut out);
        assert!(out.len() <= BATCH);
        failed += out.len();
        if !more {
            break;
        }
    }
    assert_eq!(failed, 999);
}

#[test]
fn rule_13_requests_that_wait_for_a_failing_host_share_one_dial() {
    let mut play =
        Play::new(Limits { wait_for_failing: true, failing_host_backoff: Some(30 * S), ..config() });
    for waiter in 1..=2 {
        play.want("a", 0, waiter);
        assert_eq!(play.fails(false), [format!("fail {waiter}")]);
    }
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), NOTHING);
    let due = play.policy.due().unwrap();
    assert_eq!(due, next_dial(&play));
    play.now = due;
    assert_eq!(play.reap(), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 5), NOTHING, "the next is far away");
    // The dial decides for the requests that waited when the dial began, and not for the request that came later.
    assert_eq!(play.fails(false), ["fail 3", "fail 4"]);
    play.now = play.policy.due().unwrap();
    assert_eq!(play.reap(), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 5"]);
    // In another network, the dial begins at once.
    for waiter in 6..=7 {
        play.want("a", 0, waiter);
        play.fails(false);
    }
    play.want("a", 0, 8);
    let mut out = Vec::new();
    assert_eq!(play.policy.forgive(0, play.now, &mut out), None);
    assert_eq!(play.say(out), ["dial a/0"]);
}

/// Hundreds of requests wait for a host that can be reached again. The requests do not dial all at once, and every
/// request is served.
#[test]
fn rule_13_a_host_that_comes_back_is_not_overrun() {
    let mut play =
        Play::new(Limits { wait_for_failing: true, failing_host_backoff: Some(30 * S), ..config() });
    for waiter in 1..=2 {
        play.want("a", 0, waiter);
        play.fails(false);
    }
    for waiter in 3..=502 {
        assert_eq!(play.want("a", 0, waiter), NOTHING);
    }
    play.now = play.policy.due().unwrap();
    assert_eq!(play.reap(), ["dial a/0"]);
    let mut most = 0;
    for conn in 3..=502 {
        let said = play.dialed(conn);
        assert_eq!(said[0], format!("grant {conn} to {conn}"));
        assert!(said.len() <= 1 + BATCH);
        most = most.max(play.dials.len());
    }
    // At most two batches of dials are under way, because each dial that ends may begin further dials.
    assert!((BATCH..500).contains(&most), "{most} dials at once");
    assert_eq!(play.counts(), [0, 500, 0, 0]);
}

/// Requests that share the dial of a failing host do not share a shortage of this process.
#[test]
fn rule_13_a_shortage_of_our_own_is_not_shared() {
    let mut play = Play::new(config());
    for waiter in 1..=2 {
        play.want("a", 0, waiter);
        play.fails(false);
    }
    assert_eq!(play.want("a", 0, 3), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 4), NOTHING);
    assert_eq!(play.want("a", 1, 5), NOTHING);
    let (place, dial_id) = play.dials.pop_front().unwrap();
    let (now, mut out) = (play.now, Vec::new());
    assert!(!play.policy.note_failure(place, dial_id, None, now));
    assert!(!play.policy.fail_waiters(place, dial_id, false, &mut out));
    play.policy.dial_failed(place, false, now, &mut out);
    assert_eq!(play.say(out), ["fail 3", "dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 4", "dial a/1"]);
    assert_eq!(play.dialed(2), ["grant 2 to 5"]);
}
