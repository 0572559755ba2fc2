//! Requests to servers on this machine, which show each phase.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use handclasp::{Answer, BoxError, ClientBuilder, Family, Resolve};

use crate::fetch;
use crate::server::Server;

pub(crate) async fn run(builder: ClientBuilder) -> Result<(), BoxError> {
    let plain = Server::start(None)?;
    let builder = builder.dns_resolver(Loopback).max_connections_per_host(2);
    #[cfg(feature = "rustls")]
    let (builder, secured) = {
        let (acceptor, certificate) = crate::tls::identity(NAME)?;
        (builder.tls_certs_only([certificate]), Server::start(Some(acceptor))?)
    };
    let client = builder.build()?;

    let origin = format!("http://{NAME}:{}", plain.address().port());
    let get = |path: &'static str| {
        let (client, url) = (client.clone(), format!("{origin}/{path}"));
        async move { fetch(&client, &url).await }
    };
    // The second request reuses the connection of the first request.
    get("slow/3").await;
    get("slow/3").await;
    // The third of these requests waits for one of two connections.
    tokio::join!(get("slow/4"), get("slow/6"), get("slow/2"));
    get("chunked/4000000").await;
    #[cfg(feature = "rustls")]
    for _ in 0..2 {
        fetch(&client, &format!("https://{NAME}:{}/slow/2", secured.address().port())).await;
    }
    Ok(())
}

/// A resolver that answers 127.0.0.1 for every name, after two milliseconds.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Answer::new([(Ipv4Addr::LOCALHOST, 0).into()]))
        })
    }
}

const NAME: &str = "phases.example";
