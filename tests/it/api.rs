//! Promises of the public interface: which types can cross threads, how large the types are, and which signatures
//! exist.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::scripted::{Peers, Reply, Script};
use bytes::Bytes;
use handclasp::{
    Body, Client, ClientBuilder, Collected, ConnectionInfo, Destination, DropReason, Error, ErrorKind,
    Family, HostStats, IntoUrl, Look, Phase, Pool, PoolStats, RequestBuilder, Resolve, Response, Timings,
    Transport, Written,
};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

/// Every type that a program stores or moves can be stored and moved anywhere.
#[test]
fn public_types_are_send_and_sync() {
    fn free<T: Send + Sync + Unpin + 'static>() {}
    free::<Client>();
    free::<ClientBuilder>();
    free::<RequestBuilder>();
    free::<handclasp::Reserved>();
    free::<Response>();
    free::<Body>();
    free::<Error>();
    free::<Pool>();
    free::<PoolStats>();
    free::<HostStats>();
    free::<Collected>();
    free::<ConnectionInfo>();
    free::<Timings>();
    free::<Destination>();
    free::<http::Request<Body>>();
    free::<http::Response<Body>>();

    fn copied<T: Copy + Eq + std::fmt::Debug>() {}
    copied::<ErrorKind>();
    copied::<Phase>();
    copied::<Written>();
    copied::<Look>();
    copied::<Family>();
    copied::<DropReason>();

    fn cheap<T: Clone + Default + std::fmt::Debug>() {}
    cheap::<Client>();

    fn object(_: &dyn Resolve, _: &dyn Transport) {}
    let _ = object;
}

/// All futures can be spawned.
#[test]
fn futures_are_send() {
    fn send<T: Send>(future: T) -> T {
        future
    }
    let client = Client::new();
    drop(send(client.get("http://a.test/").send()));
    drop(send(client.reserve("http://a.test/")));
    drop(send(client.warm("http://a.test/", 1)));
    drop(send(client.execute(http::Request::new("body"))));
    drop(send(handclasp::get("http://a.test/")));
    let read = async |response: Response| {
        let mut response = response;
        send(response.chunk()).await?;
        send(response.trailers()).await?;
        send(response.collect()).await
    };
    let _ = read;
}

/// Sizes of types whose growth would cost speed or memory. If this test fails, decide whether the growth is worth its cost.
#[test]
fn futures_and_types_stay_small() {
    let client = Client::new();
    let send = size_of_val(&client.get("http://a.test/").send());
    let execute = size_of_val(&client.execute(http::Request::new(Body::empty())));
    let builder = size_of::<RequestBuilder>();
    let (response, body) = (size_of::<Response>(), size_of::<Body>());
    println!(
        "send() {send}, execute() {execute}, RequestBuilder {builder}, Response {response}, Body {body}"
    );
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    assert_eq!(size_of::<Client>(), size_of::<usize>());
    assert!(send <= 4096, "the future of send() has {send} bytes");
    assert!(execute <= 4096, "the future of execute() has {execute} bytes");
    assert!(response <= 64 && body <= 48, "a response has {response} bytes, a body {body}");
}

fn peers() -> Peers {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    Peers::new(Script { is_eager: true, ..Script::new(&[&[Reply::raw(&[chunked])]]) })
}

