//! Tests of the dialog over streams in memory.

use tokio::io::{DuplexStream, duplex};

use std::time::Duration;

use super::*;
use crate::time;

const LONG: Duration = Duration::from_secs(3_600);

/// Pairs of a request of the client and the answer of the proxy.
type Script = &'static [(&'static [u8], &'static [u8])];

const CONNECT: Script = &[(
    b"CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\nproxy-authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
    b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n",
)];
const SOCKS5: Script = &[
    (b"\x05\x02\x00\x02", b"\x05\x02"),
    (b"\x01\x04user\x06secret", b"\x01\x00"),
    (
        b"\x05\x01\x00\x03\x06a.test\x01\xbb",
        b"\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1f\x90",
    ),
];
const SOCKS4A: Script =
    &[(b"\x04\x01\x01\xbb\x00\x00\x00\x01user\x00a.test\x00", b"\x00\x5a\x00\x00\x00\x00\x00\x00")];
const ALL: [(&str, Script); 3] = [
    ("http://user:secret@p.test:3128", CONNECT),
    ("socks5h://user:secret@p.test", SOCKS5),
    ("socks4a://user@p.test", SOCKS4A),
];

/// Asks a proxy for a.test:443. `play` is the proxy.
async fn ask<F>(
    url: &str,
    size: usize,
    play: impl FnOnce(DuplexStream) -> F,
) -> (Result<(), DialError>, DuplexStream)
where
    F: Future<Output = ()>,
{
    let proxy = ProxyServer::parse(url).unwrap();
    let (mut client, server) = duplex(size);
    let to = Asked::of("a.test", 443);
    let client = async {
        let asked = through(&proxy, &mut client, to, None, Limit::of_dial(time::now(), LONG)).await;
        let asked = asked.map_err(|failed| failed.error);
        (asked, client)
    };
    tokio::join!(client, play(server)).0
}

async fn expect(server: &mut DuplexStream, request: &[u8]) {
    let mut got = vec![0; request.len()];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(got, request);
}

/// Plays a script. Each answer is cut after `cut` bytes, and the second part is sent later.
async fn play(server: &mut DuplexStream, script: Script, cut: usize) {
    for (request, answer) in script {
        expect(server, request).await;
        let (first, second) = answer.split_at(cut.min(answer.len()));
        server.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        server.write_all(second).await.unwrap();
    }
}

/// After `through` has returned, the client says `ping` and the destination answers `pong`.
#[tokio::test]
async fn a_connection_opens_wherever_the_answers_are_cut_and_loses_no_byte() {
    for (url, script) in ALL {
        let longest = script.iter().map(|(_, answer)| answer.len()).max().unwrap();
        // A stream with room for one byte splits every message after each byte.
        for (cut, size) in (0..=longest).map(|cut| (cut, 4_096)).chain([(0, 1), (0, 2), (0, 3)]) {
            let (done, mut is_done) = tokio::sync::oneshot::channel();
            let destination = async |mut server: DuplexStream| {
                play(&mut server, script, cut).await;
                expect(&mut server, b"ping").await;
                server.write_all(b"pong").await.unwrap();
                done.send(()).unwrap();
            };
            let proxy = ProxyServer::parse(url).unwrap();
            let (mut client, server) = duplex(size);
            let client = async {
                let limit = Limit::of_dial(time::now(), LONG);
                let asked = through(&proxy, &mut client, Asked::of("a.test", 443), None, limit).await;
                asked.unwrap_or_else(|error| panic!("{url} cut at {cut}: {error:?}"));
                client.write_all(b"ping").await.unwrap();
                let mut pong = [0; 4];
                client.read_exact(&mut pong).await.unwrap();
                assert_eq!(&pong, b"pong", "{url} cut at {cut}");
            };
            tokio::join!(client, destination(server));
            is_done.try_recv().unwrap();
        }
    }
}

#[tokio::test]
async fn a_proxy_that_closes_at_any_byte_is_an_error_without_secrets() {
    for (url, script) in ALL {
        for turn in 0..script.len() {
            for cut in 0..script[turn].1.len() {
                let (asked, _client) = ask(url, 4_096, async |mut server| {
                    play(&mut server, &script[..turn], 1).await;
                    expect(&mut server, script[turn].0).await;
                    server.write_all(&script[turn].1[..cut]).await.unwrap();
                })
                .await;
                let error = asked.unwrap_err();
                assert_eq!(
                    (error.kind(), error.phase()),
                    (ErrorKind::Proxy, Phase::Proxy),
                    "{url} {turn} {cut}"
                );
                assert!(error.message().contains("closed the connection"), "{url} {turn} {cut}: {error}");
                let shown = format!("{error:?} {:?}", error.clone().into_error());
                assert!(!shown.contains("secret") && !shown.contains("dXNl"), "A-60 {shown}");
            }
        }
    }
}

