//! Tests of decoders with valid content at every split, and with damaged content.

#![cfg(all(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd"))]

#[path = "encoder_tests.rs"]
mod encoder;

use std::fmt;

use super::Coding::{Brotli, Deflate, Gzip, Zstd};
use super::*;

const CODINGS: [Coding; 4] = [Gzip, Deflate, Brotli, Zstd];

fn encode(coding: Coding, plain: &[u8]) -> Vec<u8> {
    encoder::encode(coding.name(), plain)
}

/// Returns bytes that look random.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The end of content that was fed to a chain.
#[derive(Debug, PartialEq)]
enum Outcome {
    Whole,
    Failed(String),
}

/// Feeds pieces of `split` bytes to a chain whose stages return pieces of `size` bytes.
fn decode(codings: &[Coding], coded: &[u8], split: usize, size: usize) -> (Vec<u8>, Outcome) {
    let mut chain = Chain { stages: codings.iter().map(|coding| Stage::new(*coding, size)).collect() };
    let (mut out, mut rest) = (Vec::new(), coded);
    let mut wire = Bytes::new();
    let mut is_over = false;
    loop {
        match chain.next(&mut wire, is_over, &mut 1) {
            Ok(Next::Piece(piece)) => {
                assert!(!piece.is_empty() && piece.len() <= size);
                out.extend_from_slice(&piece);
            }
            Ok(Next::Busy) => {}
            Ok(Next::Hungry) => {
                assert!(wire.is_empty() && !is_over);
                let (piece, after) = rest.split_at(rest.len().min(split));
                is_over = piece.is_empty();
                (wire, rest) = (Bytes::copy_from_slice(piece), after);
            }
            Ok(Next::End) => return (out, Outcome::Whole),
            Err(failure) => return (out, Outcome::Failed(failure.to_string())),
        }
    }
}

#[track_caller]
fn assert_whole(codings: &[Coding], coded: &[u8], split: usize, size: usize, plain: &[u8]) {
    let (out, outcome) = decode(codings, coded, split, size);
    assert_eq!(outcome, Outcome::Whole, "{codings:?} of {} by {split} and {size}", plain.len());
    assert!(out == plain, "{codings:?} of {} by {split} and {size}", plain.len());
}

#[test]
fn every_coding_is_decoded_whatever_the_splits_and_the_sizes() {
    let text = "one handshake, many requests. ".repeat(40);
    let flat = vec![b'x'; 3000];
    for coding in CODINGS {
        for plain in [&b""[..], b"a", text.as_bytes(), &flat, &noise(700)] {
            let coded = encode(coding, plain);
            for split in [1, 2, 3, 7, 64, usize::MAX] {
                for size in [1, 2, 3, 5, 16, 300, 1200, 3000, 4096] {
                    assert_whole(&[coding], &coded, split, size, plain);
                }
            }
        }
    }
    assert_whole(&[Deflate], &encoder::raw_deflate(&flat), 1, 64, &flat);
    assert_whole(&[Deflate], &encoder::raw_deflate(&noise(9)), 2, 1, &noise(9));
}

#[test]
fn large_content_is_decoded() {
    let mixed = [noise(100_000), vec![0; 1 << 20], noise(70_000)].concat();
    for coding in CODINGS {
        let coded = encode(coding, &mixed);
        for split in [1000, 16 * 1024, usize::MAX] {
            assert_whole(&[coding], &coded, split, PIECE, &mixed);
        }
    }
    assert_whole(&[Zstd], &encoder::zstd(19, &mixed), 1000, PIECE, &mixed);
}

#[test]
fn several_codings_are_removed_one_after_the_other() {
    let plain = "stacked ".repeat(500).into_bytes();
    let (mut coded, mut codings) = (plain.clone(), Vec::new());
    for coding in CODINGS {
        coded = encode(coding, &coded);
        codings.insert(0, coding);
    }
    for split in [1, 5, usize::MAX] {
        for size in [1, 7, 64, PIECE] {
            assert_whole(&codings, &coded, split, size, &plain);
        }
    }
}

#[test]
fn several_members_and_frames_are_one_content() {
    for coding in [Gzip, Zstd] {
        let members = [&b"one "[..], b"", b"two"].map(|plain| encode(coding, plain)).concat();
        for split in [1, 3, usize::MAX] {
            assert_whole(&[coding], &members, split, 4, b"one two");
        }
    }
    assert_eq!(decode(&[Gzip], &encode(Gzip, b"").repeat(9), 7, 4).1, Outcome::Whole, "R-1952-2-1");
    // The content begins with a skippable frame: RFC 8878, section 3.1.2.
    let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &encode(Zstd, b"x"), b"\x5f\x2a\x4d\x18\0\0\0\0"];
    assert_whole(&[Zstd], &skipped.concat(), 1, 4, b"x");
}

