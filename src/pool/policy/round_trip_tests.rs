//! Tests of the round trip that is known for a host, and of the time after which an answer is believed.

use super::super::Limits;
use super::super::model_tests::Random;
use super::super::play::{NOTHING, Play, S, config};
use super::*;

const MS: Duration = Duration::from_millis(1);

fn known(took: Duration) -> RoundTrip {
    let mut round_trip = RoundTrip::unknown();
    round_trip.note_connect(Some(took));
    round_trip
}

#[test]
fn answers_are_believed_from_half_of_the_shortest_round_trip_on() {
    assert_eq!(RoundTrip::unknown().believed_after(), 0, "nothing is known");
    let mut round_trip = RoundTrip::unknown();
    round_trip.note_first_answer(20_000);
    assert_eq!(round_trip.believed_after(), 0, "an answer alone makes no round trip known");
    round_trip.note_connect(Some(30 * MS));
    assert_eq!(round_trip.believed_after(), 15_000);
    round_trip.note_connect(Some(40 * MS));
    assert_eq!(round_trip.believed_after(), 15_000, "a longer connection attempt changes nothing");
    round_trip.note_first_answer(20_000);
    assert_eq!(round_trip.believed_after(), 10_000, "a first answer that took less counts");
    round_trip.note_connect(Some(12 * MS));
    assert_eq!(round_trip.believed_after(), 6_000, "a connection attempt that took less counts");
}

#[test]
fn every_answer_is_believed_if_the_round_trip_is_shorter_than_4_ms() {
    assert_eq!(known(4 * MS).believed_after(), 2_000);
    assert_eq!(known(Duration::from_micros(3_999)).believed_after(), 0);
    let mut round_trip = known(20 * MS);
    round_trip.note_first_answer(3_999);
    assert_eq!(round_trip.believed_after(), 0);
}

#[test]
fn a_connection_that_tells_nothing_ends_the_doubts_about_its_host() {
    let mut round_trip = known(20 * MS);
    round_trip.note_connect(None);
    assert_eq!(round_trip.believed_after(), 0);
    round_trip.note_connect(Some(20 * MS));
    assert_eq!(round_trip.believed_after(), 0, "the host stays believed");
}

#[test]
fn two_wrong_doubts_net_make_the_round_trip_shorter() {
    let mut round_trip = known(100 * MS);
    let wrong = Doubt::Wrong(20 * MS);
    round_trip.note_doubt(wrong);
    assert_eq!(round_trip.believed_after(), 50_000, "one error may have another cause");
    round_trip.note_doubt(Doubt::Right);
    round_trip.note_doubt(wrong);
    assert_eq!(round_trip.believed_after(), 50_000, "a right doubt takes one error back");
    round_trip.note_doubt(Doubt::Unsettled);
    assert_eq!(round_trip.believed_after(), 50_000, "a doubt that was not settled does not count");
    round_trip.note_doubt(wrong);
    assert_eq!(round_trip.believed_after(), 10_000);
    round_trip.note_doubt(Doubt::Right);
    round_trip.note_doubt(Doubt::Right);
    round_trip.note_doubt(Doubt::Wrong(16 * MS));
    assert_eq!(
        round_trip.believed_after(),
        10_000,
        "right doubts do not make the next errors cheaper than 0"
    );
    round_trip.note_doubt(Doubt::Wrong(16 * MS));
    assert_eq!(round_trip.believed_after(), 8_000);
}

#[test]
fn long_times_are_counted_without_overflow() {
    let mut round_trip = known(Duration::MAX);
    assert_eq!(round_trip.believed_after(), (u32::MAX - 1) / 2);
    round_trip.note_doubt(Doubt::Wrong(Duration::MAX));
    round_trip.note_doubt(Doubt::Wrong(Duration::MAX));
    assert_eq!(round_trip.believed_after(), (u32::MAX - 1) / 2);
}

/// A host gets one connection after another, and random delays make each measurement longer. At most two answers in a
/// row are doubted that come a full round trip after their requests. No stray is believed that comes in less than half
/// of the shortest measurement.
#[test]
fn delays_cause_missed_strays_and_at_most_two_errors() {
    for seed in 1..200 {
        let mut random = Random::new(seed);
        let trip = 4_000 + random.below(100_000) as u32;
        let mut round_trip = RoundTrip::unknown();
        let mut shortest = u32::MAX;
        let mut errors = 0;
        for _ in 0..300 {
            let delay = [0, random.below(10_000) as u32, random.below(500_000) as u32][random.below(3)];
            let took = trip + delay;
            let half = round_trip.believed_after();
            match random.below(4) {
                0 => {
                    round_trip.note_connect(Some(Duration::from_micros(took.into())));
                    shortest = shortest.min(took);
                }
                1 if shortest < u32::MAX => {
                    round_trip.note_first_answer(took);
                    shortest = shortest.min(took);
                }
                2 if took < half => {
                    errors += 1;
                    round_trip.note_doubt(Doubt::Wrong(Duration::from_micros(took.into())));
                    if errors % u32::from(MOST_ERRORS) == 0 {
                        shortest = shortest.min(took);
                    }
                }
                _ if shortest < u32::MAX => {
                    let stray = random.below(shortest as usize) as u32;
                    assert_eq!(stray < half, stray < shortest / 2, "seed {seed}: a stray after {stray} µs");
                }
                _ => {}
            }
        }
        assert!(errors <= 2 * 8, "seed {seed}: {errors} right answers were doubted");
    }
}

#[test]
fn a_host_whose_answers_come_too_soon_is_not_kept() {
    for (doubt, is_kept) in [(Doubt::Right, false), (Doubt::Unsettled, false), (Doubt::Wrong(9 * MS), true)] {
        let mut play = Play::new(config());
        for conn in 1..=3 {
            assert_eq!(play.want("a", 0, conn), ["dial a/0"]);
            play.dialed(conn);
            assert_eq!(play.checkin(conn), NOTHING, "the connection is kept");
            assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
            play.policy.note_doubt(play.places[&conn], doubt, play.now);
            play.release(conn);
        }
        assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
        play.dialed(4);
        let buried: &[&str] = if is_kept { &[] } else { &["bury 4 NotKept"] };
        assert_eq!(play.checkin(4), buried, "{doubt:?}");
    }
}

#[test]
fn a_dial_beside_a_doubted_connection_serves_the_request_that_is_sent_again() {
    let mut play = Play::new(Limits { max_connections_per_host: 3, ..config() });
    play.open("a", 0, &[1]);
    assert_eq!(play.want("a", 0, 1), ["reuse 1"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    let place = play.places[&1];
    let mut out = Vec::new();
    let ticket = play.policy.dial_beside(place, &9, play.now, &mut out);
    assert!(ticket.is_some(), "a third connection has room");
    assert_eq!(play.say(out), ["dial a/0"]);
    let mut out = Vec::new();
    assert!(play.policy.dial_beside(place, &10, play.now, &mut out).is_none(), "the limit is reached");
    assert_eq!(play.say(out), NOTHING);
    assert_eq!(play.dialed(2), ["grant 2 to 9"], "the request that is sent again comes first");
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
    play.now += S;
    assert_eq!(play.checkin(2), NOTHING);
}

#[test]
fn the_switch_makes_every_answer_believed() {
    for (is_on, half) in [(true, 10_000), (false, 0)] {
        let mut play = Play::new(Limits { doubts_early_answers: is_on, ..config() });
        let place = play.place("a", 0);
        play.policy.note_connect(place, Some(20 * MS));
        assert_eq!(play.policy.believed_after(place), half);
    }
}
