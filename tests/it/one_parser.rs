//! Tests of URLs that parsers of URLs read in different ways. One reading decides where the client connects, what the Host
//! field says, and which connection serves the request.

#![cfg(feature = "url")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use handclasp::{Answer, BoxError, Client, ErrorKind, Family, Resolve, Url};

use crate::support::{Server, within};

/// A resolver that sends each name to a server on loopback, and records the names.
#[derive(Clone)]
struct Names {
    to: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Resolve for Names {
    fn resolve(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let answer = Answer::new([self.to]);
        Box::pin(async { Ok(answer) })
    }
}

/// The host that the WHATWG URL standard reads, or `None` if the text is not a URL of a host.
const CASES: &[(&str, Option<&str>)] = &[
    ("http://a.test@b.test/", Some("b.test")),
    ("http://a.test@b.test@c.test/", Some("c.test")),
    ("http://a.test:b@c.test/", Some("c.test")),
    ("http://a.test\\@b.test/", Some("a.test")),
    ("http://a.test#@b.test/", Some("a.test")),
    ("http://a.test?@b.test/", Some("a.test")),
    ("http://a.test/@b.test/", Some("a.test")),
    ("http:\\\\a.test\\b", Some("a.test")),
    ("http:/a.test/", Some("a.test")),
    ("http:///a.test/", Some("a.test")),
    ("http:a.test", Some("a.test")),
    ("ht\ttp://a.te\nst/", Some("a.test")),
    (" \t http://a.test/ \n", Some("a.test")),
    ("HTTP://A.Test/", Some("a.test")),
    ("http://%61.test/", Some("a.test")),
    ("http://\u{ff41}.test/", Some("a.test")),
    ("http://a\u{ad}b.test/", Some("ab.test")),
    ("http://a\u{3002}test/", Some("a.test")),
    ("http://b\u{fc}cher.test/", Some("xn--bcher-kva.test")),
    ("http://a.test:80/", Some("a.test")),
    ("http://a.test:/", Some("a.test")),
    ("http://a%2fb.test/", None),
    ("http://a%00b.test/", None),
    ("http://a\0b.test/", None),
    ("http://a b.test/", None),
    ("http://a<b.test/", None),
    ("http://a.test:65536/", None),
    ("http://a.test:8x/", None),
    ("http://a.test:\u{ff18}\u{ff10}/", None),
    ("http://a.test:-1/", None),
    ("http://", None),
    ("http://@/", None),
    ("http://:80/", None),
    ("http://[::1/", None),
    ("http://[::1%251]/", None),
    ("http://1.2.3.4.5/", None),
    ("http://256.0.0.1/", None),
    ("http://0x100000000/", None),
    ("//a.test/", None),
    ("a.test", None),
    ("", None),
];

#[tokio::test]
async fn a_33_one_reading_decides_where_a_request_goes_and_what_it_says() {
    for &(text, host) in CASES {
        let server = Server::echo();
        let names = Names { to: server.address(), asked: Arc::default() };
        let client = Client::builder().dns_resolver(names.clone()).build().unwrap();
        let sent = within(20, client.get(text).send()).await;
        let asked = names.asked.lock().unwrap().clone();
        let read = Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
        assert_eq!(read.as_deref(), host, "the table has the reading of the standard: {text:?}");
        match host {
            Some(host) => {
                let response = sent.unwrap_or_else(|error| panic!("{text:?}: {}", error.chain()));
                assert_eq!(asked, [host], "A-33: {text:?}");
                assert_eq!(response.url().host_str(), Some(host), "A-33: {text:?}");
                let seen = server.seen();
                assert_eq!(seen.len(), 1, "A-33: {text:?}");
                assert_eq!(seen[0].request.field("host"), Some(host), "A-33: {text:?}");
                let origin = format!("http://{host}");
                assert_eq!(client.pool().stats().hosts[0].origin, origin, "A-33: {text:?}");
            }
            None => {
                let error = sent.expect_err(text);
                assert_eq!(error.kind(), ErrorKind::Request, "A-33: {text:?}: {}", error.chain());
                assert_eq!((asked.len(), server.connections()), (0, 0), "A-33: {text:?}");
            }
        }
    }
}

/// Port 0 is a port for the standard, and no server has it.
#[tokio::test]
async fn a_33_port_0_is_refused_before_a_dial() {
    let names = Names { to: (Ipv4Addr::LOCALHOST, 1).into(), asked: Arc::default() };
    let client = Client::builder().dns_resolver(names.clone()).build().unwrap();
    let error = within(20, client.get("http://a.test:0/").send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request, "A-33: {}", error.chain());
    assert_eq!(names.asked.lock().unwrap().len(), 0, "A-33");
}
