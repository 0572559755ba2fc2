//! This bench measures the time that the codec takes for common messages. The bench also counts the instructions for
//! messages whose cost must be linear in their size.
//!
//! Run this bench by `cargo bench --bench codec`. The bench takes about two minutes. Valgrind counts the instructions
//! in further runs of this program. The instructions of a run that does nothing are subtracted. Without valgrind the
//! bench measures only times, and fails if the environment has CI=true. Each case is decoded at one size and at twice
//! that size. The bench fails if the larger size takes more than 2.2 times the instructions of the smaller size.

#[allow(dead_code, reason = "this bench needs no server")]
mod support;

use std::env;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use handclasp::codec::{BodyLength, Event, Limits, Machine, RequestHead, Target, Verdict};
use http::{HeaderMap, HeaderValue, Method};
use std::hint::black_box;

fn main() -> ExitCode {
    if let Ok(task) = env::var(TASK) {
        count_me(&task);
        return ExitCode::SUCCESS;
    }
    let is_quick = support::is_quick();
    times(is_quick);
    if is_quick {
        for case in &CASES {
            case.run(case.size / 64);
        }
        return ExitCode::SUCCESS;
    }
    instructions()
}

// ---------------------------------------------------------------------------------------------------- times

fn times(is_quick: bool) {
    let turn = if is_quick { Duration::from_millis(1) } else { Duration::from_millis(100) };
    println!("| | ns | MB/s |\n|---|---:|---:|");
    let large = Case { size: 64 * 1024, ..CASES[0] }.wire(64 * 1024);
    for (name, wire) in [
        ("decode a head of 9 fields", SMALL.as_bytes()),
        ("decode a head of 64 KiB", &large),
        ("decode 1 MiB in chunks of 16 KiB", &chunked(1 << 20, 16 * 1024)),
        ("decode 64 KiB in chunks of 64 bytes", &chunked(1 << 16, 64)),
    ] {
        let nanos = median(turn, || {
            // The buffer is the only owner of its bytes, as it is after a read from a socket.
            let mut buf = BytesMut::from(wire);
            decode(&mut machine(), &mut buf);
        });
        println!("| {name} | {nanos:.0} | {:.0} |", wire.len() as f64 / nanos * 1000.0);
    }

    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    let mut out = BytesMut::with_capacity(4096);
    let mut length = 0;
    let nanos = median(turn, || {
        out.clear();
        let request =
            RequestHead::new(&Method::GET, Target::Origin("/13"), Some(b"127.0.0.1:8080"), &headers);
        Machine::new(Limits::default())
            .encode_head(black_box(&request), &mut out)
            .expect("the message is valid");
        length = out.len();
    });
    println!("| encode a head | {nanos:.0} | {:.0} |", length as f64 / nanos * 1000.0);

    let data = [b'x'; 1024];
    let nanos = median(turn, || {
        out.clear();
        let mut request = RequestHead::new(&Method::PUT, Target::Origin("/"), Some(b"h"), &headers);
        request.body = BodyLength::Chunked;
        let mut machine = Machine::new(Limits::default());
        machine.encode_head(black_box(&request), &mut out).expect("the message is valid");
        for _ in 0..64 {
            out.clear();
            let after = machine.encode_data(data.len(), &mut out).expect("the body is open");
            out.extend_from_slice(&data);
            out.extend_from_slice(after);
        }
        machine.encode_end(None, &mut out).expect("the body is open");
    });
    println!("| encode 64 KiB in chunks of 1 KiB | {nanos:.0} | {:.0} |", 65536.0 / nanos * 1000.0);
}

/// Returns the nanoseconds per call, as the median of nine turns.
fn median(turn: Duration, mut work: impl FnMut()) -> f64 {
    let mut calls = 1u32;
    let mut timed = |calls: u32| {
        let begun = Instant::now();
        (0..calls).for_each(|_| work());
        begun.elapsed()
    };
    while timed(calls) < turn && calls < 1 << 24 {
        calls *= 2;
    }
    let mut turns: Vec<f64> = (0..9).map(|_| timed(calls).as_nanos() as f64 / f64::from(calls)).collect();
    turns.sort_by(f64::total_cmp);
    turns[4]
}

