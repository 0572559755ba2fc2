//! Tests of drains of abandoned responses, and of requests that need the room of a draining connection.

use super::super::play::{NOTHING, Play, S, config};
use super::super::*;

#[test]
fn rule_30_a_request_gets_the_room_of_a_draining_connection() {
    let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
    play.open("a", 0, &[1]);
    play.want("a", 0, 1);
    assert!(play.drain(1, Terms::default()));
    assert_eq!(play.want("a", 1, 2), ["cut 1"], "a request of another runtime takes the room too");
    assert_eq!(play.want("a", 1, 3), NOTHING);
    assert_eq!(play.counts(), [0, 1, 0, 2]);
    assert_eq!(play.drained(1, false), ["dial a/1"]);
    // The drain ended before the connection could be cut. A request still needs the room of the connection.
    play.dialed(2);
    play.checkin(2);
    assert!(play.drain(2, Terms::default()));
    assert_eq!(play.want("a", 0, 4), ["cut 2"]);
    assert_eq!(play.drained(2, true), ["bury 2 Evicted"]);
    assert_eq!(play.buried(2), ["dial a/0"]);
    assert_eq!(play.policy.evicting, 0);
}

#[test]
fn rule_30_the_total_limit_takes_any_draining_connection() {
    let mut play = Play::new(Limits { max_connections: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 1);
    play.want("a", 0, 2);
    assert!(play.drain(1, Terms::default()) && play.drain(2, Terms::default()));
    assert_eq!(play.want("b", 0, 3), ["cut 1"], "one connection makes enough room");
    assert!(!play.drain(2, Terms::default()), "no drain begins while a request waits");
    assert_eq!(play.drained(1, false), ["dial b/0"]);
    assert_eq!(play.drained(2, true), NOTHING);
    assert_eq!(play.counts(), [1, 0, 1, 1]);
}

#[test]
fn rule_30_a_connection_that_would_not_be_kept_is_not_drained() {
    let mut play = Play::new(config());
    let conns: Vec<_> = (1..=40).collect();
    for conn in &conns {
        play.want("a", 0, *conn);
    }
    for conn in &conns {
        play.dialed(*conn);
    }
    let terms = Terms::default();
    assert!(!play.drain(1, Terms { is_of_old_network: true, ..terms }));
    assert!(!play.drain(1, Terms { until: Some(play.now), ..terms }));
    assert!(play.drain(1, Terms { until: Some(play.now + S), ..terms }));
    assert_eq!(conns[1..].iter().filter(|conn| play.drain(**conn, terms)).count(), 31, "32 at a time");
    play.drained(1, true);
    assert!(play.drain(40, terms));
    play.want("a", 0, 99);
    play.want("a", 0, 41);
    play.drained(40, false);
    assert!(!play.drain(39, terms), "no drain begins while a request waits");
    let mut play = Play::new(Limits { max_idle: Some(0), ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    assert!(!play.drain(1, terms));
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.dialed(1);
    play.policy.shut();
    assert!(!play.drain(1, terms));
}
