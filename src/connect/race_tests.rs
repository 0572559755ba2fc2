//! Timelines of races in virtual time, and a random walk that checks the race's invariants.

use std::fmt::Write;

use super::*;

/// Address with a name like `6a` or `4b`: the family, and a letter.
fn address(name: &str) -> SocketAddr {
    let letter = u16::from(name.as_bytes()[1]);
    match &name[..1] {
        "6" => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, letter], 80)),
        "4" => SocketAddr::from(([192, 0, 2, letter.to_le_bytes()[0]], 80)),
        _ => panic!("{name} is not a name of an address"),
    }
}

fn name(address: SocketAddr) -> String {
    let (family, letter) = match address {
        SocketAddr::V6(v6) => ('6', v6.ip().octets()[15]),
        SocketAddr::V4(v4) => ('4', v4.ip().octets()[3]),
    };
    format!("{family}{}", char::from(letter))
}

/// An address of a timeline: its name, `!` and its class if this is not 0, `@` and its delay in ms if this is not 250.
fn entrant(text: &str) -> Entrant {
    let (text, delay) = text.split_once('@').unwrap_or((text, "250"));
    let (name, class) = text.split_once('!').unwrap_or((text, "0"));
    let (class, delay) = (class.parse().unwrap(), Duration::from_millis(delay.parse().unwrap()));
    Entrant { address: address(name), class, delay }
}

/// A race with the attempts that a caller would have under way.
struct Played {
    race: Race,
    origin: Instant,
    /// Address of each attempt that was started.
    started: Vec<SocketAddr>,
    /// Numbers of the attempts whose sockets are open, oldest first.
    open: Vec<usize>,
}

impl Played {
    fn new() -> Self {
        let race = Race::new(Duration::from_millis(50));
        Self { race, origin: Instant::now(), started: Vec::new(), open: Vec::new() }
    }

    fn number(&self, name: &str) -> usize {
        let started = self.started.iter().position(|started| *started == address(name));
        started.unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// Lets an event happen, and returns the steps that follow.
    fn event(&mut self, ms: u64, event: &str) -> String {
        let now = self.origin + Duration::from_millis(ms);
        for part in event.split(',').map(str::trim) {
            let (what, rest) = part.split_once(' ').unwrap_or((part, ""));
            match what {
                // The list names all addresses that were found so far.
                "answers" => self.race.enter(rest.split(' ').map(entrant).collect(), now),
                "complete" => self.race.complete(),
                "fails" => {
                    let number = self.number(rest);
                    self.open.retain(|open| *open != number);
                    self.race.failed(number);
                }
                "wins" | "dropped" => {
                    let winner = (what == "wins").then(|| self.number(rest));
                    let losers = self.open.iter().filter(|open| Some(**open) != winner);
                    let losers: Vec<_> = losers.map(|open| name(self.started[*open])).collect();
                    return format!("closes {}", losers.join(" ")).trim().to_owned();
                }
                "" => {}
                _ => panic!("{event} is not an event"),
            }
        }
        let mut steps = String::new();
        loop {
            match self.race.step(now) {
                Step::Start(number, address) => {
                    assert_eq!(number, self.started.len());
                    self.started.push(address);
                    self.open.push(number);
                    write!(steps, "start {}, ", name(address)).unwrap();
                }
                Step::GiveWay(number) => {
                    assert_eq!(self.open.remove(0), number, "the oldest gives way");
                    write!(steps, "{} gives way, ", name(self.started[number])).unwrap();
                }
                Step::WaitUntil(then) => {
                    return steps + &format!("until {}", (then - self.origin).as_millis());
                }
                Step::Wait => return steps + "wait",
                Step::Exhausted => return steps + "exhausted",
            }
        }
    }
}

/// Plays a timeline. Each line has the time in ms, an event or nothing, and the steps that follow.
#[track_caller]
fn timeline(what: &str, lines: &str) {
    let mut played = Played::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parts: Vec<_> = line.split('|').map(str::trim).collect();
        let [ms, event, steps] = parts[..] else { panic!("{line} is not a line of a timeline") };
        assert_eq!(played.event(ms.parse().unwrap(), event), steps, "{what}: {line}");
    }
}

