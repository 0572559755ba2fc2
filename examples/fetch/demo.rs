//! A demonstration that sends requests to a server on this machine, and shows what the pool saves.

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

    say("Five requests, one after another. The first one opens a connection, the others reuse it:\n");
    for _ in 0..5 {
        say(get(&client, format!("{plain}/hello")).await?);
    }

    say(
        "\nEight requests at once, with a limit of four connections. Three more are opened, and each serves two requests:\n",
    );
    let mut requests = JoinSet::new();
    for _ in 0..8 {
        let (client, url) = (client.clone(), format!("{plain}/slow/20"));
        requests.spawn(async move { get(&client, url).await });
    }
    while let Some(line) = requests.join_next().await {
        say(line??);
    }

    say("\nA long body, read piece by piece: first with a Content-Length, then in chunks:\n");
    say(get(&client, format!("{plain}/bytes/{LONG}")).await?);
    say(get(&client, format!("{plain}/chunked/{LONG}")).await?);

    #[cfg(feature = "rustls")]
    {
        say(
            "\nOver https a handshake takes longer. The first request also waits while the trust store is read (queue):\n",
        );
        for _ in 0..4 {
            say(get(&client, format!("{secure}/hello")).await?);
        }
    }

    say("\nA bar shows the phases of one request: q queue, c connect, t tls, s send, w wait, r receive.\n\
         conn 2 #3 is the third request on the second connection.");
    say(format_args!("\nWhat the pool did, for each origin:\n\n{}", show::ledger(&client.pool().stats())));
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

/// Prints a line on stdout. A failed write is ignored, because it means that the reader of the pipe has gone.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

const LONG: u64 = 16 << 20;
