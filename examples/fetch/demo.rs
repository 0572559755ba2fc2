//! A demonstration that sends requests to a server on this machine, and shows what the pool saves.

use std::fmt::Display;
use std::io::Write;
use std::time::Instant;

use handclasp::{BoxError, Client};
use tokio::task::JoinSet;

use crate::chart::{self, Row, Style};
use crate::server::Server;
use crate::show;

pub(crate) async fn run() -> Result<(), BoxError> {
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

    let style = Style::of(&std::io::stdout());
    let started = Instant::now();
    let say_chart = |rows: &[Row]| say(chart::chart(rows, style));

    say("Five requests, one after another. The first one opens a connection, and the\n\
         others reuse it:\n");
    let mut rows = Vec::new();
    for _ in 0..5 {
        rows.push(get(&client, format!("{plain}/hello"), started).await?);
    }
    say_chart(&rows);

    say("\nEight requests at once, with a limit of four connections. Three more are opened,\n\
         and each connection serves two requests:\n");
    let mut requests = JoinSet::new();
    for _ in 0..8 {
        let (client, url) = (client.clone(), format!("{plain}/slow/20"));
        requests.spawn(async move { get(&client, url, started).await });
    }
    let rows = requests.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    say_chart(&rows);

    say("\nA long body, read piece by piece: first with a Content-Length, then in chunks:\n");
    let sized = get(&client, format!("{plain}/bytes/{LONG}"), started).await?;
    let chunked = get(&client, format!("{plain}/chunked/{LONG}"), started).await?;
    say_chart(&[sized, chunked]);

    #[cfg(feature = "rustls")]
    {
        say("\nOver https a handshake takes longer. The first request also waits while the\n\
             trust store is read (queue):\n");
        let first = get(&client, format!("{secure}/hello"), started).await?;
        say(chart::single(&first, style));
        say("\nThree more requests on this connection:\n");
        let mut rows = Vec::new();
        for _ in 0..3 {
            rows.push(get(&client, format!("{secure}/hello"), started).await?);
        }
        say_chart(&rows);
    }

    say("\nThe bars of a group share one time axis. A letter is the phase of a request:\n\
         q queue, c connect, t tls, s send, w wait, r receive.\n\
         conn 2 #3 is the third request on connection 2.");
    say(format_args!(
        "\nWhat the pool did, for each origin:\n\n{}",
        show::ledger(&client.pool().stats(), style.width)
    ));
    Ok(())
}

async fn get(client: &Client, url: String, started: Instant) -> handclasp::Result<Row> {
    let mut row = Row::new(show::name(&url, 0), started.elapsed());
    let mut response = client.get(url).send().await?.error_for_status()?;
    while let Some(piece) = response.chunk().await? {
        row.received += piece.len() as u64;
    }
    row.status = Some(response.status());
    row.timings = *response.timings();
    row.connected(response.connection());
    Ok(row)
}

/// Prints a line on stdout. A failed write is ignored, because it means that the reader of the pipe has gone.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

const LONG: u64 = 16 << 20;
