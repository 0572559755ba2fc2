//! Tests of which timeout applies to a request: the timeout that the request sets, otherwise the client's timeout, otherwise
//! the default timeout. The tests with a total timeout check which defaults the total timeout lifts. The clock is paused and
//! the connections are in memory, so that the tests do not wait.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use handclasp::{
    Answer, BoxError, Client, ClientBuilder, Error, ErrorKind, Family, Phase, RequestBuilder, Resolve,
    Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::support::pipe::Pipe;

const URL: &str = "http://a.test/";

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Delays of a server, in seconds.
#[derive(Clone, Copy, Default)]
struct Slow {
    /// Delay until the connection is made.
    connect: u64,
    /// Delay until the server reads more than the first bytes.
    read: u64,
    /// Delay until the server answers.
    answer: u64,
    /// Pause within the content.
    pause: u64,
}

/// Returns a client with these settings, whose connections lead to a server with these delays.
fn client(slow: Slow, settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder().connector(move |_| async move {
        sleep(s(slow.connect)).await;
        let (ours, mut theirs) = Pipe::pair(1024);
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            while matches!(theirs.read(&mut buffer).await, Ok(1..)) {
                sleep(s(slow.read)).await;
                if slow.read > 0 {
                    // The server reads the request until no byte has come for one second.
                    while matches!(tokio::time::timeout(s(1), theirs.read(&mut buffer)).await, Ok(Ok(1..))) {}
                }
                sleep(s(slow.answer)).await;
                let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await;
                sleep(s(slow.pause)).await;
                let _ = theirs.write_all(b"lf").await;
            }
        });
        Ok(ours.boxed())
    });
    settings(builder).build().unwrap()
}

/// Sends a request, reads the content, and returns the result and the number of seconds until the result.
async fn outcome(request: RequestBuilder) -> (Ended, u64) {
    let begun = Instant::now();
    let sent: Result<(), Error> = async {
        let content = request.send().await?.bytes().await?;
        assert_eq!(content, "half");
        Ok(())
    }
    .await;
    (sent.map_err(|error| (error.kind(), error.phase())), begun.elapsed().as_secs())
}

type Build = fn(ClientBuilder) -> ClientBuilder;
type Request = fn(RequestBuilder) -> RequestBuilder;

