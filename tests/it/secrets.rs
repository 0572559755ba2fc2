//! tests that no secret appears in the `Debug` text of a public type that can hold a secret.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use handclasp::codec::{Event, Limits, Machine, RequestHead, Target};
use handclasp::{Body, Client, RequestTarget};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::support::{Peer, Server, within};

/// Text that is part of every secret value, and of no field name.
const SECRET: &str = "hunter2";

#[track_caller]
fn assert_hidden(value: &impl Debug) -> String {
    let shown = format!("{value:?}");
    for text in [&shown, &format!("{value:#?}")] {
        assert!(!text.contains(SECRET), "{text}");
        // The numbers are the first bytes of the secret, as `Debug` prints a byte slice.
        assert!(!text.contains("104, 117, 110, 116"), "{text}");
        // In `{:#?}` each byte has a line of its own. A port may end in the same digits.
        assert!(!text.lines().any(|line| line.trim() == "104,"), "{text}");
    }
    shown
}

fn fields(names: &[&'static str]) -> HeaderMap {
    names.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static(SECRET))).collect()
}

/// Starts a server that answers with a secret in a field, in the content, and in a trailer.
fn server() -> Server {
    Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nset-cookie: {SECRET}\r\ntransfer-encoding: chunked\r\n\r\n\
                 7\r\n{SECRET}\r\n0\r\nx-signature: {SECRET}\r\n\r\n"
            ))?;
        }
        Ok(())
    })
}

///
#[tokio::test]
async fn no_public_type_shows_a_secret() {
    let server = server();
    let builder = Client::builder().default_headers(fields(&["authorization", "cookie"])).user_agent(SECRET);
    let shown = assert_hidden(&builder);
    assert!(shown.contains("authorization") && shown.contains("cookie"), "names are shown: {shown}");
    let idle = Arc::new(Mutex::new(String::new()));
    let seen = idle.clone();
    let client = builder
        .evict_if(move |connection| {
            *seen.lock().unwrap() = assert_hidden(connection);
            false
        })
        .build()
        .unwrap();
    let shown = assert_hidden(&client);
    assert!(shown.contains("authorization"), "{shown}");

    let url = server.url("/").replace("http://", &format!("http://user:{SECRET}@"));
    let request = || {
        let request = client.post(&url).header("x-api-key", SECRET).bearer_auth(SECRET).body(SECRET);
        assert_hidden(&request);
        request
    };
    let built = request().build().unwrap();
    assert!(built.headers()["authorization"].is_sensitive(), "other code must not print the token");
    assert!(!format!("{built:?}").contains("Bearer"), "{built:?}");
    assert_hidden(&request().target(RequestTarget::Authority(format!("user:{SECRET}@a.test:80"))));
    assert_hidden(&RequestTarget::Authority(format!("user:{SECRET}@a.test:80")));
    assert_hidden(&Body::from(SECRET));
    assert_hidden(&Body::from(SECRET).with_trailers(fields(&["x-signature"])));
    assert_hidden(&client.post(format!("http://user:{SECRET}@a.test:99999/")));
    assert_hidden(&client.get("http://a.test/").header("x", format!("{SECRET}\n")));
    for url in [format!("http://user:{SECRET}@a.test:99999/"), format!("ftp://user:{SECRET}@a.test/")] {
        assert_hidden(&client.get(url).send().await.unwrap_err());
    }

    let response = within(20, request().send()).await.unwrap();
    assert_hidden(&response);
    assert_hidden(response.connection());
    assert_hidden(&response.timings());
    let collected = response.collect().await.unwrap();
    let shown = assert_hidden(&collected);
    assert!(shown.contains("set-cookie") && shown.contains("7 bytes"), "{shown}");
    assert!(shown.contains("x-signature"), "{shown}");
    assert_hidden(&within(20, request().send()).await.unwrap().into_body());
    assert_hidden(&within(20, request().send()).await.unwrap().chunk().await.unwrap().map(Body::from));
    assert!(idle.lock().unwrap().contains("origin"), "{idle:?}");
    assert_hidden(client.pool());
    assert_hidden(&client.pool().stats());

    // An error of a request contains its URI.
    drop(server);
    let error = within(20, request().send()).await.unwrap_err();
    assert!(error.uri().is_some());
    assert_hidden(&error);
    assert_hidden(&error.chain().to_string());
}