const SMALL: &str = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: bench/1.0\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 0\r\nConnection: keep-alive\r\nVary: Accept-Encoding\r\n\
    ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\nCache-Control: max-age=604800\r\nX-Request-Id: 7f3a\r\n\r\n";

// ---------------------------------------------------------------------------------------------------- instructions

/// A message to decode, and the pieces in which the message arrives.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    shape: Shape,
    /// Number of bytes that arrive at a time.
    step: usize,
    /// Size of the first run. The second run has twice this size.
    size: usize,
}

#[derive(Clone, Copy)]
enum Shape {
    /// A head of long fields.
    Head,
    /// A head of very many fields, each with another name.
    Names,
    /// A head of one long field.
    Line,
    /// A head of one field that is folded over many lines.
    Folds,
    /// Many interim responses.
    Informational,
    /// Chunks of one byte. The size of this case is the size of the content.
    Chunks,
    /// One long chunk extension.
    Extension,
    /// A long trailer section.
    Trailers,
}

const CASES: [Case; 12] = [
    Case { name: "head of 64 KiB, byte by byte", shape: Shape::Head, step: 1, size: 64 * KIB },
    Case { name: "head of 64 KiB, in one piece", shape: Shape::Head, step: usize::MAX, size: 64 * KIB },
    Case { name: "head of many names, byte by byte", shape: Shape::Names, step: 1, size: 32 * KIB },
    Case { name: "one line of 64 KiB, byte by byte", shape: Shape::Line, step: 1, size: 64 * KIB },
    Case { name: "one folded field of 64 KiB, byte by byte", shape: Shape::Folds, step: 1, size: 64 * KIB },
    Case {
        name: "interim heads of 64 KiB, byte by byte",
        shape: Shape::Informational,
        step: 1,
        size: 64 * KIB,
    },
    Case {
        name: "1 MiB in one-byte chunks, reads of 16 KiB",
        shape: Shape::Chunks,
        step: 16 * KIB,
        size: 1024 * KIB,
    },
    Case {
        name: "1 MiB in one-byte chunks, in one piece",
        shape: Shape::Chunks,
        step: usize::MAX,
        size: 1024 * KIB,
    },
    Case { name: "1 MiB in one-byte chunks, byte by byte", shape: Shape::Chunks, step: 1, size: 1024 * KIB },
    Case {
        name: "chunk extension of 64 KiB, byte by byte",
        shape: Shape::Extension,
        step: 1,
        size: 64 * KIB,
    },
    Case { name: "trailers of 64 KiB, byte by byte", shape: Shape::Trailers, step: 1, size: 64 * KIB },
    Case {
        name: "trailers of 64 KiB, in one piece",
        shape: Shape::Trailers,
        step: usize::MAX,
        size: 64 * KIB,
    },
];

