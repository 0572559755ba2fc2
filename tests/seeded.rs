//! Runs the bodies of the fuzz targets with random inputs from fixed seeds, and with the stored inputs of
//! `tests/data/fuzz`.
//!
//! A failure prints its seed: `SEED=n cargo test --test seeded` repeats the input of that seed alone. With
//! `HANDCLASP_LONG`, each test runs fifty times as many inputs. libFuzzer runs the same bodies: see `.ci/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "this test uses only the wires of the cases")]
#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/fuzzing/mod.rs"]
mod fuzzing;

use std::path::Path;

use conformance::Case;
use fuzzing::random::Rng;

#[test]
fn random_response_heads_break_nothing() {
    run("response_head", fuzzing::response_head, |rng| {
        let mut input = prefix(rng, 3);
        input.extend(wire(rng));
        input
    });
}

#[test]
fn random_chunked_bodies_break_nothing() {
    run("chunked", fuzzing::chunked, |rng| {
        let mut input = prefix(rng, 3);
        let mut wire = chunks(rng);
        mutate(rng, &mut wire);
        input.extend(wire);
        input
    });
}

#[test]
fn random_exchanges_break_nothing() {
    run("exchange", fuzzing::exchange, |rng| {
        let mut input = prefix(rng, 5);
        let operations = rng.below(12);
        input.push(operations as u8);
        input.extend((0..operations).map(|_| rng.draw() as u8));
        input.extend(wire(rng));
        input
    });
}

#[test]
fn random_request_heads_break_nothing() {
    run("request_head", fuzzing::request_head, |rng| {
        let counted = |rng: &mut Rng| {
            let text = soup(rng, &TARGETS, 3);
            let mut counted = vec![text.len() as u8];
            counted.extend(text);
            counted
        };
        let is_own = rng.below(8) == 0;
        let mut input = vec![if is_own { 255 } else { 0 }];
        input.extend(if is_own { counted(rng) } else { vec![rng.draw() as u8] });
        input.push(rng.draw() as u8);
        input.extend(counted(rng));
        input.push(rng.draw() as u8);
        if input.last() > Some(&200) {
            input.extend(counted(rng));
        }
        input.push(rng.draw() as u8);
        fields(rng, &mut input);
        input.push(rng.draw() as u8);
        fields(rng, &mut input);
        input
    });
}

/// The stored inputs are inputs that broke something once, and a few inputs that never did.
#[test]
fn stored_inputs_break_nothing() {
    for (target, body) in TARGET_BODIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            body(&std::fs::read(path).unwrap());
            count += 1;
        }
        assert!(count >= 3, "{target} has {count} inputs");
    }
}

type Body = fn(&[u8]);

const TARGET_BODIES: [(&str, Body); 4] = [
    ("response_head", fuzzing::response_head),
    ("chunked", fuzzing::chunked),
    ("exchange", fuzzing::exchange),
    ("request_head", fuzzing::request_head),
];

/// Runs a body with many inputs. Each input is made from a seed of its own.
fn run(target: &str, body: Body, make: impl Fn(&mut Rng) -> Vec<u8>) {
    let own = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("SEED is a number"));
    let is_long = std::env::var_os("HANDCLASP_LONG").is_some();
    let count = if is_long { 50 * INPUTS } else { INPUTS };
    for seed in own.map_or(0..count, |seed| seed..seed + 1) {
        let mut case = Running { target, seed, input: Vec::new() };
        case.input = make(&mut Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        body(&case.input);
    }
}

const INPUTS: u64 = 20_000;

/// The input of a body. The drop prints the input if the body panics.
struct Running<'a> {
    target: &'a str,
    seed: u64,
    input: Vec<u8>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "SEED={} is input {:?} of {}",
                self.seed,
                self.input.escape_ascii().to_string(),
                self.target
            );
        }
    }
}

// ------------------------------------------------------------------------------------------------ the generator

/// Returns random choices, which stand before the wire in an input. In half of the inputs the first choice selects
/// the default limits.
fn prefix(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut prefix: Vec<u8> = (0..length).map(|_| rng.draw() as u8).collect();
    if rng.below(2) == 0 {
        prefix[0] = 0;
    }
    prefix
}

/// Appends choices of field names and values to the input. Most names are known ones, and most inputs have few
/// fields.
fn fields(rng: &mut Rng, input: &mut Vec<u8>) {
    let count = [0, 1, 1, 2, 3, 6][rng.below(6) as usize];
    input.push(count);
    for _ in 0..count {
        let is_own = rng.below(8) == 0;
        if is_own {
            input.extend([202, b'x', b'-', rng.draw() as u8 | 0x40]);
        } else {
            input.push(rng.below(200) as u8);
        }
        if rng.below(8) == 0 {
            let value = soup(rng, &WORDS, 2);
            input.push(128 + value.len() as u8);
            input.extend(value);
        } else {
            input.push(rng.below(128) as u8);
        }
    }
}

/// Returns bytes that a server may send: a wire of a conformance case, a response by the grammar, words of the
/// grammar in random order, or random bytes.
fn wire(rng: &mut Rng) -> Vec<u8> {
    let mut wire = match rng.below(8) {
        0..=2 => rng.pick(wires()).clone(),
        3..=5 => response(rng),
        6 => soup(rng, &WORDS, 12),
        _ => (0..rng.below(40)).map(|_| rng.draw() as u8).collect(),
    };
    mutate(rng, &mut wire);
    wire
}

