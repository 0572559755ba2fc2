//! Tests that play every transcript in `tests/transcripts/` through the codec alone, through a client in memory, and through
//! a client over loopback. The server's bytes come whole, one at a time, and in random pieces.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use crate::support::transcript::{Transcript, play_codec, play_memory, play_tcp};
use crate::support::{Split, within};

/// Ways to cut the server's bytes. The seeds are fixed, so that a failure can be repeated.
const SPLITS: [Split; 6] =
    [Split::Whole, Split::Bytes, Split::Seeded(1), Split::Seeded(2), Split::Seeded(3), Split::Seeded(4)];

/// Returns the `SPLITS` with which the transcript can be played.
fn splits(transcript: &Transcript) -> impl Iterator<Item = Split> {
    let is_whole = transcript.is_whole;
    SPLITS.into_iter().filter(move |split| !is_whole || matches!(split, Split::Whole))
}

fn transcripts() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    paths.sort();
    assert!(paths.len() >= 40, "{} transcripts", paths.len());
    paths.iter().map(|path| Transcript::read(path).unwrap_or_else(|mistake| panic!("{mistake}"))).collect()
}

/// Fails if there are failures, and prints all of them with file and line.
#[track_caller]
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_transcript_holds_through_the_codec() {
    let mut failures = Vec::new();
    for transcript in transcripts().iter().filter(|transcript| !transcript.waits()) {
        for split in splits(transcript) {
            failures.extend(play_codec(transcript, split).err().map(|what| format!("{what} ({split:?})")));
        }
    }
    report(&failures);
}

#[tokio::test(start_paused = true)]
async fn every_transcript_holds_through_a_client_in_memory() {
    let mut failures = Vec::new();
    for transcript in &transcripts() {
        for split in splits(transcript) {
            let played = play_memory(transcript, split).await;
            failures.extend(played.err().map(|what| format!("{what} ({split:?})")));
        }
    }
    report(&failures);
}

#[tokio::test]
async fn every_transcript_holds_through_a_client_over_loopback() {
    let mut failures = Vec::new();
    for transcript in transcripts().iter().filter(|transcript| !transcript.waits()) {
        for split in splits(transcript) {
            let played = within(60, play_tcp(transcript, split)).await;
            failures.extend(played.err().map(|what| format!("{what} ({split:?})")));
        }
    }
    report(&failures);
}