impl Case {
    /// Returns a response with about `size` bytes of the element that the case is about.
    fn wire(&self, size: usize) -> Vec<u8> {
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let fields = || format!("X-Field: {}\r\n", "x".repeat(501)).repeat(size / 512);
        match self.shape {
            Shape::Head => format!("HTTP/1.1 204 No Content\r\n{}\r\n", fields()),
            Shape::Names => {
                let fields: String = (0..size / 16).map(|at| format!("x-{at:08}: 1\r\n")).collect();
                format!("HTTP/1.1 204 No Content\r\n{fields}\r\n")
            }
            Shape::Line => format!("HTTP/1.1 204 No Content\r\nX: {}\r\n\r\n", "x".repeat(size)),
            Shape::Folds => format!("HTTP/1.1 204 No Content\r\nX: x{}\r\n\r\n", "\r\n x".repeat(size / 4)),
            Shape::Informational => {
                let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
                interim.repeat(size / interim.len()) + "HTTP/1.1 204 No Content\r\n\r\n"
            }
            Shape::Chunks => return chunked(size, 1),
            Shape::Extension => format!("{CHUNKED}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(size)),
            Shape::Trailers => format!("{CHUNKED}0\r\n{}\r\n", fields()),
        }
        .into_bytes()
    }

    /// Decodes the message to its end.
    fn run(&self, size: usize) {
        let wire = self.wire(size);
        let (mut machine, mut buf) = (machine(), BytesMut::with_capacity(16 * KIB));
        for piece in wire.chunks(self.step.min(wire.len())) {
            buf.extend_from_slice(piece);
            decode(&mut machine, &mut buf);
        }
        assert!(matches!(machine.verdict(buf.len()), Verdict::Reuse), "{} is decoded to its end", self.name);
    }
}

fn chunked(size: usize, chunk: usize) -> Vec<u8> {
    let chunk = format!("{chunk:x}\r\n{}\r\n", "x".repeat(chunk)).repeat(size / chunk);
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n").into_bytes()
}

/// Returns a machine that has sent its request, and whose limits are as high as possible.
fn machine() -> Machine {
    let mut limits = Limits::default();
    limits.head = usize::MAX;
    limits.fields = usize::MAX;
    limits.informational = usize::MAX;
    limits.informational_bytes = usize::MAX;
    limits.chunk_extensions = usize::MAX;
    limits.trailers = usize::MAX;
    let headers = HeaderMap::new();
    let mut machine = Machine::new(limits);
    let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
    machine.encode_head(&request, &mut BytesMut::new()).expect("the message is valid");
    machine
}

fn decode(machine: &mut Machine, buf: &mut BytesMut) {
    while let Some(event) = machine.decode(buf).expect("the message is valid") {
        if matches!(black_box(event), Event::End) {
            return;
        }
    }
}

/// Prints the instructions of each case. Returns a failure if a case is not linear.
fn instructions() -> ExitCode {
    let nothing = match count("") {
        Ok(nothing) => nothing,
        Err(why) => {
            println!("\nInstructions are not counted: {why}");
            let is_needed = env::var("CI").is_ok_and(|ci| ci == "true");
            return if is_needed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    println!("\n| | instructions | at twice the size | ratio | per byte | |\n|---|---:|---:|---:|---:|---|");
    let mut exit = ExitCode::SUCCESS;
    for (index, case) in CASES.iter().enumerate() {
        let counted = |size: usize| {
            let instructions =
                count(&format!("{index} {size}")).expect("the first run under valgrind succeeded");
            instructions.saturating_sub(nothing)
        };
        let (once, twice) = (counted(case.size), counted(2 * case.size));
        let ratio = twice as f64 / once as f64;
        let verdict = if ratio <= MOST { "met" } else { "MISSED" };
        if ratio > MOST {
            exit = ExitCode::FAILURE;
        }
        let per_byte = once as f64 / case.wire(case.size).len() as f64;
        println!("| {} | {once} | {twice} | {ratio:.2} | {per_byte:.0} | {verdict} |", case.name);
    }
    exit
}

/// Runs this program with a task under valgrind. Returns the number of instructions.
fn count(task: &str) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).env(TASK, task);
    let output = command.output().map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The line that is searched for looks like `==1234== Collected : 123456`.
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.and_then(|(_, number)| number.trim().parse().ok());
    match collected {
        Some(number) if output.status.success() => Ok(number),
        _ => Err(format!("valgrind ended with {}: {said}", output.status)),
    }
}

/// Does the task of a run under valgrind. The task is the index of a case and a size, or empty for a run that does
/// nothing.
fn count_me(task: &str) {
    if let Some((case, size)) = task.split_once(' ') {
        let case: usize = case.parse().expect("the task begins with an index");
        CASES[case].run(size.parse().expect("the task ends with a size"));
    }
}

const TASK: &str = "HANDCLASP_BENCH_TASK";
const KIB: usize = 1024;
/// Largest accepted ratio of the instructions for twice the size to those for the size.
const MOST: f64 = 2.2;