/// The public signatures that programs use exist. The test passes if it compiles.
#[tokio::test(start_paused = true)]
async fn a_program_that_uses_every_signature_works() -> Result<(), Error> {
    let seconds = Duration::from_secs(5);
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let peers = peers();
    let client: Client = Client::builder()
        .max_connections_per_host(8)
        .max_connections(100)
        .max_idle_per_host(4)
        .max_idle(50)
        .max_waiters_per_host(1000)
        .idle_timeout(seconds)
        .idle_timeout(None)
        .acquire_timeout(seconds)
        .dns_timeout(seconds)
        .connect_timeout(seconds)
        .response_timeout(seconds)
        .read_timeout(seconds)
        .write_timeout(seconds)
        .timeout(seconds)
        .resolve("b.test", address)
        .local_address(None)
        .dns_resolver(handclasp::SystemResolver::new())
        .default_headers(HeaderMap::new())
        .user_agent("handclasp's own test")
        .max_collected_body(1 << 20)
        .connector(peers.connector())
        .build()?;
    let url = "http://a.test/x";
    for request in [
        client.get(url),
        client.head(url),
        client.post(url),
        client.put(url),
        client.patch(url),
        client.delete(url),
    ] {
        let request: http::Request<Body> = request.build()?;
        assert_eq!(request.uri(), url);
    }
    #[cfg(feature = "query")]
    let request = {
        let pairs = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
        client.request(Method::PUT, String::from(url)).query([("q", "one two")]).query(pairs)
    };
    #[cfg(not(feature = "query"))]
    let request = client.request(Method::PUT, format!("{url}?q=one+two&a=1&b=2"));
    let request: RequestBuilder = request
        .header("x-id", "7")
        .headers(HeaderMap::new())
        .bearer_auth("token")
        .timeout(seconds)
        .connect_timeout(seconds)
        .body("content");
    let again = request.try_clone().unwrap();
    let mut response: Response = request.send().await?.error_for_status()?;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(response.uri(), "http://a.test/x?q=one+two&a=1&b=2");
    assert_eq!((response.headers().len(), response.content_length()), (1, None));
    let connection: &ConnectionInfo = response.connection();
    assert_eq!((connection.id(), connection.ordinal(), connection.is_reused()), (1, 1, false));
    assert_eq!((connection.peer_addr(), connection.local_addr()), (None, None));
    assert!(connection.age() <= connection.handshake() + seconds);
    while let Some(piece) = response.chunk().await? {
        let piece: Bytes = piece;
        assert_eq!(piece, "hello");
    }
    let trailers: HeaderMap = response.trailers().await?.unwrap();
    assert_eq!(trailers["x-sum"], "7");
    let Timings { queued, dns, connect, proxy, tls, send, wait, receive, previous, total, .. } =
        *response.timings();
    let setup: Duration = [dns, connect, proxy, tls].into_iter().flatten().sum();
    assert_eq!(queued + setup + send + wait + receive.unwrap() + previous, total);

    let request = again.build()?;
    let collected: Collected = client.execute(request).await?.collect().await?;
    assert_eq!((collected.status, &*collected.body), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(collected.trailers.unwrap()["x-sum"], "7");
    assert!(collected.connection.is_reused());
    assert_eq!(client.get(url).send().await?.text().await?, "hello");
    assert_eq!(client.get(url).send().await?.bytes().await?, "hello");
    let converted: http::Response<Body> = client.get(url).send().await?.into();
    assert!(converted.extensions().get::<Timings>().is_some());
    let body: Body = client.get(url).send().await?.into_body();
    drop(body);
    drop(client.get(url).send().await?.bytes_stream());

    client.warm(url, 2).await?;
    let pool: &Pool = client.pool();
    let PoolStats { total, hosts, .. } = pool.stats();
    assert_eq!((hosts.len(), &*hosts[0].origin), (1, "http://a.test"));
    assert_eq!((total.active, total.dialing, total.waiting), (0, 0, 0));
    assert_eq!(total.idle as u64, total.opened - total.closed_total());
    assert_eq!((total.handshakes_saved, total.failed_dials), (total.reused, 0));
    assert_eq!(total.closed(DropReason::IdleTimeout), 0);
    Ok(())
}

#[test]
fn every_kind_of_url_is_accepted() {
    fn target(client: &Client, url: impl IntoUrl) -> String {
        client.get(url).build().unwrap().uri().to_string()
    }
    let client = Client::new();
    let uri: Uri = "http://a.test/x".parse().unwrap();
    assert_eq!(target(&client, "http://a.test/x"), "http://a.test/x");
    assert_eq!(target(&client, String::from("http://a.test/x#fragment")), "http://a.test/x");
    assert_eq!(target(&client, &uri), "http://a.test/x");
    assert_eq!(target(&client, uri), "http://a.test/x");
    #[cfg(feature = "url")]
    {
        let url = url::Url::parse("http://A.test/ä?b c").unwrap();
        assert_eq!(target(&client, &url), "http://a.test/%C3%A4?b%20c");
        assert_eq!(target(&client, url), "http://a.test/%C3%A4?b%20c");
    }
}

#[test]
fn every_kind_of_body_in_memory_has_an_exact_size() {
    for body in [
        Body::empty(),
        Body::default(),
        ().into(),
        "text".into(),
        String::from("text").into(),
        vec![1, 2].into(),
        Bytes::from_static(b"x").into(),
        (&b"array"[..]).into(),
        b"array".into(),
    ] {
        let body: Body = body;
        assert!(http_body::Body::size_hint(&body).exact().is_some());
    }
}

/// Building a client needs no runtime, and opens no socket or file.
#[test]
fn building_a_client_needs_no_runtime_and_opens_nothing() {
    let client = Client::builder().build().unwrap();
    assert_eq!(client.pool().stats().total.opened, 0);
    let error = Client::builder().user_agent("a\nb").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    drop((client.clone(), client));
}
