//! The demonstration: a server on loopback, and what the pool makes of it.

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

use handclasp::Client;
use tokio::task::JoinSet;

use crate::server::Server;
use crate::show;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let server = Server::start(None)?;
    let plain = format!("http://{}", server.address());
    let builder = Client::builder().max_connections_per_host(4);

    #[cfg(feature = "rustls")]
    let (builder, _secured, secure) = {
        let (acceptor, certificate) = crate::tls::identity("localhost")?;
        let secured = Server::start(Some(acceptor))?;
        let origin = format!("https://localhost:{}", secured.address().port());
        (builder.add_root_certificate(certificate), secured, origin)
    };
    let client = builder.build()?;

    say("One after another. The first request pays for the handshake, the others find its connection:\n");
    for _ in 0..5 {
        say(get(&client, format!("{plain}/hello")).await?);
    }

    say("\nEight at once, with at most four connections: three are added, and each serves two:\n");
    let mut requests = JoinSet::new();
    for _ in 0..8 {
        let (client, url) = (client.clone(), format!("{plain}/slow/20"));
        requests.spawn(async move { get(&client, url).await });
    }
    while let Some(line) = requests.join_next().await {
        say(line??);
    }

    say("\nA long body, read piece by piece, with and without its length announced:\n");
    say(get(&client, format!("{plain}/bytes/{LONG}")).await?);
    say(get(&client, format!("{plain}/chunked/{LONG}")).await?);

    #[cfg(feature = "rustls")]
    {
        say(
            "\nOver https a handshake costs more. (The very first one waits for the trust store to be read: its queue.)\n",
        );
        for _ in 0..4 {
            say(get(&client, format!("{secure}/hello")).await?);
        }
    }

    say("\nEach bar is one request: q queue, c connect, t tls, s send, w wait, r receive.");
    say(format_args!("\nOne handshake, many requests:\n\n{}", show::ledger(&client.pool().stats())));
    Ok(())
}

async fn get(client: &Client, url: String) -> handclasp::Result<String> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut received = 0;
    while let Some(piece) = response.chunk().await? {
        received += piece.len() as u64;
    }
    Ok(show::request(response.status(), received, response.timings(), response.connection()))
}

/// A line on stdout. A reader that has gone away misses it.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

const LONG: u64 = 16 << 20;
