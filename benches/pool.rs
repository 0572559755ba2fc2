//! This bench measures the time that the pool takes for each request. The bench measures a checkout of an idle connection
//! with its checkin, and the wait until a connection is handed over.
//!
//! Run this bench by `cargo bench --bench pool --features test-util`. The bench takes about a minute. The connections
//! are in memory, always silent, and are not looked at. Apart from the look, the bench takes the steps of a request:
//! it finds the host by the route of the URI, takes the newest connection, begins an exchange, and gives the
//! connection back. Figures are medians of five rounds. With more threads than processors, the figures include the
//! time of the scheduler.
//!
//! The bench prints each missed budget. With HANDCLASP_BENCH_STRICT=1 the bench fails if a figure is more than twice
//! its budget.

#[allow(dead_code, reason = "this bench needs no server")]
mod support;

use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use handclasp::test_util::PoolProbe;
use http::Uri;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let share = if support::is_quick() { 100 } else { 1 };
    let is_missed = pairs(share);
    hand_offs(share);
    let is_strict = env::var("HANDCLASP_BENCH_STRICT").is_ok_and(|strict| strict == "1");
    if is_strict && is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints the processor time of a pair of checkout and checkin. Returns whether a figure is more than twice its budget.
fn pairs(share: usize) -> bool {
    println!("### Checkout and checkin, without the look\n");
    println!("| hosts, in random order | threads | CPU ns per pair | pairs/s, all threads | budget | |");
    println!("|---:|---:|---:|---:|---:|---|");
    let mut is_missed = false;
    for (hosts, budget) in [(1, 300.0), (1_000, 300.0), (100_000 / share, 1_000.0)] {
        let runtime = runtime(1);
        // A single host gets one connection for each thread.
        let idle = if hosts == 1 { THREADS[THREADS.len() - 1] } else { 1 };
        let probe =
            runtime.block_on(PoolProbe::new(hosts, idle, usize::MAX)).expect("the probe dials no server");
        for threads in THREADS {
            let visits: Vec<_> = (0..threads).map(|thread| visits(hosts, thread as u64)).collect();
            let walks = (400_000 / share).div_ceil(threads * visits[0].len());
            let (nanos, rate) = median(|| round(&runtime, &probe, &visits, walks));
            // The budget applies to one thread only, because figures of several threads include their contention.
            let (told, verdict) = match (threads, nanos <= budget) {
                (1, is_met) => (format!("{budget}"), if is_met { "met" } else { "MISSED" }),
                _ => (String::new(), ""),
            };
            is_missed |= threads == 1 && nanos > 2.0 * budget;
            println!("| {hosts} | {threads} | {nanos:.0} | {rate:.0} | {told} | {verdict} |");
        }
    }
    is_missed
}

/// Lets all threads visit their hosts `walks` times at the same time. Returns the processor time per pair, and pairs per second.
fn round(runtime: &Runtime, probe: &PoolProbe, visits: &[Vec<usize>], walks: usize) -> (f64, f64) {
    let barrier = Barrier::new(visits.len());
    let work = |visits: &[usize]| {
        let _entered = runtime.enter();
        barrier.wait();
        let (mut pairs, mut processor, mut wall) = (0.0, Duration::ZERO, Duration::ZERO);
        for some in (0..walks).flat_map(|_| visits.chunks(SOME)) {
            // Each URI is built shortly before its use, so that the URI is in the processor's cache as in a real request, and
            // only the pool's data is not.
            let uris: Vec<Uri> = some.iter().map(|host| PoolProbe::uri(*host)).collect();
            let begun = (processor_time(), Instant::now());
            // If another thread has the only connection, the probe makes no pair, and dials one more connection.
            pairs += uris.iter().filter(|uri| probe.pair(uri).expect("the URI has a host")).count() as f64;
            processor += processor_time() - begun.0;
            wall += begun.1.elapsed();
        }
        (pairs, processor, wall)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = visits.iter().map(|visits| scope.spawn(|| work(visits))).collect();
        let (mut pairs, mut processor, mut rate) = (0.0, 0.0, 0.0);
        for thread in threads {
            let (its_pairs, its_processor, wall) = thread.join().expect("no thread panics");
            pairs += its_pairs;
            processor += its_processor.as_nanos() as f64;
            rate += its_pairs / wall.as_secs_f64();
        }
        (processor / pairs, rate)
    })
}

/// Returns the processor time of this thread. The kernel updates its count when the thread yields.
fn processor_time() -> Duration {
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has this file");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first word is a number"))
}

/// Returns the numbers of all hosts in random order, some of them several times.
fn visits(hosts: usize, seed: u64) -> Vec<usize> {
    let mut random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut host = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % hosts as u64) as usize
    };
    (0..hosts.max(SOME)).map(|_| host()).collect()
}

fn hand_offs(share: usize) {
    println!("\n### Handing over one connection, which is held while other tasks run\n");
    println!("| threads | tasks per thread | ns per turn | turns/s |\n|---:|---:|---:|---:|");
    for threads in THREADS {
        for tasks in [1, 2, 8, 64] {
            let runtime = runtime(threads);
            let probe =
                Arc::new(runtime.block_on(PoolProbe::new(1, 1, 1)).expect("the probe dials no server"));
            let uri = PoolProbe::uri(0);
            let tasks_in_all = threads * tasks;
            let each = (100_000 / share).div_ceil(tasks_in_all);
            let (nanos, rate) = median(|| {
                let begun = Instant::now();
                runtime.block_on(async {
                    let mut running = tokio::task::JoinSet::new();
                    for _ in 0..tasks_in_all {
                        let (probe, uri) = (probe.clone(), uri.clone());
                        running.spawn(async move {
                            for _ in 0..each {
                                probe.turn(&uri).await.expect("the probe dials no server");
                            }
                        });
                    }
                    running.join_all().await;
                });
                let nanos = begun.elapsed().as_nanos() as f64 / (tasks_in_all * each) as f64;
                (nanos, 1e9 / nanos)
            });
            println!("| {threads} | {tasks} | {nanos:.0} | {rate:.0} |");
        }
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().expect("the runtime starts")
}

/// Returns the median of five rounds, after one round that is not measured.
fn median(mut round: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    round();
    let mut rounds = [(); 5].map(|()| round());
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    rounds[2]
}

/// Number of requests whose URIs are built together.
const SOME: usize = 500;

const THREADS: [usize; 4] = [1, 2, 4, 8];
