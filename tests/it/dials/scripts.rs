//! Tests that play random scripts of requests and dials: the limits of rule 3 hold at every moment.
//!
//! A failure prints its seed: `SEED=n cargo test --test it rule_03` plays that script alone. With `HANDCLASP_LONG` there are
//! fifty times as many scripts.

use handclasp::Client;

use super::{SECOND, paused};
use crate::support::Rng;
use crate::support::dials::{Asked, Dial, Dials, Far, ask, counts, settle};

/// In every order of events there are never more connections and dials than the limits allow. The test's connector counts
/// the connections and dials, and the pool's counts equal these counts.
#[test]
fn rule_03_limits_hold_at_every_moment() {
    let own = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("SEED is a number"));
    let scripts = if std::env::var_os("HANDCLASP_LONG").is_some() { 50 * SCRIPTS } else { SCRIPTS };
    let mut most = 0;
    for seed in own.map_or(0..scripts, |seed| seed..seed + 1) {
        let script = std::panic::AssertUnwindSafe(|| paused(Script::new(seed).run()));
        most = most.max(std::panic::catch_unwind(script).unwrap_or_else(|panic| {
            println!("it failed with SEED={seed}");
            std::panic::resume_unwind(panic)
        }));
    }
    assert!(own.is_some() || most == 5, "the highest limit was reached");
}

/// Requests, dials and connections that a random script has under way.
struct Script {
    dials: Dials,
    client: Client,
    of_host: usize,
    of_all: usize,
    idle_of_host: usize,
    rng: Rng,
    asked: Vec<Asked>,
    under_way: Vec<Dial>,
    fars: Vec<Far>,
}

impl Script {
    fn new(seed: u64) -> Self {
        let dials = Dials::default();
        let [of_host, of_all, idle_of_host] =
            [1 + seed as usize % 3, 1 + seed as usize / 3 % 5, 1 + seed as usize % 2];
        let client = dials
            .builder()
            .max_connections_per_host(of_host)
            .max_connections(of_all)
            .max_idle_per_host(idle_of_host)
            .max_waiters_per_host(WAITERS)
            .max_lifetime(90 * SECOND)
            .build()
            .unwrap();
        let rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (asked, under_way, fars) = Default::default();
        Self { dials, client, of_host, of_all, idle_of_host, rng, asked, under_way, fars }
    }

    /// Plays the script, and returns the highest number of connections and dials.
    async fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step().await;
            // In one of four cases the next event follows without a pause.
            if self.below(4) > 0 {
                settle().await;
                self.check();
            }
        }
        // Every request that still waits ends.
        for round in 0.. {
            assert!(round < 100, "{} requests hang: {:?}", self.asked.len(), counts(&self.client));
            self.under_way.drain(..).for_each(|dial| drop(dial.finish()));
            self.fars.iter().for_each(Far::release);
            settle().await;
            self.check();
            self.asked.retain(|asked| !asked.is_over());
            if self.asked.is_empty() && self.under_way.is_empty() {
                break;
            }
        }
        let [_, active, dialing, waiting] = counts(&self.client);
        assert_eq!((active, dialing, waiting), (0, 0, 0));
        drop(self.client);
        settle().await;
        let total = self.dials.total();
        assert_eq!((total.live, total.dialing), (0, 0), "the client is gone");
        total.peak
    }

    async fn step(&mut self) {
        let host = HOSTS[self.below(3)];
        let url = format!("http://{host}/");
        match self.below(16) {
            0..5 => self.asked.push(ask(&self.client, &url)),
            5 => {
                if let Some(asked) = self.pick(|script| &mut script.asked) {
                    asked.abort();
                }
            }
            6..9 => {
                if let Some(dial) = self.pick(|script| &mut script.under_way) {
                    let far = if self.below(2) == 0 { dial.finish() } else { dial.hold() };
                    self.fars.push(far);
                }
            }
            9 => {
                if let Some(dial) = self.pick(|script| &mut script.under_way) {
                    dial.fail("no line");
                }
            }
            10..14 => {
                if let Some(far) = self.pick(|script| &mut script.fars) {
                    match self.below(4) {
                        0 => far.hang_up(),
                        _ if far.asked().is_empty() => {}
                        1 => far.answer_last(),
                        _ => far.answer(),
                    }
                    self.fars.push(far);
                }
            }
            14 => {
                let (client, wanted) = (self.client.clone(), 1 + self.below(3));
                tokio::spawn(async move { client.warm(url, wanted).await });
            }
            _ => match self.below(4) {
                0 => self.client.pool().close_idle(),
                1 => self.client.pool().on_network_change(),
                // A pause that is longer than the connect timeout, or longer than the idle timeout.
                2 => tokio::time::sleep(11 * SECOND).await,
                _ => tokio::time::sleep(61 * SECOND).await,
            },
        }
    }

    fn check(&mut self) {
        self.under_way.extend(self.dials.unseen());
        self.under_way.retain(Dial::is_under_way);
        self.fars.retain(|far| !far.is_gone());
        let stats = self.client.pool().stats();
        let total = self.dials.total();
        assert!(total.peak <= self.of_all, "{total:?}");
        let told = &stats.total;
        let counted = (told.idle + told.active, told.dialing);
        assert_eq!(
            counted,
            (total.live, total.dialing),
            "the pool's counts are those of the far ends: {told}"
        );
        for host in &stats.hosts {
            let there = self.dials.counts(host.origin.trim_start_matches("http://"));
            assert_eq!((host.idle + host.active, host.dialing), (there.live, there.dialing), "{host}");
            assert!(there.peak <= self.of_host, "{host}: {there:?}");
            // A request whose connection was dead returns to the queue, even if the queue is then longer than the limit.
            assert!(host.idle <= self.idle_of_host && host.waiting <= WAITERS + self.of_host, "{host}");
        }
    }

    fn pick<T>(&mut self, from: impl Fn(&mut Self) -> &mut Vec<T>) -> Option<T> {
        let count = from(self).len();
        (count > 0).then(|| {
            let at = self.below(count);
            from(self).swap_remove(at)
        })
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }
}

const SCRIPTS: u64 = 100;

const STEPS: usize = 400;

const HOSTS: [&str; 3] = ["a.test", "b.test", "c.test"];

const WAITERS: usize = 6;