/// Returns the wires of the conformance cases that are at most 400 bytes long.
fn wires() -> &'static [Vec<u8>] {
    static WIRES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    WIRES.get_or_init(|| {
        let wires = Case::all().iter().map(|case| case.wire.clone());
        let wires: Vec<_> = wires.filter(|wire| wire.len() <= 400).collect();
        assert!(wires.len() > 400);
        wires
    })
}

/// Returns a response: interim heads, a final head, and a body that mostly has the announced length.
fn response(rng: &mut Rng) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..[0, 0, 0, 1, 3][rng.below(5) as usize] {
        wire.extend(*rng.pick(&[
            &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            b"HTTP/1.0 102\n\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/1\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: Other,, ECHO/1\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other/2\r\nUpgrade: HTTP/1.1\r\n\r\n",
        ]));
    }
    let status =
        rng.pick(&["200 OK", "200", "204 No Content", "304 Not Modified", "404 Not Found", "999 \u{e9}"]);
    wire.extend(format!("HTTP/1.{} {status}\r\n", rng.pick(&["1", "1", "1", "0", "2"])).as_bytes());
    for _ in 0..rng.below(4) {
        wire.extend(*rng.pick(&FIELDS));
    }
    let mut body = match rng.below(4) {
        0 => soup(rng, &WORDS, 3),
        1 => {
            wire.extend(b"transfer-encoding: chunked\r\n");
            chunks(rng)
        }
        _ => {
            let body = soup(rng, &WORDS, 3);
            wire.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            body
        }
    };
    wire.extend(b"\r\n");
    wire.append(&mut body);
    wire
}

/// Returns a chunked body, in some cases with extensions and trailers.
fn chunks(rng: &mut Rng) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..rng.below(5) {
        let data = soup(rng, &WORDS, 2);
        let extension = rng.pick(&[
            "",
            "",
            "",
            ";a",
            " ;a=b",
            ";a=\"b;c\\\"\"",
            "\t;;a= b ",
            ";",
            ";=;b",
            ";a=\u{e9}",
            " ",
        ]);
        let zeros = "0".repeat([0, 0, 0, 3, 14, 15][rng.below(6) as usize]);
        if !data.is_empty() {
            let size = format!("{zeros}{:x}", data.len());
            wire.extend(if rng.below(2) == 0 { size } else { size.to_uppercase() }.as_bytes());
            wire.extend(format!("{extension}\r\n").as_bytes());
            wire.extend(data);
            wire.extend(b"\r\n");
        }
    }
    wire.extend(*rng.pick(&[&b"0\r\n"[..], b"0\r\n", b"000;x\r\n", b""]));
    for _ in 0..[0, 0, 1, 4][rng.below(4) as usize] {
        wire.extend(*rng.pick(&FIELDS));
    }
    wire.extend(*rng.pick(&[&b"\r\n"[..], b"\r\n", b"\r\nHTTP/1.1 200 OK\r\n\r\n", b""]));
    wire
}

fn soup(rng: &mut Rng, words: &[&str], most: u64) -> Vec<u8> {
    (0..rng.below(most + 1)).flat_map(|_| rng.pick(words).bytes()).collect()
}

/// Makes up to three small changes to the wire, or none.
fn mutate(rng: &mut Rng, wire: &mut Vec<u8>) {
    for _ in 0..[0, 0, 1, 1, 3][rng.below(5) as usize] {
        let at = rng.below(wire.len() as u64 + 1) as usize;
        let end = wire.len().min(at + rng.below(9) as usize);
        match rng.below(6) {
            0 => wire.truncate(at),
            1 => drop(wire.drain(at..end)),
            2 => {
                let again = wire[at..end].to_vec();
                wire.splice(at..at, again);
            }
            3 => {
                let word = soup(rng, &WORDS, 1);
                wire.splice(at..at, word);
            }
            _ if at < wire.len() => {
                wire[at] = match rng.below(3) {
                    0 => rng.draw() as u8,
                    1 => *rng.pick(b"\r\n\t :;,\0\x7f\xff0a"),
                    _ => wire[at] ^ 1 << rng.below(8),
                }
            }
            _ => {}
        }
    }
}

const FIELDS: [&[u8]; 23] = [
    b"X-A: b\r\n",
    b"x-a:c\r\n",
    b"X-B: \t d \r\n",
    b"X-C:\r\n",
    b"X-D: e\r\n f\r\n",
    b"X-E: e\n",
    b"X-F: \xff\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"connection: Keep-Alive, TE\r\n",
    b"Connection:\r\n\tclose\r\n",
    b"Keep-Alive: timeout=5, max=100\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 05\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b"Trailer: X-A\r\n",
];

const WORDS: [&str; 30] = [
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "200 OK",
    "100",
    "304",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    ";",
    "a",
    "hello",
    "X-A: b\r\n",
    "Content-Length: ",
    "Transfer-Encoding: ",
    "Connection: ",
    "chunked",
    "close",
    "5",
    "0",
    "ffffffffffffffff",
    "18446744073709551616",
    "\u{e9}",
];

const TARGETS: [&str; 24] = [
    "/",
    "/",
    "/a",
    "?q",
    "#f",
    "*",
    "a",
    "GET",
    "h.test",
    ":",
    ":80",
    "@",
    "[::1]",
    "http://",
    "https://h.test/",
    " ",
    "\r\n",
    "\0",
    "%20",
    "\u{e9}",
    "\"",
    "\\",
    "{x}",
    "\x7f",
];
