//! Requests of a process that has no free file descriptor: the pool does not count the shortage as a failure of the
//! host.
//!
//! The test starts its own program again as a second process with a low limit, because the limit holds for a whole
//! process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;
#[path = "support/plain.rs"]
mod plain;

use std::fs::File;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::{Client, ErrorKind, Transport};
use plain::Plain;
use tokio::net::TcpStream;

/// Environment variable that tells the second process which URL to fetch.
const CHILD: &str = "HANDCLASP_FEW_DESCRIPTORS";

/// Codes of errors that say nothing about the host: ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH,
/// ENOBUFS.
const SHORTAGES: [i32; 7] = [12, 23, 24, 99, 100, 101, 105];

#[test]
fn when_descriptors_are_free_again_every_request_is_dialed() {
    if let Ok(url) = std::env::var(CHILD) {
        return with_few_descriptors(&url);
    }
    let server = Plain::start();
    let name = "when_descriptors_are_free_again_every_request_is_dialed";
    let script = r#"ulimit -n 64 && exec "$0" --exact "$1" --nocapture"#;
    let itself = std::env::current_exe().unwrap();
    let mut child = Command::new("sh");
    let child = child.arg("-c").arg(script).arg(itself).arg(name).env(CHILD, server.url("/"));
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("4 of 4 answered"), "{told}");
}

/// Fetches `url` in the second process: first without a free descriptor, and then with free descriptors. The server
/// runs in the first process, which has no low limit.
fn with_few_descriptors(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::builder().failing_host_backoff(Duration::from_secs(30)).build().unwrap();
        let mut taken = Vec::new();
        let error = loop {
            match File::open("/dev/null") {
                Ok(file) => taken.push(file),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(24));
        for _ in 0..4 {
            let error = client.get(url).send().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.is_not_attempted()),
                (ErrorKind::Connect, false),
                "{}",
                error.chain()
            );
        }
        drop(taken);
        let mut answered = 0;
        for _ in 0..4 {
            let response = client.get(url).send().await;
            let response = response.unwrap_or_else(|error| panic!("{}", error.chain()));
            response.bytes().await.unwrap();
            answered += 1;
        }
        println!("{answered} of 4 answered");
    });
}

/// The connector fails with each of the errors, bare and wrapped in another error. Each failure ends one request, and
/// the next request is dialed at once.
#[tokio::test]
async fn a_shortage_of_this_process_fails_one_request_and_is_forgotten() {
    for code in SHORTAGES {
        let (server, dials) = (Plain::start(), Arc::new(AtomicUsize::new(0)));
        let (counted, address) = (dials.clone(), server.address);
        let connect = move |_| {
            let dial = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let error = io::Error::from_raw_os_error(code);
                match dial {
                    0 => Err(error.into()),
                    1 | 2 => Err(io::Error::other(error).into()),
                    _ => Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Transport>),
                }
            }
        };
        let client = Client::builder().connector(connect).failing_host_backoff(Duration::from_secs(30));
        let client = client.build().unwrap();
        for _ in 0..3 {
            let error = client.get("http://h.test/").send().await.unwrap_err();
            assert_eq!((error.kind(), error.is_not_attempted()), (ErrorKind::Connect, false), "{code}");
        }
        client.get("http://h.test/").send().await.unwrap().bytes().await.unwrap();
        assert_eq!(dials.load(Ordering::SeqCst), 4, "each request was dialed");
    }
}