#[test]
fn the_next_starts_after_the_delay_or_at_once_after_a_failure() {
    timeline(
        "R-8305-5-1: dead first address",
        "   0 | answers 4a 4b 4c, complete | start 4a, until 250
          249 |                            | until 250
          250 |                            | start 4b, until 500
          500 |                            | start 4c, wait
          530 | wins 4c                    | closes 4a 4b",
    );
    timeline(
        "R-8305-5-1: refused addresses",
        "   0 | answers 4a 4b 4c 4d, complete | start 4a, until 250
          250 |                               | start 4b, until 500
          280 | fails 4b                      | start 4c, until 530
          290 | fails 4c                      | start 4d, wait
          300 | wins 4d                       | closes 4a",
    );
    timeline(
        "R-8305-5-1: an address with a delay of its own",
        "   0 | answers 4a@100 4b@2000 4c, complete | start 4a, until 100
          100 |                                     | start 4b, until 2100
         2100 |                                     | start 4c, wait",
    );
    timeline(
        "one address",
        "    0 | answers 4a, complete | start 4a, wait
          9000 |                      | wait
          9001 | wins 4a              | closes",
    );
}

#[test]
fn families_take_turns() {
    timeline(
        "R-8305-4-1: dead first family",
        "    0 | answers 6a 6b 6c 4a 4b, complete | start 6a, until 250
           250 |                                  | start 4a, until 500
           270 | wins 4a                          | closes 6a",
    );
    timeline(
        "R-8305-4-1: the first family is the one of the first address",
        "    0 | answers 4a 4b 6a 4c, complete | start 4a, until 250
             1 | fails 4a                      | start 6a, until 251
             2 | fails 6a                      | start 4b, until 252
             3 | fails 4b                      | start 4c, wait",
    );
    timeline(
        "R-8305-4-1: a dead first family that is known to be dead",
        "    0 | answers 4a 4b 6a!1 6b!1, complete | start 4a, until 250
             1 | fails 4a                          | start 4b, until 251
             2 | fails 4b                          | start 6a, until 252
             3 | wins 6a                           | closes",
    );
    timeline(
        "the families take turns across classes",
        "    0 | answers 6a 6b!1 4a!1 6c!2, complete | start 6a, until 250
             1 | fails 6a                            | start 4a, until 251
             2 | fails 4a                            | start 6b, until 252
             3 | fails 6b                            | start 6c, wait",
    );
}

#[test]
fn ipv4_that_came_first_waits_a_moment_for_ipv6() {
    timeline(
        "R-8305-3-2: IPv6 comes within the moment",
        "    0 |                      | wait
            10 | answers 4a 4b        | until 60
            30 | answers 6a 4a 4b     | start 6a, until 280
            31 | complete             | until 280
           280 |                      | start 4a, until 530",
    );
    timeline(
        "R-8305-3-2: slow AAAA, which joins the race",
        "   10 | answers 4a 4b        | until 60
            40 | answers 4a 4b 4c     | until 60
            60 |                      | start 4a, until 310
           200 | answers 6a 4a 4b 4c  | until 310
           310 |                      | start 6a, until 560
           311 | complete             | until 560
           320 | wins 4a              | closes 6a",
    );
    timeline(
        "the example at the top of race.rs",
        "    0 | answers 4a 4b              | until 50
            20 | answers 6a 4a 4b, complete | start 6a, until 270
           270 |                            | start 4a, until 520
           280 | fails 4a                   | start 4b, wait",
    );
    timeline(
        "R-8305-3-2: there is no IPv6, or its lookup failed",
        "   10 | answers 4a           | until 60
            12 | complete             | start 4a, wait",
    );
    timeline("R-8305-3-2: IPv6 comes first", "   10 | answers 6a | start 6a, wait");
    timeline("both come at once", "   10 | answers 4a 6a | start 4a, until 260");
}