#[tokio::test]
async fn early_bytes_after_the_answer_are_an_error() {
    for (url, script) in ALL {
        let (asked, _client) = ask(url, 4_096, async |mut server| {
            let (last, before) = script.split_last().unwrap();
            play(&mut server, before, 9).await;
            expect(&mut server, last.0).await;
            let answer = [last.1, b"HTTP/1.1 200 OK\r\n\r\n"].concat();
            server.write_all(&answer).await.unwrap();
        })
        .await;
        let error = asked.unwrap_err();
        assert_eq!((error.kind(), error.concerns_host()), (ErrorKind::Proxy, false), "A-56 {url}");
        assert!(error.message().contains("sent bytes after its answer"), "A-56 {url}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialog_with_a_silent_proxy_ends_at_the_deadline() {
    for (url, script) in ALL {
        for turn in 0..script.len() {
            let (asked, _client) = ask(url, 4_096, async |mut server| {
                play(&mut server, &script[..turn], 1).await;
                expect(&mut server, script[turn].0).await;
                tokio::time::sleep(2 * LONG).await;
            })
            .await;
            let error = asked.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Timeout, Phase::Proxy),
                "A-62 {url} {turn}"
            );
            let start = url.split_once("://").unwrap().0;
            assert!(error.message().starts_with(&format!("the proxy {start}://p.test:")), "{error}");
            assert!(
                error.message().contains("3600s") && error.message().contains("connect_timeout"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_proxy_the_reason_and_the_cause() {
    for (url, answers, text, is_of_host) in [
        (
            "http://p.test:1",
            &[&b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=x\r\n\r\n"[..]][..],
            "the proxy http://p.test:1 requires credentials (407): set a user and a password with Proxy::basic_auth; \
             the proxy accepts Basic",
            true,
        ),
        (
            "http://p.test:1",
            &[b"HTTP/1.1 403 Forbidden\r\n\r\n"],
            "the proxy http://p.test:1 answered CONNECT with 403 Forbidden and opened no tunnel",
            true,
        ),
        (
            "http://p.test:1",
            &[b"HTTP/1.1 503 Busy\r\n\r\n"],
            "the proxy http://p.test:1 answered CONNECT with 503 Service Unavailable and opened no tunnel",
            false,
        ),
        (
            "http://p.test:1",
            &[b"HTTP/1.1 429 Slow down\r\n\r\n"],
            "the proxy http://p.test:1 answered CONNECT with 429 Too Many Requests and opened no tunnel",
            false,
        ),
        (
            "http://p.test:1",
            &[b"HTTP/1.1 408 Slow\r\n\r\n"],
            "the proxy http://p.test:1 answered CONNECT with 408 Request Timeout and opened no tunnel",
            false,
        ),
        (
            "http://p.test:1",
            &[b"\x05\x00 not HTTP"],
            "the proxy http://p.test:1 sent no valid answer to CONNECT: check the URL and the scheme of the proxy: \
             the server sent bytes that are not an HTTP/1 response (RFC 9112, section 2.1)",
            true,
        ),
        (
            "socks5h://p.test:1",
            &[b"\x05\x00", b"\x05\x05\x00\x01"],
            "the proxy socks5h://p.test:1 made no connection: the host refused the connection (SOCKS reply 5)",
            true,
        ),
        (
            "socks4a://p.test:1",
            &[b"\x00\x5b"],
            "the proxy socks4a://p.test:1 made no connection: the proxy rejected the request, or the request failed \
             (SOCKS reply 91)",
            true,
        ),
    ] {
        let (asked, _client) = ask(url, 4_096, async |mut server| {
            for answer in answers {
                let mut request = [0; 512];
                assert_ne!(server.read(&mut request).await.unwrap(), 0);
                server.write_all(answer).await.unwrap();
            }
        })
        .await;
        let error = asked.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Phase::Proxy), "{url}");
        assert_eq!(error.concerns_host(), is_of_host, "{text}");
        assert_eq!(error.into_error().chain().to_string(), text);
    }
}

/// The longest name that the proxy can be asked for is sent whole, and a longer name sends nothing.
#[tokio::test]
async fn a_62_a_name_that_is_too_long_sends_nothing() {
    for (url, is_sent) in [("socks5h://p.test", false), ("socks4a://p.test", false), ("http://p.test", true)]
    {
        let name = "n".repeat(256);
        let proxy = ProxyServer::parse(url).unwrap();
        let (mut client, mut server) = duplex(4_096);
        let play = async {
            let mut request = [0; 512];
            let read = server.read(&mut request).await.unwrap();
            drop(server);
            read > 0
        };
        let client = async {
            let limit = Limit::of_dial(time::now(), LONG);
            let asked = through(&proxy, &mut client, Asked::of(&name, 443), None, limit).await;
            drop(client);
            asked.unwrap_err().error
        };
        let (error, was_sent) = tokio::join!(client, play);
        assert_eq!((was_sent, error.kind()), (is_sent, ErrorKind::Proxy), "A-62 {url}: {error}");
    }
}
