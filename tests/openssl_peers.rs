//! Requests to `openssl s_server`, a TLS server that is not rustls: messages that a server may send after the
//! handshake.
//!
//! If openssl is not installed, the tests are skipped and print the reason.
#![cfg(feature = "rustls")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use handclasp::{Certificate, Client, Error, ErrorKind, Response, Written};
use support::tls::Authority;
use support::{until, within};

/// A server of openssl. What is written to its input is sent to the client, except for lines that begin with a letter
/// of a command.
struct OpenSsl {
    child: Child,
    port: u16,
    said: Arc<Mutex<String>>,
    root: Certificate,
    dir: PathBuf,
}

impl OpenSsl {
    /// Starts the server and waits until it accepts. Returns `None` and prints the reason if there is no openssl.
    async fn start(name: &str, version: &str) -> Option<Self> {
        let ours = Authority::new("ours");
        let issued = ours.issue(&["localhost", "127.0.0.1"]);
        let dir =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("openssl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let identity = dir.join("identity.pem");
        std::fs::write(&identity, issued.identity()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            version,
            "-crlf",
            "-msg",
            "-cert",
        ]);
        command.arg(&identity).arg("-key").arg(&identity);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: openssl is not installed ({error})");
                return None;
            }
        };
        let (said, out) = (Arc::<Mutex<String>>::default(), child.stdout.take().unwrap());
        let noted = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                *noted.lock().unwrap() += &(line + "\n");
            }
        });
        let root = Certificate::from_pem(ours.pem()).unwrap();
        let this = Self { child, port, said, root, dir };
        this.until_said("ACCEPT").await;
        Some(this)
    }

    async fn until_said(&self, text: &'static str) {
        until(text, || self.said.lock().unwrap().contains(text)).await;
    }

    fn say(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Gives a command, and waits until the server has said the answer `count` times. openssl takes only the first
    /// letter of what it reads at once for a command.
    async fn command(&mut self, letter: &str, answer: &'static str, count: usize) {
        self.say(letter);
        until(answer, || self.said.lock().unwrap().matches(answer).count() >= count).await;
    }

    /// Sends a request, and returns once the server has its head.
    async fn ask(&self) -> tokio::task::JoinHandle<Result<Response, Error>> {
        support::order::check_all();
        let client = Client::builder().tls_certs_only([self.root.clone()]).build().unwrap();
        let request = client.get(format!("https://127.0.0.1:{}/asked", self.port)).send();
        let asked = tokio::spawn(request);
        self.until_said("GET /asked").await;
        asked
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn a_52_key_updates_of_a_server_change_nothing_of_the_response() {
    let Some(mut server) = OpenSsl::start("keys", "-tls1_3").await else { return };
    let asked = server.ask().await;
    // `k` sends a key update, and `K` sends one that asks for another one.
    for nth in 1..=20 {
        server.command(if nth % 2 == 0 { "k\n" } else { "K\n" }, ", KeyUpdate", nth).await;
    }
    server.say("HTTP/1.1 200 OK\ncontent-length: 11\n\nhello\n");
    let mut response = within(20, asked).await.unwrap().unwrap();
    assert_eq!(response.connection().tls().unwrap().version().to_string(), "1.3");
    assert_eq!(within(20, response.chunk()).await.unwrap().unwrap(), "hello\r\n");
    server.command("K\n", ", KeyUpdate", 21).await;
    server.say("12\n");
    assert_eq!(within(20, response.chunk()).await.unwrap().unwrap(), "12\r\n");
}

#[tokio::test]
async fn a_52_a_renegotiation_is_refused_and_never_hangs() {
    let Some(mut server) = OpenSsl::start("again", "-tls1_2").await else { return };
    let asked = server.ask().await;
    server.say("r\n");
    let error = within(20, asked).await.unwrap().unwrap_err();
    println!("{}", error.chain());
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Tls | ErrorKind::Protocol),
        "A-52: {error:?}"
    );
    assert_eq!(error.request_written(), Written::All, "A-52: {error:?}");
}

/// A body that ends with the connection, without a close alert, is not taken for whole.
#[tokio::test]
async fn a_51_a_server_that_dies_truncates_a_body_without_a_length() {
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(mut server) = OpenSsl::start(&format!("dies{version}"), version).await else { return };
        let asked = server.ask().await;
        server.say("HTTP/1.1 200 OK\n\nhello\n");
        let mut response = within(20, asked).await.unwrap().unwrap();
        assert_eq!(within(20, response.chunk()).await.unwrap().unwrap(), "hello\r\n");
        server.child.kill().unwrap();
        let error = within(20, response.chunk()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "A-51 {version}: {}", error.chain());
    }
}