type Ended = Result<(), (ErrorKind, Option<Phase>)>;
type Row = (&'static str, Slow, Build, Request, Option<Phase>, u64);

/// Checks each row. A row has the delays of the server, the settings of the client and of the request, the phase in which
/// the request times out, or `None` if it succeeds, and the seconds until the request ends.
async fn assert_rows(rows: &[Row]) {
    for &(row, slow, build, request, phase, after) in rows {
        let client = client(slow, build);
        let expected = match phase {
            None => Ok(()),
            Some(phase) => Err((ErrorKind::Timeout, Some(phase))),
        };
        assert_eq!(outcome(request(client.get(URL))).await, (expected, after), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_lifts_the_default_of_the_response() {
    use Phase::Wait;
    let slow = |answer| Slow { answer, ..Slow::default() };
    assert_rows(&[
        ("the default", slow(121), |b| b, |r| r, Some(Wait), 120),
        ("within the default", slow(119), |b| b, |r| r, None, 119),
        ("the client's total", slow(299), |b| b.timeout(s(300)), |r| r, None, 299),
        ("the request's total", slow(299), |b| b, |r| r.timeout(s(300)), None, 299),
        ("the total ends it", slow(301), |b| b.timeout(s(300)), |r| r, Some(Wait), 300),
        ("the request's total ends it", slow(301), |b| b, |r| r.timeout(s(300)), Some(Wait), 300),
        ("a total without an end", slow(9_999), |b| b.timeout(Duration::MAX), |r| r, None, 9_999),
        ("a shorter total", slow(121), |b| b.timeout(s(20)), |r| r, Some(Wait), 20),
        // A response timeout that the caller sets applies even if a total timeout is set.
        (
            "the client's both",
            slow(301),
            |b| b.timeout(s(300)).response_timeout(s(150)),
            |r| r,
            Some(Wait),
            150,
        ),
        (
            "the client's response, the request's total",
            slow(301),
            |b| b.response_timeout(s(150)),
            |r| r.timeout(s(300)),
            Some(Wait),
            150,
        ),
        (
            "the client's total, the request's response",
            slow(301),
            |b| b.timeout(s(300)),
            |r| r.response_timeout(s(7)),
            Some(Wait),
            7,
        ),
        // Without a total timeout, the default response timeout applies.
        ("no total after all", slow(121), |b| b.timeout(s(300)), |r| r.timeout(None), Some(Wait), 120),
        ("the client has no total timeout", slow(121), |b| b.timeout(None), |r| r, Some(Wait), 120),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_response_timeout_of_its_own() {
    use Phase::Wait;
    let slow = |answer| Slow { answer, ..Slow::default() };
    assert_rows(&[
        ("longer than the default", slow(900), |b| b, |r| r.response_timeout(s(1_000)), None, 900),
        ("shorter than the default", slow(900), |b| b, |r| r.response_timeout(s(3)), Some(Wait), 3),
        ("none", slow(9_999), |b| b, |r| r.response_timeout(None), None, 9_999),
        ("the client has none", slow(9_999), |b| b.response_timeout(None), |r| r, None, 9_999),
        (
            "none, but a total",
            slow(9_999),
            |b| b,
            |r| r.response_timeout(None).timeout(s(40)),
            Some(Wait),
            40,
        ),
        (
            "longer than the client's",
            slow(20),
            |b| b.response_timeout(s(5)),
            |r| r.response_timeout(s(30)),
            None,
            20,
        ),
        (
            "the client has none, the request one",
            slow(20),
            |b| b.response_timeout(None),
            |r| r.response_timeout(s(5)),
            Some(Wait),
            5,
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_read_timeout_of_its_own() {
    use Phase::Receive;
    let slow = |pause| Slow { pause, ..Slow::default() };
    assert_rows(&[
        ("the default", slow(121), |b| b, |r| r, Some(Receive), 120),
        // The default read timeout applies even if a longer total timeout is set.
        ("the default, and a total", slow(121), |b| b.timeout(s(300)), |r| r, Some(Receive), 120),
        ("longer", slow(121), |b| b, |r| r.read_timeout(s(200)), None, 121),
        ("shorter", slow(121), |b| b, |r| r.read_timeout(s(2)), Some(Receive), 2),
        ("none", slow(9_999), |b| b, |r| r.read_timeout(None), None, 9_999),
        ("the client has none", slow(9_999), |b| b.read_timeout(None), |r| r, None, 9_999),
        ("both", slow(9), |b| b.read_timeout(s(4)), |r| r.read_timeout(s(10)), None, 9),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_write_timeout_of_its_own() {
    use Phase::Send;
    let slow = |read| Slow { read, ..Slow::default() };
    assert_rows(&[
        ("the default", slow(61), |b| b, |r| r.body(vec![0; 10_000]), Some(Send), 60),
        ("shorter", slow(61), |b| b, |r| r.body(vec![0; 10_000]).write_timeout(s(3)), Some(Send), 3),
        ("longer", slow(61), |b| b, |r| r.body(vec![0; 10_000]).write_timeout(s(70)), None, 62),
        ("none", slow(999), |b| b, |r| r.body(vec![0; 10_000]).write_timeout(None), None, 1_000),
        (
            "the client has none",
            slow(999),
            |b| b.write_timeout(None),
            |r| r.body(vec![0; 10_000]),
            None,
            1_000,
        ),
    ])
    .await;
}

/// Sends a request while another request uses the only connection for `busy` seconds. Returns the result and the number of
/// seconds until the result.
async fn queued(busy: u64, build: Build, request: Request) -> (Ended, u64) {
    let slow = Slow { pause: busy, ..Slow::default() };
    let client = client(slow, |builder| build(builder.max_connections_per_host(1).read_timeout(None)));
    let first = client.get(URL).send().await.unwrap();
    let reading = tokio::spawn(first.bytes());
    let (sent, after) = outcome(request(client.get(URL)).read_timeout(None)).await;
    assert_eq!(reading.await.unwrap().unwrap(), "half");
    (sent, after)
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_request_lifts_the_default_of_the_wait_for_a_connection() {
    type Row = (&'static str, u64, Build, Request, Ended, u64);
    let pool_timeout = Err((ErrorKind::PoolTimeout, Some(Phase::Queue)));
    let timeout = Err((ErrorKind::Timeout, Some(Phase::Queue)));
    let rows: &[Row] = &[
        ("the default", 31, |b| b, |r| r, pool_timeout, 30),
        ("the client's total", 31, |b| b.timeout(s(300)), |r| r, Ok(()), 62),
        ("the request's total", 31, |b| b, |r| r.timeout(s(300)), Ok(()), 62),
        ("the total ends it", 301, |b| b, |r| r.timeout(s(300)), timeout, 300),
        ("the request's wait", 31, |b| b, |r| r.connect_timeout(s(40)), Ok(()), 62),
        ("the request's wait ends it", 41, |b| b, |r| r.connect_timeout(s(40)), timeout, 40),
        // An acquire timeout that the caller sets applies even if a total timeout is set.
        ("set", 31, |b| b.acquire_timeout(s(5)), |r| r.timeout(s(300)), pool_timeout, 5),
        ("set, longer", 31, |b| b.acquire_timeout(s(50)), |r| r, Ok(()), 62),
        ("none", 999, |b| b.acquire_timeout(None), |r| r, Ok(()), 1_998),
        ("no wait of its own", 31, |b| b, |r| r.connect_timeout(None), pool_timeout, 30),
    ];
    for &(row, busy, build, request, expected, after) in rows {
        assert_eq!(queued(busy, build, request).await, (expected, after), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_has_the_time_that_it_was_given() {
    let slow = |connect| Slow { connect, ..Slow::default() };
    assert_rows(&[
        ("the default", slow(11), |b| b, |r| r, Some(Phase::Tcp), 10),
        ("longer", slow(11), |b| b.connect_timeout(s(12)), |r| r, None, 11),
        (
            "none, and the wait ends it",
            slow(99),
            |b| b.connect_timeout(None),
            |r| r.timeout(s(98)),
            Some(Phase::Tcp),
            98,
        ),
        ("none", slow(99), |b| b.connect_timeout(None).acquire_timeout(None), |r| r, None, 99),
    ])
    .await;
}

/// A resolver that returns no addresses, after this number of seconds.
struct FindsNothing(u64);

impl Resolve for FindsNothing {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let after = s(self.0);
        Box::pin(async move {
            sleep(after).await;
            Ok(Answer::default())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_has_the_time_that_its_dial_was_given() {
    let rows: &[(&str, u64, Build, ErrorKind, u64)] = &[
        ("the default", 6, |b| b, ErrorKind::Timeout, 5),
        ("set", 6, |b| b.dns_timeout(s(7)), ErrorKind::Dns, 6),
        ("the dial's", 18, |b| b.connect_timeout(s(20)), ErrorKind::Dns, 18),
        ("the dial's ends it", 22, |b| b.connect_timeout(s(20)), ErrorKind::Timeout, 20),
        ("a shorter dial", 6, |b| b.connect_timeout(s(2)), ErrorKind::Timeout, 2),
        ("both", 6, |b| b.dns_timeout(s(3)).connect_timeout(s(20)), ErrorKind::Timeout, 3),
        ("the other way round", 6, |b| b.connect_timeout(s(20)).dns_timeout(s(3)), ErrorKind::Timeout, 3),
        ("none", 22, |b| b.dns_timeout(None), ErrorKind::Timeout, 10),
        ("longer than a dial has", 18, |b| b.dns_timeout(s(20)), ErrorKind::Dns, 18),
        ("longer than a dial has, and it ends it", 22, |b| b.dns_timeout(s(20)), ErrorKind::Timeout, 20),
        ("longer than the wait has", 62, |b| b.connect_timeout(s(60)), ErrorKind::Timeout, 60),
    ];
    for &(row, takes, build, kind, after) in rows {
        let client = build(Client::builder().dns_resolver(FindsNothing(takes))).build().unwrap();
        let begun = Instant::now();
        let error = client.get(URL).send().await.unwrap_err();
        let told = (error.kind(), error.is_dns(), begun.elapsed().as_secs());
        assert_eq!(told, (kind, true, after), "{row}: {}", error.chain());
    }
}

/// Without a timeout for the expectation, the client sends no content until the server answers. The response timeout does not
/// count during this wait.
#[tokio::test(start_paused = true)]
async fn an_expectation_may_have_no_end() {
    let slow = Slow { answer: 1_000, ..Slow::default() };
    let client = client(slow, |builder| builder.expect_continue_timeout(None).response_timeout(s(5)));
    let begun = Instant::now();
    let response = client.put(URL).expect_continue().body("content").send().await.unwrap();
    assert_eq!((begun.elapsed(), response.upload().bytes()), (s(1_000), 0));
}

/// A built request and a cloned request keep the timeouts of the original request.
#[tokio::test(start_paused = true)]
async fn timeouts_go_with_the_request() {
    let client = client(Slow { answer: 500, ..Slow::default() }, |builder| builder);
    let request = client.get(URL).response_timeout(s(7));
    let second = request.try_clone().unwrap();
    let begun = Instant::now();
    let error = client.execute(request.build().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Timeout, s(7)));
    assert_eq!(outcome(second).await, (Err((ErrorKind::Timeout, Some(Phase::Wait))), 7));
}

/// The setter of each timeout takes a `Duration`, an `Option<Duration>`, or `None`.
#[test]
fn every_timeout_can_be_lifted() {
    let some = Some(s(1));
    let builder = Client::builder();
    let builder = builder.timeout(s(1)).timeout(some).timeout(None);
    let builder = builder.connect_timeout(s(1)).connect_timeout(some).connect_timeout(None);
    let builder = builder.dns_timeout(s(1)).dns_timeout(some).dns_timeout(None);
    let builder = builder.tcp_timeout(s(1)).tcp_timeout(some).tcp_timeout(None);
    let builder = builder.tls_timeout(s(1)).tls_timeout(some).tls_timeout(None);
    #[cfg(feature = "proxy")]
    let builder = builder.proxy_timeout(s(1)).proxy_timeout(some).proxy_timeout(None);
    let builder = builder.acquire_timeout(s(1)).acquire_timeout(some).acquire_timeout(None);
    let builder = builder.response_timeout(s(1)).response_timeout(some).response_timeout(None);
    let builder = builder.read_timeout(s(1)).read_timeout(some).read_timeout(None);
    let builder = builder.write_timeout(s(1)).write_timeout(some).write_timeout(None);
    let builder = builder.idle_timeout(s(1)).idle_timeout(some).idle_timeout(None);
    let builder = builder.max_lifetime(s(1)).max_lifetime(some).max_lifetime(None);
    let builder =
        builder.expect_continue_timeout(s(1)).expect_continue_timeout(some).expect_continue_timeout(None);
    let request = builder.build().unwrap().get(URL);
    let request = request.timeout(s(1)).timeout(some).timeout(None);
    let request = request.connect_timeout(s(1)).connect_timeout(some).connect_timeout(None);
    let request = request.response_timeout(s(1)).response_timeout(some).response_timeout(None);
    let request = request.read_timeout(s(1)).read_timeout(some).read_timeout(None);
    let request = request.write_timeout(s(1)).write_timeout(some).write_timeout(None);
    drop(request);
}

/// The advice in the error of an acquire timeout names only settings that can help.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_set_is_not_to_be_raised() {
    let hangs = || {
        Client::builder()
            .connector(|_| std::future::pending::<Result<Box<dyn Transport>, BoxError>>())
            .acquire_timeout(s(5))
    };
    for builder in [hangs(), hangs().max_connections_per_host(1), hangs().max_connections(7)] {
        let error = builder.build().unwrap().get(URL).send().await.unwrap_err();
        assert_eq!(
            error.chain().to_string(),
            "GET http://a.test: no connection became free within 5s: 0 active, 0 idle, 1 dialing, 1 waiting \
             (a connection is still being made: raise the acquire_timeout)"
        );
    }
    // An unread response uses the only connection. No limit is reached, so that the next request waits for its own dial.
    let client = client(Slow { connect: 6, pause: 100, ..Slow::default() }, |b| b.acquire_timeout(s(5)));
    client.warm(URL, 1).await.unwrap();
    let held = client.get(URL).send().await.unwrap();
    let error = client.get(URL).send().await.unwrap_err();
    assert!(error.to_string().contains("1 active, 0 idle, 1 dialing"), "{error}");
    assert!(error.to_string().ends_with("(a connection is still being made: raise the acquire_timeout)"));
    drop(held);
    // The limit allows one connection, and another request uses this connection.
    let client = self::client(Slow { answer: 100, ..Slow::default() }, |b| {
        b.acquire_timeout(s(5)).max_connections_per_host(1)
    });
    let asking = client.get(URL).send();
    let (busy, error) = tokio::join!(asking, async {
        sleep(s(1)).await;
        client.get(URL).send().await.unwrap_err()
    });
    assert!(
        error.to_string().ends_with("(raise max_connections_per_host, or the acquire_timeout)"),
        "{error}"
    );
    busy.unwrap();
}
