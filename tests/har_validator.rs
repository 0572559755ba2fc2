//! The HAR file of some requests, checked by har-validator, an npm program that compares a file with the schemas of the
//! format. The test is skipped with its reason if node or har-validator is missing.
#![cfg(feature = "har")]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use handclasp::Client;
use handclasp::har::HarLog;
use support::{Peer, Server, within};

/// Runs a script of node. Returns its error output if it fails.
fn node(script: &str, input: &str) -> Result<(), String> {
    let child = Command::new("node")
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| format!("node: {error}"))?;
    // A script that does not read its input ends the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Makes the log of a POST, a cookie, a request that fails, and a response that is dropped.
async fn log() -> HarLog {
    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/half" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf")?,
                _ => peer.send("HTTP/1.1 200 OK\r\nset-cookie: a=b; Path=/\r\ncontent-length: 0\r\n\r\n")?,
            }
        }
        Ok(())
    });
    let log = HarLog::new();
    let client = Client::builder().on_exchange(log.recorder()).build().unwrap();
    for path in ["/", "/half"] {
        let request = client.post(server.url(path)).header("cookie", "a=b").body("content");
        drop(within(20, request.send()).await.unwrap());
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    within(20, client.get(format!("http://{closed}/?a=b")).send()).await.unwrap_err();
    assert_eq!(log.len(), 3);
    log
}

#[tokio::test]
async fn har_validator_accepts_the_file() {
    if let Err(error) = node("require('har-validator')", "") {
        let reason = error.lines().find(|line| line.starts_with("Error:") || line.starts_with("node: "));
        println!(
            "skipped: {} (npm install har-validator, and set NODE_PATH)",
            reason.unwrap_or("node failed")
        );
        return;
    }
    let validate = "const file = JSON.parse(require('fs').readFileSync(0, 'utf8')); \
                    require('har-validator').har(file).catch(error => { console.error(error.errors); process.exit(1) })";
    let file = log().await.to_json();
    node(validate, &file).unwrap_or_else(|error| panic!("{error}: {file}"));
    // The validator refuses an entry without its times.
    node(validate, &file.replace("\"timings\"", "\"times\"")).unwrap_err();
}