#[test]
fn a_truncated_stream_is_an_error_and_no_byte_is_an_empty_content() {
    let plain = [noise(300), vec![b'x'; 3000]].concat();
    for coding in CODINGS {
        let coded = encode(coding, &plain);
        for length in 1..coded.len() {
            for size in [100, PIECE] {
                let (out, outcome) = decode(&[coding], &coded[..length], 50, size);
                assert_eq!(outcome, Outcome::Failed(Failure::Truncated(coding).to_string()), "{length}");
                assert!(plain.starts_with(&out), "{coding:?} {length}");
            }
        }
        assert_whole(&[coding], b"", 1, 1, b"");
        assert_whole(&[coding, Gzip], b"", 1, 1, b"");
    }
    // An incomplete second member is an error, and is not dropped.
    let (one, two) = (encode(Gzip, b"one"), encode(Gzip, b"two"));
    for length in 1..two.len() {
        let (out, outcome) = decode(&[Gzip], &[&one, &two[..length]].concat(), 1000, 1000);
        assert_eq!(outcome, Outcome::Failed(Failure::Truncated(Gzip).to_string()));
        assert!(out.starts_with(b"one"));
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for coding in CODINGS {
        for surplus in [&b"\0"[..], b"GARBAGE", b"\0\0\0\0\0\0\0\0"] {
            let coded = [&encode(coding, b"content"), surplus].concat();
            for split in [1, usize::MAX] {
                for size in [1, 7, 100] {
                    let (out, outcome) = decode(&[coding], &coded, split, size);
                    assert_eq!(outcome, Outcome::Failed(Failure::Surplus(coding).to_string()));
                    assert_eq!(out, b"content");
                }
            }
        }
    }
}

#[test]
fn damaged_content_never_panics_and_checksums_are_checked() {
    let plain = "checked ".repeat(20).into_bytes();
    for coding in CODINGS {
        let coded = encode(coding, &plain);
        for at in 0..coded.len() {
            for bit in 0..8 {
                let mut damaged = coded.clone();
                damaged[at] ^= 1 << bit;
                let (out, outcome) = decode(&[coding], &damaged, 1000, 64);
                let is_checked = matches!(coding, Gzip | Deflate);
                if is_checked && outcome == Outcome::Whole {
                    assert_eq!(out, plain, "R-1952-2-1: {coding:?}: bit {bit} of byte {at}");
                }
            }
        }
        for length in [1, 2, 20, 4000] {
            let (_, outcome) = decode(&[coding], &noise(length), 64, 64);
            assert!(matches!(outcome, Outcome::Failed(_)), "{coding:?} {length}");
        }
    }
}

#[test]
fn a_10_windows_are_bounded() {
    // Brotli's extension for large windows: 7 bits 0010001, then a reserved bit and the size.
    assert_eq!(
        decode(&[Brotli], b"\x11\x1e\x03", 1, 8),
        (Vec::new(), Outcome::Failed(Failure::LargeWindow.to_string())),
        "A-10"
    );
    // A frame that asks for a window of 2 GiB is an error: RFC 8878, section 3.1.1.1.2. A window of 8 MiB is accepted.
    for (window, is_accepted) in [(21_u8 << 3, false), (14 << 3, false), (13 << 3, true)] {
        let frame = [&b"\x28\xb5\x2f\xfd\0"[..], &[window], b"\x29\0\0hello"].concat();
        let (out, outcome) = decode(&[Zstd], &frame, 100, 100);
        assert_eq!((outcome == Outcome::Whole, &out[..] == b"hello"), (is_accepted, is_accepted), "A-10");
    }
}

/// A decoder may return its last piece only after the end of its input.
#[test]
fn a_piece_of_the_last_step_is_returned_before_the_end() {
    for stages in [1, 2] {
        let mut chain = Chain::new(&CODINGS[..stages]);
        for stage in &mut chain.stages {
            stage.is_done = true;
        }
        let last = chain.stages.last_mut().unwrap();
        last.piece[..4].copy_from_slice(b"last");
        last.to = 4;
        let mut next = || chain.next(&mut Bytes::new(), true, &mut 1).unwrap();
        assert_eq!(next(), Next::Piece(Bytes::from_static(b"last")));
        assert_eq!((next(), next()), (Next::End, Next::End));
    }
}

/// A chain returns after a bounded number of steps, even if its input never becomes output.
#[test]
fn a_10_empty_members_without_end_do_not_hold_the_thread() {
    let members = encode(Gzip, &encode(Gzip, b"").repeat(50_000));
    let mut chain = Chain::new(&[Gzip, Gzip]);
    let mut wire = Bytes::from(members);
    let (mut busy, mut steps) = (0, 4);
    while chain.next(&mut wire, true, &mut steps).unwrap() == Next::Busy {
        (busy, steps) = (busy + 1, 4);
    }
    assert!(busy > 10, "CE-03 A-10: 1 MB of empty members in {busy} turns");
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain of {}", self.stages.len())
    }
}