#[test]
fn answers_that_come_during_the_race_join_it() {
    timeline(
        "R-8305-6-1: while the delay runs",
        "    0 | answers 6a           | start 6a, wait
           100 | answers 6a 4a        | until 250
           250 |                      | start 4a, wait
           251 | answers 6a 6b 4a, complete | until 500
           500 |                      | start 6b, wait",
    );
    timeline(
        "R-8305-6-1: after the delay",
        "    0 | answers 6a           | start 6a, wait
           400 | answers 6a 4a        | start 4a, wait
           401 | complete             | wait
           402 | fails 4a             | wait
           403 | fails 6a             | exhausted",
    );
    timeline(
        "R-8305-6-1: after everything has failed",
        "    0 | answers 6a           | start 6a, wait
             1 | fails 6a             | wait
           400 | answers 6a 4a        | start 4a, wait
           401 | fails 4a             | wait
           500 | complete             | exhausted",
    );
    timeline(
        "an address that left the answer is not tried, and its attempt goes on",
        "    0 | answers 6a 6b        | start 6a, until 250
             1 | answers 6c           | until 250
           250 |                      | start 6c, wait",
    );
}

#[test]
fn a_lookup_that_fails_leaves_what_was_answered() {
    timeline("nothing was answered", "5000 | complete | exhausted");
    timeline(
        "an attempt runs",
        "    0 | answers 6a           | start 6a, wait
          5000 | complete             | wait
          5001 | fails 6a             | exhausted",
    );
    timeline(
        "IPv4 waits for IPv6",
        "    0 | answers 4a           | until 50
            10 | complete             | start 4a, wait",
    );
}

#[test]
fn all_addresses_may_be_dead() {
    timeline(
        "all are refused",
        "    0 | answers 4a 6a, complete | start 4a, until 250
             1 | fails 4a               | start 6a, wait
             2 | fails 6a               | exhausted
             3 |                        | exhausted",
    );
    timeline(
        "a failure that is reported twice counts once",
        "    0 | answers 4a 4b 4c, complete | start 4a, until 250
             1 | fails 4a               | start 4b, until 251
             2 | fails 4a               | until 251",
    );
    timeline(
        "late winner",
        "    0 | answers 4a 4b 4c, complete | start 4a, until 250
           250 |                            | start 4b, until 500
           500 |                            | start 4c, wait
           900 | fails 4c                   | wait
         30000 | wins 4a                    | closes 4b",
    );
}

#[test]
fn at_the_cap_the_oldest_gives_way() {
    timeline(
        "A-13: six silent addresses and a good seventh",
        "    0 | answers 4a 4b 4c 4d 4e 4f 4g 4h, complete | start 4a, until 250
           250 |                                            | start 4b, until 500
           500 |                                            | start 4c, until 750
           750 |                                            | start 4d, until 1000
          1000 |                                            | start 4e, until 1250
          1250 |                                            | start 4f, until 1500
          1500 |                                            | 4a gives way, start 4g, until 1750
          1600 | fails 4c                                   | start 4h, wait
          1700 | wins 4g                                    | closes 4b 4d 4e 4f 4h",
    );
    timeline(
        "an attempt that gave way has failed",
        "    0 | answers 4a@0 4b@0 4c@0 4d@0 4e@0 4f@0 4g, complete \
               | start 4a, start 4b, start 4c, start 4d, start 4e, start 4f, 4a gives way, start 4g, wait
             1 | fails 4b, fails 4c, fails 4d, fails 4e, fails 4f   | wait
             2 | fails 4a                                           | wait
             3 | fails 4g                                           | exhausted",
    );
}

