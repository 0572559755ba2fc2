//! Tests of a client's settings, apart from the settings of its pool and its timeouts.

#![allow(clippy::unwrap_used, reason = "a test")]

use handclasp::{Client, ErrorKind, Transport, Written};
use tokio::net::TcpStream;

#[cfg(all(feature = "rustls", feature = "url"))]
use crate::support::Peer;
use crate::support::{Server, Uncoded, within};

#[tokio::test]
async fn https_only_refuses_http_and_redirects_to_http() {
    let plain = Server::echo();
    let client = Client::builder().https_only(true).build().unwrap();
    let error = within(20, client.get(plain.url("/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Request, Written::Nothing));
    assert!(error.to_string().contains("https_only"), "{error}");
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn https_only_dials_no_http_url_ahead() {
    let plain = Server::echo();
    let client = Client::builder().https_only(true).build().unwrap();
    let refused = within(20, client.get(plain.url("/")).send()).await.unwrap_err();
    let warm = within(20, client.warm(plain.url("/"), 2)).await.unwrap_err();
    let idle = client.min_idle(plain.url("/"), 2).unwrap_err();
    for error in [warm, idle] {
        assert_eq!((error.kind(), error.message()), (ErrorKind::Request, refused.message()));
        assert_eq!(error.uri(), refused.uri());
    }
    let total = client.pool().stats().total;
    assert_eq!((plain.connections(), total.dialing, total.opened), (0, 0, 0));
}

#[cfg(all(feature = "rustls", feature = "url"))]
#[tokio::test]
async fn https_only_refuses_a_redirect_that_the_policy_allows() {
    let plain = Server::echo();
    let to = plain.url("/");
    let secure = Server::start_tls(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/http" => {
                    peer.send(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))?
                }
                target => peer.respond(target)?,
            }
        }
        Ok(())
    });
    let root = handclasp::Certificate::from_pem(secure.authority().as_bytes()).unwrap();
    let policy = handclasp::redirect::Policy::limited(3).allow_https_to_http(true);
    let builder = || Client::builder().add_root_certificate(root.clone()).redirect(policy.clone());
    let client = builder().https_only(true).build().unwrap();
    let response = within(20, client.get(secure.url("/a")).send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/a");
    let error = within(20, client.get(secure.url("/http")).send()).await.unwrap_err();
    assert!(error.is_redirect() && error.to_string().contains("https_only"), "{error}");
    assert_eq!((error.redirects().len(), plain.connections()), (1, 0));
    let client = builder().build().unwrap();
    within(20, client.get(secure.url("/http")).send()).await.unwrap();
    assert_eq!(plain.connections(), 1, "A-36: without https_only, the policy decides");
}

#[tokio::test]
async fn a_name_can_have_several_addresses() {
    let server = Server::echo();
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addresses = [refusing, server.address()];
    let client = Client::builder().resolve_to_addrs("several.test", &addresses).build().unwrap();
    let response = within(20, client.get("http://several.test/").send()).await.unwrap();
    assert_eq!(response.connection().peer_addr(), Some(server.address()));
    let client = Client::builder()
        .resolve_to_addrs("several.test", &addresses)
        .resolve_to_addrs("several.test", &[server.address()])
        .tcp_nodelay(false)
        .tcp_keepalive(None)
        .tcp_keepalive_interval(None)
        .tcp_keepalive_retries(None);
    within(20, client.build().unwrap().get("http://several.test/").send()).await.unwrap();
}

/// A connector returns any transport, and a boxed transport is not boxed again.
#[tokio::test]
async fn a_connector_returns_any_transport() {
    let server = Server::echo();
    let address = server.address();
    let plain = Client::builder().connector(move |_| async move { Ok(TcpStream::connect(address).await?) });
    let boxed = Client::builder().connector(move |to| async move {
        match to.port() {
            80 => Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Transport>),
            port => Err(format!("no line to port {port}").into()),
        }
    });
    for builder in [plain, boxed] {
        let client = builder.build().unwrap();
        for _ in 0..2 {
            let response = within(20, client.get("http://any.test/a").send()).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/a");
        }
        assert_eq!(client.pool().stats().total.reused, 1);
    }
    let stream: Box<dyn Transport> = Box::new(TcpStream::connect(address).await.unwrap());
    let before = std::ptr::from_ref(&*stream).cast::<()>();
    let mut stream = stream.boxed();
    assert_eq!(std::ptr::from_ref(&*stream).cast::<()>(), before);
    assert!(stream.fails_untouched() && stream.look() == handclasp::Look::Silent);
    assert_eq!(Transport::read_now(&mut stream, &mut [0; 8]), 0);
}

#[tokio::test]
async fn names_of_fields_keep_the_spelling_and_the_order_of_the_caller() {
    let server = Server::echo();
    for (builder, expected) in [
        (Client::builder(), "host b a soapaction te user-agent connection content-length"),
        (
            Client::builder().http1_title_case_headers(),
            "Host B A Soapaction Te User-Agent Connection Content-Length",
        ),
        (
            Client::builder().header_spelling(false, ["SOAPAction", "HOST"]),
            "HOST b a SOAPAction te user-agent connection content-length",
        ),
    ] {
        let client = builder.uncoded().build().unwrap();
        let request = client.post(server.url("/X-y:z")).header("b", "Host: 1").header("a", "2");
        let request = request.header("soapaction", "3").header("te", "trailers").body("x");
        within(20, request.send()).await.unwrap().bytes().await.unwrap();
        let head = server.seen().pop().unwrap().request.head;
        let names: Vec<_> = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
        assert_eq!(names.join(" "), expected);
        assert!(head.contains("Host: 1") && head.contains("/X-y:z"), "{head}");
    }
}

#[tokio::test]
async fn folded_fields_can_be_refused() {
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nx-long: 1\r\n 2\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let response = within(20, Client::new().get(server.url("/")).send()).await.unwrap();
    assert_eq!(response.headers()["x-long"], "1   2");
    let client =
        Client::builder().http1_allow_obsolete_multiline_headers_in_responses(false).build().unwrap();
    let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}
