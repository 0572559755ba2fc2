//! Number of files that a client leaves open. This file has one test only, because it counts the open files of the
//! whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;

use handclasp::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// One client serves a hundred runtimes, one after another, as a static client does in a test suite where each test
/// has its own runtime and its own server.
#[test]
fn runtimes_that_are_gone_hold_no_files() {
    order::check_all();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let client = Client::new();
    let once = || {
        one_thread().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                while stream.read(&mut head).await.unwrap_or(0) > 0 {
                    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(ok).await.unwrap();
                }
            });
            client.get(url).send().await.unwrap().bytes().await.unwrap();
        });
    };
    once();
    let before = count();
    for _ in 0..100 {
        once();
    }
    let after = count();
    assert!(after <= before, "{before} files before, {after} after 100 runtimes");
}
