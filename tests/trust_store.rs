//! Tests of environment variables that a client reads: the path of the platform's trust store, and the file for the
//! secrets of TLS.
//!
//! Each test starts its own program again as a second process with other variables, because the variables apply to a
//! whole process.

#![cfg(all(target_os = "linux", feature = "rustls", feature = "url"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;
#[allow(
    dead_code,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "the kit of other tests"
)]
#[path = "support/tls.rs"]
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;

use handclasp::{Certificate, Client, ErrorKind, Written};

use crate::tls::{Authority, TlsServer};

/// Environment variable that the second process has.
const CHILD: &str = "HANDCLASP_SECOND_PROCESS";

/// Runs the test `name` in a second process with these variables.
fn again(name: &str, variables: &[(&str, &Path)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", name, "--nocapture"]).env(CHILD, "").envs(variables.iter().copied());
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// Creates and returns an empty directory of this process.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

async fn server() -> (TlsServer, Certificate) {
    let authority = Authority::new("ours");
    let server = TlsServer::start(authority.issue(&["server.test"]).server()).await;
    (server, Certificate::from_pem(authority.pem()).unwrap())
}

/// On a system without certificate authorities, clients are built, and http works. Only https without given authorities
/// fails, with an error that names the reason.
#[test]
fn without_a_trust_store_only_the_first_https_request_fails() {
    if !is_child() {
        let empty = directory("no-trust-store");
        let file = empty.join("nothing.pem");
        let variables = [("SSL_CERT_FILE", &*file), ("SSL_CERT_DIR", &*empty)];
        return again("without_a_trust_store_only_the_first_https_request_fails", &variables);
    }
    // No runtime is needed to build a client.
    let client = Client::builder().resolve("server.test", ([127, 0, 0, 1], 0).into()).build().unwrap();
    block_on(async {
        let (server, root) = server().await;
        for _ in 0..2 {
            let error = client.get(server.url("server.test")).send().await.unwrap_err();
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::Tls, Written::Nothing));
            let text = error.to_string();
            if cfg!(feature = "webpki-roots") {
                assert!(text.contains("signed by an unknown authority"), "Mozilla's are trusted: {text}");
            } else {
                assert!(
                    text.contains("no trusted certificate authorities were found on this system"),
                    "{text}"
                );
                assert!(text.contains("feature webpki-roots"), "{text}");
                assert!(server.seen().is_empty());
            }
        }
        let ours = || Client::builder().resolve("server.test", server.address());
        for builder in [ours().add_root_certificate(root.clone()), ours().tls_certs_only([root.clone()])] {
            let response = builder.build().unwrap().get(server.url("server.test")).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "ok");
        }
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", plain.local_addr().unwrap());
        let (sent, accepted) = tokio::join!(client.get(url).send(), async {
            let (mut tcp, _) = plain.accept().await.unwrap();
            tokio::io::AsyncReadExt::read(&mut tcp, &mut [0; 4096]).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            tcp
        });
        assert_eq!(sent.unwrap().status(), 204);
        drop(accepted);
    });
}

/// The file has only the secrets of a client that was told to write its secrets.
#[test]
fn secrets_are_written_to_sslkeylogfile_only_if_asked_for() {
    if !is_child() {
        let file = directory("key-log").join("secrets.txt");
        again("secrets_are_written_to_sslkeylogfile_only_if_asked_for", &[("SSLKEYLOGFILE", &file)]);
        let written = std::fs::read_to_string(&file).unwrap();
        let secrets = written.lines().filter(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")).count();
        assert_eq!(secrets, 1, "{written}");
        return std::fs::remove_file(file).unwrap();
    }
    let file = PathBuf::from(std::env::var_os("SSLKEYLOGFILE").unwrap());
    block_on(async {
        let (server, root) = server().await;
        for (is_asked, is_there) in [(None, false), (Some(false), false), (Some(true), true)] {
            let builder = Client::builder().resolve("server.test", server.address());
            let builder = builder.tls_certs_only([root.clone()]);
            let builder = match is_asked {
                Some(on) => builder.tls_sslkeylogfile(on),
                None => builder,
            };
            let client = builder.build().unwrap();
            let is_early = file.exists();
            client.get(server.url("server.test")).send().await.unwrap();
            assert_eq!((is_early, file.exists()), (false, is_there), "{is_asked:?}");
        }
    });
}
