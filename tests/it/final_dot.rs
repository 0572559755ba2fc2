//! Tests of host names with a final dot. Such a name is absolute: the resolver gets the dot, the Host field has it, and the
//! pool tells the name from the same name without the dot. TLS takes the name without the dot.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use handclasp::{Answer, BoxError, Client, ClientBuilder, Family, Resolve};

use crate::support::{Server, within};

/// A resolver that sends each name to loopback, and records the names.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Resolve for Names {
    fn resolve(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        self.0.lock().unwrap().push(name.to_owned());
        Box::pin(async { Ok(Answer::new([SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])) })
    }
}

async fn get(client: &Client, url: &str) -> String {
    let response =
        within(20, client.get(url).send()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    within(20, response.text()).await.unwrap()
}

/// Returns the Host fields that a server got, in order.
fn hosts(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.request.field("host").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_resolver_and_the_host_field_get_the_dot() {
    let (server, names) = (Server::echo(), Names::default());
    let client = Client::builder().dns_resolver(names.clone()).build().unwrap();
    let port = server.address().port();
    for host in ["api.test.", "API.Test.", "one."] {
        get(&client, &format!("http://{host}:{port}/")).await;
    }
    assert_eq!(*names.0.lock().unwrap(), ["api.test.", "one."], "the second request reuses the connection");
    assert_eq!(hosts(&server), ["api.test.", "api.test.", "one."].map(|host| format!("{host}:{port}")));
}

#[tokio::test]
async fn rule_01_names_with_and_without_the_dot_share_no_connection() {
    let (server, names) = (Server::echo(), Names::default());
    let client = Client::builder().dns_resolver(names.clone()).build().unwrap();
    let port = server.address().port();
    for _ in 0..2 {
        for host in ["api.test", "api.test."] {
            get(&client, &format!("http://{host}:{port}/")).await;
        }
    }
    assert_eq!(*names.0.lock().unwrap(), ["api.test", "api.test."]);
    assert_eq!(server.requests_per_connection(), [2, 2]);
    let mut origins: Vec<_> = client.pool().stats().hosts.iter().map(|host| host.origin.clone()).collect();
    origins.sort_unstable();
    assert_eq!(origins, [format!("http://api.test.:{port}"), format!("http://api.test:{port}")]);
}

/// An override and `localhost` name one host, however the URL spells it.
#[tokio::test]
async fn overrides_and_localhost_apply_with_and_without_the_dot() {
    let (server, names) = (Server::echo(), Names::default());
    let port = server.address().port();
    for (fixed, asked) in
        [("a.test", "a.test."), ("a.test.", "a.test"), ("a.test.", "a.test."), ("b", "localhost.")]
    {
        let client: ClientBuilder = Client::builder().dns_resolver(names.clone());
        let client = client.resolve(fixed, server.address()).build().unwrap();
        get(&client, &format!("http://{asked}:{port}/")).await;
    }
    assert_eq!(*names.0.lock().unwrap(), [] as [&str; 0]);
}

#[cfg(feature = "url")]
#[tokio::test]
async fn a_35_a_redirect_to_the_name_without_the_dot_leaves_the_origin() {
    use super::redirect::{heads, serve};

    let target = Arc::new(Mutex::new(String::new()));
    let to = target.clone();
    let server = serve(move |path| match path {
        "/a" => format!("302 {}", to.lock().unwrap()),
        _ => "end".into(),
    });
    let port = server.address().port();
    let client = Client::builder().dns_resolver(Names::default()).build().unwrap();
    for (from, to) in [("api.test.", "api.test"), ("api.test", "api.test.")] {
        *target.lock().unwrap() = format!("http://{to}:{port}/b");
        let request = client.get(format!("http://{from}:{port}/a")).bearer_auth("hunter2");
        within(20, request.send()).await.unwrap();
        let last = heads(&server).pop().unwrap();
        assert!(last.starts_with("get /b ") && !last.contains("hunter2"), "A-35: {last}");
    }
}

/// The certificate is valid for `localhost`.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_50_tls_verifies_the_name_without_the_dot() {
    let server = Server::start_tls(|peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let root = handclasp::Certificate::from_pem(server.authority()).unwrap();
    let client = Client::builder().add_root_certificate(root).build().unwrap();
    let port = server.address().port();
    assert_eq!(get(&client, &format!("https://localhost.:{port}/x")).await, "/x", "A-50");
    assert_eq!(hosts(&server), [format!("localhost.:{port}")]);
}
