//! This bench measures the processor time and the memory of downloads and uploads, for handclasp and for other
//! clients.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench body [-- CELL...]`. The
//! bench takes some minutes. A cell is a name such as `cpu/download/known/64K`, or a part of a name. If cells are
//! given, only these cells are measured. Requests are sent one after another, on one connection and one thread,
//! without TLS. Downloads come with their length or in chunks of 16 KiB, and are read piece by piece or at once.
//! Uploads are sent in chunks from pieces of 16 KiB, or with their length from one `Bytes`. The server answers
//! with the number of bytes that it received. Figures are per byte of content. At the start, handclasp alone
//! moves one GiB in each way. At the end, the bench prints the largest growth of the heap during these transfers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::clients::Kind;
use support::measure::{Report, Team, in_turn, origin, processor_time};
use support::payload::Payload;
use support::runtime::runtime;
use support::server::{CHUNK, Server};
use support::worker::{Job, Reading};
use support::{Arguments, BoxError, heap};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn main() -> Result<(), BoxError> {
    // Counting starts at the beginning of the process, so that the number of live bytes is known.
    heap::count(true);
    let arguments = Arguments::read()?;
    let (rounds, volume, long) =
        if arguments.is_quick { (2, 1 << 20, 64 << 20) } else { (7, 96 << 20, 1 << 30) };
    let server = Server::start(Ipv4Addr::LOCALHOST, false, 1)?;
    let runtime = runtime(1);
    let origin = origin(server.scheme(), server.address);
    let mut report = Report::new("body");
    let peaks = peaks(&runtime, &server, &origin, long, &arguments)?;
    heap::count(false);

    let jobs = jobs(&origin)?;
    let mut allocated = Vec::new();
    report.table("Processor time of content", "content", "ns per byte");
    for (cell, job) in &jobs {
        let (cell, job) = (format!("cpu/{cell}"), Arc::new(job.clone()));
        if !arguments.wants(&cell) {
            continue;
        }
        let mut teams = Vec::new();
        for kind in Kind::ALL {
            teams.push(runtime.block_on(Team::new(kind, &server, 1))?);
        }
        let each = (volume / job.bytes()).max(2);
        for team in &mut teams {
            runtime.block_on(team.repeat(&job, (each / 4).max(2)));
        }
        let measured = in_turn(&mut teams, rounds, |team| {
            let begun = processor_time();
            runtime.block_on(team.repeat(&job, each));
            (processor_time() - begun).as_secs_f64() * 1e9 / (each * job.bytes()) as f64
        });
        report.rows(&cell, &teams.iter().map(|team| team.kind).zip(measured).collect(), "ns/B");
        let counted = in_turn(&mut teams, 3, |team| {
            let before = heap::used();
            heap::count(true);
            runtime.block_on(team.repeat(&job, each));
            heap::count(false);
            heap::used().each(before, each * job.bytes())[1]
        });
        allocated.push((cell, teams.iter().map(|team| team.kind).zip(counted).collect()));
    }
    report.table("Allocated for content", "content", "bytes per byte");
    for (cell, measured) in &allocated {
        report.rows(&cell.replace("cpu/", "allocated/"), measured, "B/B");
    }
    if !peaks.is_empty() {
        println!(
            "\n### Most allocated while handclasp moves {} MiB\n\n| way | bytes |\n|---|---:|",
            long >> 20
        );
    }
    for (way, bytes) in peaks {
        println!("| {way} | {bytes} |");
        report.result(&peak(way, long), "handclasp", bytes as f64, "bytes");
    }
    report.end();
    Ok(())
}

fn jobs(origin: &str) -> Result<Vec<(String, Job)>, BoxError> {
    let mut jobs = Vec::new();
    for (name, size) in SIZES {
        for (way, suffix) in [("known", ""), ("chunked", "/chunked")] {
            let target = format!("/{size}{suffix}");
            let job = Job::get(origin, &target, Reading::Stream)?;
            jobs.push((format!("download/{way}/{name}"), job));
            if size == SIZES[0].1 {
                let job = Job::get(origin, &target, Reading::Collect)?;
                jobs.push((format!("download/{way}-as-one/{name}"), job));
            }
        }
    }
    for (name, size) in SIZES {
        jobs.push((format!("upload/pieces/{name}"), Job::post(origin, pieces(size))?));
        let whole = Payload::Whole(Some(vec![b'.'; size].into()));
        jobs.push((format!("upload/whole/{name}"), Job::post(origin, whole)?));
    }
    Ok(jobs)
}

fn pieces(size: usize) -> Payload {
    Payload::Pieces { piece: Bytes::from(vec![b'.'; CHUNK]), left: size / CHUNK }
}

/// Moves `size` bytes in each way. Returns the largest growth of the heap at any time, for each way.
fn peaks(
    runtime: &Runtime,
    server: &Server,
    origin: &str,
    size: usize,
    arguments: &Arguments,
) -> Result<Vec<(&'static str, i64)>, BoxError> {
    let ways = [
        ("download/known", Job::get(origin, &format!("/{size}"), Reading::Stream)?),
        ("download/chunked", Job::get(origin, &format!("/{size}/chunked"), Reading::Stream)?),
        ("upload/pieces", Job::post(origin, pieces(size))?),
    ];
    let mut peaks = Vec::new();
    for (way, job) in ways {
        if !arguments.wants(&peak(way, size)) {
            continue;
        }
        let job = Arc::new(job);
        let peak = runtime.block_on(async {
            let mut team = Team::new(Kind::Handclasp, server, 1).await?;
            let before = heap::live();
            heap::peak();
            tokio::time::timeout(Duration::from_secs(120), team.repeat(&job, 1)).await?;
            Ok::<_, BoxError>(heap::peak() - before)
        })?;
        peaks.push((way, peak));
    }
    Ok(peaks)
}

fn peak(way: &str, size: usize) -> String {
    format!("peak/{way}/{}M", size >> 20)
}

const SIZES: [(&str, usize); 3] = [("64K", 64 << 10), ("1M", 1 << 20), ("16M", 16 << 20)];