/// The race is dropped after each step of a race with every kind of step. Each socket that was opened is open, unless its
/// attempt failed or gave way.
#[test]
fn a_race_can_be_cancelled_at_each_step() {
    let events = [
        (0, "answers 4a 4b 4c 4d 4e 4f 4g", "closes"),
        (50, "answers 6a 4a 4b 4c 4d 4e 4f 4g", "closes 6a"),
        (300, "", "closes 6a 4a"),
        (310, "fails 4a", "closes 6a 4b"),
        (560, "complete", "closes 6a 4b 4c"),
        (1_310, "", "closes 6a 4b 4c 4d"),
        (1_560, "", "closes 6a 4b 4c 4d 4e"),
        (1_810, "", "closes 6a 4b 4c 4d 4e 4f"),
        (2_060, "", "closes 4b 4c 4d 4e 4f 4g"),
        (2_061, "fails 4g", "closes 4b 4c 4d 4e 4f"),
    ];
    for cut in 1..=events.len() {
        let mut played = Played::new();
        for (ms, event, _) in &events[..cut] {
            played.event(*ms, event);
        }
        let (ms, event, closes) = events[cut - 1];
        assert_eq!(played.event(ms, "dropped"), closes, "after {event:?} at {ms} ms");
    }
}

/// Random events at random times. The walk keeps a simple account of its own and compares.
#[test]
fn a_random_walk_keeps_the_invariants() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (mut most, mut ways, mut exhausted) = (0, 0, 0);
    for walk in 0..2_000 {
        let mut played = Played::new();
        let (mut found, mut is_complete, mut ms) = (Vec::<Entrant>::new(), false, 0);
        let (mut over, mut ended) = (Vec::new(), false);
        for _ in 0..60 {
            let given_way = played.started.len() - played.open.len() - over.len();
            let event = match random(6) {
                0 | 1 if !is_complete && found.len() < 22 => {
                    for _ in 0..=random(4) {
                        let letter = char::from(b"abcdefghijklmnopqrstuvwxyz"[found.len()]);
                        let family = ["4", "6"][random(2)];
                        let text = format!("{family}{letter}!{}@{}", random(3), 50 * random(6));
                        found.insert(random(found.len() + 1), entrant(&text));
                    }
                    found.sort_by_key(|entrant| entrant.class);
                    let list: Vec<_> = found
                        .iter()
                        .map(|e| format!("{}!{}@{}", name(e.address), e.class, e.delay.as_millis()))
                        .collect();
                    format!("answers {}", list.join(" "))
                }
                2 if random(4) == 0 => {
                    is_complete = true;
                    "complete".to_owned()
                }
                3 | 4 if !played.open.is_empty() => {
                    let number = played.open[random(played.open.len())];
                    over.push(number);
                    format!("fails {}", name(played.started[number]))
                }
                _ => String::new(),
            };
            ms += [0, 1, 50, 300][random(4)];
            let steps = played.event(ms, &event);
            let what = format!("walk {walk}, {ms} ms, {event:?}: {steps}");

            let unique: std::collections::HashSet<_> = played.started.iter().collect();
            assert_eq!(unique.len(), played.started.len(), "no address is started twice: {what}");
            assert!(
                played.started.iter().all(|started| found.iter().any(|e| e.address == *started)),
                "{what}"
            );
            assert!(played.open.len() <= 6, "{what}");
            let given_way_now = played.started.len() - played.open.len() - over.len();
            assert!(given_way_now >= given_way, "{what}");
            assert!(given_way_now == given_way || played.started.len() > 6, "{what}");
            let has_tried_all = played.started.len() == found.len() && is_complete;
            assert_eq!(played.race.has_started_all(), has_tried_all, "{what}");
            let is_lost = has_tried_all && played.open.is_empty();
            assert_eq!(steps.ends_with("exhausted"), is_lost, "{what}");
            if steps.ends_with("wait") {
                assert!(!played.open.is_empty() || !is_complete, "nothing would wake this race: {what}");
                assert_eq!(played.started.len(), found.len(), "an address waits without a time: {what}");
            }
            if let Some((_, until)) = steps.rsplit_once("until ") {
                let until = until.parse::<u64>().unwrap();
                assert!(until > ms && until <= ms + 300, "{what}");
                assert!(
                    played.open.len() + usize::from(!is_complete) > 0,
                    "it waits although it could go on: {what}"
                );
            }
            most = most.max(played.open.len());
            ways += given_way_now - given_way;
            ended |= is_lost;
        }
        exhausted += usize::from(ended);
    }
    assert_eq!(most, 6);
    assert!(ways > 500 && exhausted > 50, "{ways} gave way, {exhausted} races were lost");
}
