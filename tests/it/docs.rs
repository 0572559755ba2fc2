//! Tests of statements in the documentation that no other test checks.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use handclasp::{Body, Client};

use crate::support::{Peer, Server, Signal, until, within};

/// Things that a file may know, and for each thing the words by which the code of a file shows that it knows the thing.
const WORDS: &[(&str, &[&str])] = &[
    ("sockets", &["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "SockRef", "socket2"]),
    ("clocks", &["::now(", "sleep_until", "Sleep", "SystemTime", "crate::time"]),
    ("locks", &["Mutex", "RwLock"]),
    ("tokio", &["tokio"]),
    ("HTTP", &["crate::codec", "crate::exchange", "crate::call", "StatusCode", "HeaderMap", "Method"]),
    ("certificates", &["CertificateDer", "RootCertStore", "ServerName", "Verifier"]),
    ("I/O", &["AsyncRead", "AsyncWrite", "poll_read", "poll_write", "TcpStream", "std::fs"]),
    ("DNS", &["hickory", "Query", "RecordType"]),
    ("resolvers", &["crate::resolver", "dyn Resolve"]),
    ("routes", &["RouteRef", "pool::key"]),
    ("the pool's limits", &["PoolConfig", "max_connections", "max_idle"]),
    ("whether a request is sent again", &["resend", "is_idempotent"]),
    ("requests", &["RequestBuilder", "crate::request"]),
    ("the pool", &["crate::pool"]),
];

/// Returns the files of a row's first cell. A name is looked up in the folder of the row's first file, and then in
/// `src`.
fn files(cell: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    let folder = src.join(names[0]).parent().unwrap().to_owned();
    let mut files = Vec::new();
    for name in names {
        let found = [folder.join(name), src.join(name)].into_iter().find(|path| path.exists());
        list(&found.unwrap_or_else(|| panic!("there is no {name}")), &mut files);
    }
    files
}

fn list(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| list(&entry.unwrap().path(), out));
    } else if !path.to_str().unwrap().ends_with("tests.rs") {
        out.push(path.to_owned());
    }
}

/// Returns the lines of a file that are not comments, up to the tests at the end of the file.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the things that `unknown` lists although the code uses them.
fn breaches(unknown: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Text in brackets is an explanation.
    let parts = unknown.split(" (").map(|part| part.split_once(')').map_or(part, |(_, rest)| rest));
    let things: String = parts.collect();
    for thing in things.split(", ") {
        if thing == "the rest of the crate" {
            let others = code.split("crate::").skip(1).filter(|path| !path.starts_with("codec"));
            found.extend(others.map(|path| path.lines().next().unwrap_or_default().to_owned()));
            continue;
        }
        let words = WORDS.iter().find(|(name, _)| *name == thing);
        let (_, words) = words.unwrap_or_else(|| panic!("no word of WORDS finds code that knows {thing:?}"));
        found.extend(words.iter().filter(|word| code.contains(*word)).map(|word| (*word).to_owned()));
    }
    found
}

#[test]
fn what_files_must_not_know_they_do_not_know() {
    let page = include_str!("../../src/manual/internals.md");
    let table = page.split("| file | knows | must not know |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let (mut files_seen, mut lines_seen, mut rows_seen) = (0, 0, 0);
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let &[names, _, unknown] = &*cells else { panic!("{row}") };
        rows_seen += 1;
        for file in files(names) {
            let code = code(&file);
            files_seen += 1;
            lines_seen += code.lines().count();
            assert_eq!(breaches(unknown, &code), [""; 0], "{}: {row}", file.display());
        }
    }
    assert!(
        rows_seen >= 12 && files_seen >= 50 && lines_seen >= 6_000,
        "{rows_seen}, {files_seen}, {lines_seen}"
    );
}

/// `breaches` finds each of the `WORDS`, so that the check of the files can fail because of each word.
#[test]
fn what_a_file_knows_is_found() {
    for (thing, words) in WORDS {
        for word in *words {
            assert!(!breaches(thing, &format!("fn it() {{}}\nuse {word};")).is_empty(), "{thing}: {word}");
        }
        assert!(breaches(thing, "fn it() {}").is_empty(), "{thing}");
    }
    assert_eq!(breaches("clocks (told), locks", "Mutex"), ["Mutex"]);
    assert_eq!(breaches("the rest of the crate", "use crate::codec::Limits; use crate::pool;"), ["pool;"]);
}

/// A stream that is pending until the signal is raised, gives one piece, and ends.
struct Told(Signal, bool);

impl futures_core::Stream for Told {
    type Item = Result<&'static str, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.0.is_raised() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_over = std::mem::replace(&mut self.1, true);
        Poll::Ready((!is_over).then_some(Ok("content")))
    }
}

/// The manual's page on reuse says that a body of any kind is replayable until something was taken from it, even if the
/// head was written.
#[tokio::test]
async fn a_stream_from_which_nothing_was_taken_is_sent_again() {
    let server = Server::start(|peer: &mut Peer| {
        if peer.number() == 0 {
            peer.request()?;
            peer.respond("first")?;
            // The server reads the head of the second request and closes.
            peer.request_head()?;
            return Ok(());
        }
        peer.request()?;
        peer.respond("second")
    });
    let client = Client::new();
    within(20, client.get(server.url("/")).send()).await.unwrap().bytes().await.unwrap();
    let go = Signal::new();
    let put = client.put(server.url("/")).body(Body::from_stream(Told(go.clone(), false)));
    let sending = tokio::spawn(async move { put.send().await.unwrap().text().await.unwrap() });
    until("the second connection is there", || server.connections() == 2).await;
    go.raise();
    assert_eq!(within(20, sending).await.unwrap(), "second");
    assert_eq!(server.seen().last().unwrap().request.body, b"content");
    assert_eq!(server.requests_per_connection(), [2, 1]);
}