/// `Debug` of the types of the crate `http` hides only values that are marked as sensitive.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_77_the_fields_of_a_request_show_no_credentials() {
    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            peer.send(match &*request.target {
                "/a" => format!(
                    "HTTP/1.1 307 Moved\r\nlocation: /b\r\nset-cookie: a={SECRET}\r\n\
                     content-length: 0\r\n\r\n"
                ),
                _ => format!("HTTP/1.1 200 OK\r\nset-cookie: a={SECRET}\r\ncontent-length: 9\r\n\r\nhi"),
            })?;
            if request.target == "/cut" {
                return peer.close();
            }
        }
        Ok(())
    });
    let asked = Arc::new(Mutex::new(0));
    let (hooked, proposed) = (asked.clone(), asked.clone());
    let client = Client::builder()
        .default_headers(fields(&["cookie"]))
        .on_request(move |parts, _| {
            let shown = assert_hidden(parts);
            assert!(shown.contains("proxy-authorization") && shown.contains("cookie"), "{shown}");
            *hooked.lock().unwrap() += 1;
        })
        .redirect(handclasp::redirect::Policy::custom(move |redirect| {
            assert_hidden(&redirect);
            assert_hidden(redirect.headers());
            assert_hidden(&redirect.chain());
            assert!(redirect.headers().contains_key("authorization"), "the origin is the same");
            *proposed.lock().unwrap() += 1;
            redirect.stop()
        }))
        .build()
        .unwrap();
    let request = |path: &str| {
        let request = client.get(server.url(path)).header("authorization", SECRET);
        let request = request.header("cookie", SECRET).headers(fields(&["proxy-authorization"]));
        assert_hidden(&request);
        request
    };
    let built = request("/a").build().unwrap();
    assert_hidden(&built);
    let response = within(20, client.execute(built)).await.unwrap();
    assert_eq!(response.status(), 307);
    assert_hidden(&response);
    let response = within(20, request("/cut").send()).await.unwrap();
    assert_hidden(&response);
    #[cfg(feature = "cookies")]
    assert_hidden(&response.cookies().collect::<Vec<_>>());
    let error = response.bytes().await.unwrap_err();
    assert_hidden(&error);
    assert_hidden(&error.chain().to_string());
    assert_eq!(*asked.lock().unwrap(), 3);
}

#[tokio::test]
async fn an_upgraded_connection_shows_nothing_of_what_came() {
    let server = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.send(format!("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{SECRET}"))?;
        peer.is_ended().map(|_| ())
    });
    let request = Client::new().get(server.url("/")).header("upgrade", "x");
    let response = within(20, request.send()).await.unwrap();
    assert_hidden(&response);
    assert_hidden(&response.upgrade().await.unwrap());
}

#[test]
fn the_codec_shows_no_secret() {
    let uri: Uri = format!("http://user:{SECRET}@a.test/").parse().unwrap();
    let authority = format!("user:{SECRET}@a.test:80");
    for target in [Target::Absolute(&uri), Target::AbsoluteAsterisk(&uri), Target::Authority(&authority)] {
        assert!(assert_hidden(&target).contains("a.test"));
    }
    let (headers, trailers) = (fields(&["authorization"]), fields(&["x-signature"]));
    let mut head = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"a.test"), &headers);
    head.trailers = Some(&trailers);
    let shown = assert_hidden(&head);
    assert!(shown.contains("authorization") && shown.contains("x-signature"), "{shown}");
    head.trailers = None;

    let mut machine = Machine::new(Limits::default());
    machine.encode_head(&head, &mut BytesMut::new()).unwrap();
    let wire = format!(
        "HTTP/1.1 103 Early\r\nlink: {SECRET}\r\n\r\n\
         HTTP/1.1 200 OK\r\nset-cookie: {SECRET}\r\ntransfer-encoding: chunked\r\n\r\n\
         7\r\n{SECRET}\r\n0\r\nx-signature: {SECRET}\r\n\r\n"
    );
    let mut wire = BytesMut::from(&*wire);
    let mut shown = Vec::new();
    while let Some(event) = machine.decode(&mut wire).unwrap() {
        assert_hidden(&machine);
        shown.push(assert_hidden(&event));
        if let Event::End = event {
            break;
        }
    }
    let begins: Vec<_> = shown.iter().map(|text| text.split('(').next().unwrap()).collect();
    assert_eq!(begins, ["Informational", "Head", "Data", "Trailers", "End"]);
}
