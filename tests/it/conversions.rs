//! Tests of conversions from and to types of other crates, and of methods that have their names in reqwest.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::needless_borrows_for_generic_args, reason = "each way to give a URL is called")]

use std::borrow::Cow;
use std::io::{Seek, SeekFrom, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use handclasp::header::CONTENT_TYPE;
use handclasp::{
    Body, Client, ClientBuilder, Collected, ConnectionInfo, IntoUrl, Method, RequestBuilder, Response,
    StatusCode, Timings, Uri, Version,
};

use crate::support::{Peer, Server, within};

#[test]
fn every_string_type_is_a_url() {
    fn target(url: impl IntoUrl) {
        assert_eq!(Client::new().get(url).build().unwrap().uri(), "http://a.test/x");
    }
    let text = "http://a.test/x";
    target(text);
    target(&text);
    target(text.to_owned());
    target(&text.to_owned());
    target(&&text.to_owned());
    target(&mut text.to_owned());
    target(text.to_owned().as_mut_str());
    target(Cow::Borrowed(text));
    target(Cow::<str>::Owned(text.to_owned()));
    target(&Cow::Borrowed(text));
    target(Box::<str>::from(text));
    target(&Box::<str>::from(text));
    target(Arc::<str>::from(text));
    target(&Arc::<str>::from(text));
    target(Rc::<str>::from(text));
    target(&Rc::<str>::from(text));
    target(Uri::from_static(text));
    #[cfg(feature = "url")]
    target(handclasp::Url::parse(text).unwrap());
}

#[test]
fn every_type_of_bytes_is_a_body() {
    for body in [
        Body::from("four"),
        Body::from(String::from("four")),
        Body::from(b"four"),
        Body::from(&b"four"[..]),
        Body::from(b"four".to_vec()),
        Body::from(Bytes::from_static(b"four")),
        Body::from(BytesMut::from("four")),
        Body::from(Box::<[u8]>::from(*b"four")),
        Body::from(Box::<str>::from("four")),
        Body::from(Cow::Borrowed("four")),
        Body::from(Cow::<str>::Owned("four".to_owned())),
        Body::from(Cow::Borrowed(&b"four"[..])),
        Body::from(Cow::<[u8]>::Owned(b"four".to_vec())),
    ] {
        assert_eq!(body.as_bytes(), Some(&b"four"[..]));
        let request = Client::new().post("http://a.test/").body(body);
        assert!(request.try_clone().is_some(), "bytes can be sent again");
    }
    assert_eq!(Body::empty().as_bytes(), Some(&b""[..]));
    assert_eq!(Body::from(()).as_bytes(), Some(&b""[..]));
    assert_eq!(Body::wrap_stream(Once(Some("four"))).as_bytes(), None);
}

struct Once(Option<&'static str>);

impl futures_core::Stream for Once {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// Returns a file in memory or in the folder for temporary files, which has no name.
fn file(content: &[u8], at: u64) -> tokio::fs::File {
    let path = std::env::temp_dir().join(format!("handclasp-conversions-{}-{at}", std::process::id()));
    let mut file =
        std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.into()
}

#[tokio::test]
async fn an_open_file_is_sent_from_its_position_to_its_end() {
    let server = Server::echo();
    let client = Client::new();
    let content: Vec<u8> = (0..300_000_u32).map(|nth| nth as u8).collect();
    for at in [0, 299_999, 300_000, 70_000] {
        let body = Body::from(file(&content, at));
        assert_eq!(body.as_bytes(), None);
        let request = client.put(server.url("/")).body(body);
        assert!(request.try_clone().is_none(), "a file is sent once");
        within(20, request.send()).await.unwrap().text().await.unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.request.field("transfer-encoding"), Some("chunked"), "from {at}");
        assert_eq!(seen.request.body, &content[at as usize..], "from {at}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_response_is_the_body_of_a_request() {
    let server = Server::echo();
    let client = Client::new();
    let source = within(20, client.get(server.url("/content")).send()).await.unwrap();
    within(20, client.put(server.url("/to")).body(source).send()).await.unwrap().text().await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!((&*seen.request.target, &*seen.request.body), ("/to", &b"/content"[..]));
}

#[tokio::test]
async fn a_made_response_is_read_like_a_received_one() {
    let made = || {
        http::Response::builder()
            .status(418)
            .version(Version::HTTP_10)
            .header(CONTENT_TYPE, "text/plain")
            .extension(Uri::from_static("http://a.test/x"))
            .extension(17_u32)
            .body("short and stout")
            .unwrap()
    };
    let response = Response::from(made());
    assert_eq!((response.status(), response.version()), (StatusCode::IM_A_TEAPOT, Version::HTTP_10));
    assert_eq!(
        (response.headers().len(), response.headers()["content-type"].as_bytes()),
        (1, &b"text/plain"[..])
    );
    assert_eq!((response.content_length(), response.uri()), (Some(15), &Uri::from_static("http://a.test/x")));
    assert_eq!(response.extensions().get::<u32>(), Some(&17));
    assert_eq!(response.raw_headers().count(), 0, "no bytes came");
    let connection = response.connection();
    assert_eq!((connection.id(), connection.ordinal(), connection.is_reused()), (0, 0, false));
    assert_eq!((connection.peer_addr(), connection.local_addr(), response.remote_addr()), (None, None, None));
    assert_eq!((connection.age(), connection.handshake()), (Duration::ZERO, Duration::ZERO));
    assert!(format!("{response:?} {connection:?}").contains("418"));
    assert_eq!((*response.timings(), response.upload().bytes()), (Timings::default(), 0));
    let error = response.error_for_status_ref().unwrap_err();
    assert_eq!(error.to_string(), "GET http://a.test: the server answered 418 I'm a teapot");
    assert_eq!(response.text().await.unwrap(), "short and stout");

    let mut pieces = Response::from(made());
    assert_eq!(pieces.chunk().await.unwrap().unwrap(), "short and stout");
    assert_eq!(pieces.chunk().await.unwrap(), None);
    assert_eq!(pieces.trailers().await.unwrap(), None);
    let whole: Collected = Response::from(made()).collect().await.unwrap();
    assert_eq!((whole.status.as_u16(), whole.connection.id()), (418, 0));
    assert!(Response::from(made()).upgrade().await.unwrap_err().is_upgrade());
    let streamed = Response::from(http::Response::new(Body::wrap_stream(Once(Some("four")))));
    assert_eq!(streamed.content_length(), None);
    assert_eq!(streamed.bytes().await.unwrap(), "four");
    assert_eq!(Response::from(http::Response::new(())).content_length(), Some(0));
}

#[tokio::test]
async fn a_response_keeps_its_parts_there_and_back() {
    let server = Server::echo();
    let client = Client::new();
    let mut response = within(20, client.get(server.url("/x")).send()).await.unwrap();
    assert_eq!(response.remote_addr(), Some(server.address()));
    assert!(response.extensions().is_empty());
    response.extensions_mut().insert("kept");
    let (status, version, headers) = (response.status(), response.version(), response.headers().clone());
    let (timings, id) = (*response.timings(), response.connection().id());
    let there: http::Response<Body> = response.into();
    assert_eq!(there.extensions().get::<&str>(), Some(&"kept"));
    assert_eq!(there.extensions().get::<ConnectionInfo>().unwrap().id(), id);
    let back = Response::from(there);
    assert_eq!((back.status(), back.version(), back.headers()), (status, version, &headers));
    assert_eq!(
        (*back.timings(), back.connection().id(), back.extensions().get::<&str>()),
        (timings, id, Some(&"kept"))
    );
    assert_eq!(back.remote_addr(), Some(server.address()));
    let whole: http::Response<Bytes> = back.collect().await.unwrap().into();
    assert_eq!((whole.status(), whole.body(), whole.headers()), (status, &Bytes::from("/x"), &headers));
    assert_eq!(whole.extensions().get::<ConnectionInfo>().unwrap().id(), id);
    assert!(whole.extensions().get::<Timings>().is_some());
}

/// The extensions of an `http::Response` hold the request and the limits of the response from which it was made.
#[tokio::test]
async fn a_response_keeps_its_request_and_its_limit_there_and_back() {
    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            peer.send("HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n")?;
            peer.send(if request.method == "HEAD" { "" } else { "no such page" })?;
        }
        Ok(())
    });
    let client = Client::builder().max_collected_body(11).build().unwrap();
    let post = async || within(20, client.post(server.url("/x#top")).body("abc").send()).await.unwrap();
    let back = Response::from(http::Response::<Body>::from(post().await));
    assert_eq!(back.uri(), &server.url("/x").parse::<Uri>().unwrap());
    #[cfg(feature = "url")]
    assert_eq!(back.url().fragment(), Some("top"));
    assert_eq!(back.upload().bytes(), 3);
    assert!(back.extensions().is_empty());
    let error = back.error_for_status_ref().unwrap_err().to_string();
    assert!(error.starts_with(&format!("POST {}: ", server.url(""))), "{error}");
    let error = back.bytes().await.unwrap_err();
    assert!(error.to_string().contains("larger than 11 bytes"), "A-06: {error}");
    let head = within(20, client.head(server.url("/")).send()).await.unwrap();
    assert_eq!(head.content_length(), Some(12));
    assert_eq!(Response::from(http::Response::<Body>::from(head)).content_length(), Some(12));
    let whole =
        within(20, Client::new().put(server.url("/y")).send()).await.unwrap().collect().await.unwrap();
    let back = Response::from(http::Response::<Bytes>::from(whole));
    assert_eq!(back.uri(), &server.url("/y").parse::<Uri>().unwrap());
    let error = back.error_for_status_ref().unwrap_err().to_string();
    assert!(error.starts_with(&format!("PUT {}: ", server.url(""))), "{error}");
    // A URI of the caller takes precedence.
    let mut there = http::Response::<Body>::from(post().await);
    there.extensions_mut().insert(Uri::from_static("http://b.test/"));
    assert_eq!(Response::from(there).uri(), "http://b.test/");
}

#[tokio::test]
async fn a_request_of_other_code_gets_settings() {
    let server = Server::echo();
    let client = ClientBuilder::new().pool_idle_timeout(None).pool_max_idle_per_host(0).build().unwrap();
    let request = http::Request::put(server.url("/x")).header("x-id", "7").body("four").unwrap();
    let builder: RequestBuilder = RequestBuilder::from_parts(client.clone(), request);
    let built = builder.timeout(Duration::from_secs(20)).build().unwrap();
    assert_eq!((built.method(), built.headers()["x-id"].as_bytes()), (&Method::PUT, &b"7"[..]));
    let again = RequestBuilder::from_parts(client.clone(), built);
    within(20, again.send()).await.unwrap().text().await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!((&*seen.request.method, &*seen.request.body), ("PUT", &b"four"[..]));
    assert_eq!(
        seen.request.field("connection"),
        Some("close"),
        "no connection is kept: pool_max_idle_per_host"
    );
    assert_eq!(client.pool().stats().total.idle, 0);
}
