//! An example that fetches URLs and draws where the time went: a waterfall of all requests, grouped by connection, with
//! one time axis. Without a URL, the requests go to servers of the example.
//!
//! Run the example by `cargo run --release --example phases -- [URL...] [OPTIONS]`. `--help` lists the options. `--har`
//! needs the feature `har`.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use handclasp::{Client, ClientBuilder, ExchangeRecord};
use lexopt::prelude::{Long, Short, Value, ValueExt};

mod chart;
mod demo;
mod exchange;
mod picture;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/svg.rs"]
mod svg;
#[cfg(feature = "rustls")]
#[path = "../support/tls.rs"]
mod tls;

use exchange::Exchange;

/// The arguments of the command line.
#[derive(Default)]
struct Arguments {
    urls: Vec<String>,
    /// Number of times that the URLs are fetched.
    repeat: usize,
    har: Option<PathBuf>,
    svg: Option<PathBuf>,
    wants_help: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A failed write is ignored, because there is no other place to report it.
            let _ = writeln!(std::io::stderr(), "phases: {error}");
            ExitCode::from(2)
        }
    }
}

/// Sends the requests and shows them. Returns whether all of them succeeded.
async fn run() -> Result<bool, Box<dyn Error>> {
    let arguments = Arguments::read()?;
    if arguments.wants_help {
        say(HELP);
        return Ok(true);
    }
    let records = Arc::new(Mutex::new(Vec::<ExchangeRecord>::new()));
    let seen = records.clone();
    let note = move |record: &ExchangeRecord| lock(&seen).push(record.clone());
    let builder = Client::builder().on_exchange(note);
    let (builder, archive) = Archive::start(arguments.har, builder);

    let has_succeeded = if arguments.urls.is_empty() {
        demo::run(builder).await?;
        true
    } else {
        let client = builder.build()?;
        let mut has_succeeded = true;
        for url in (0..arguments.repeat).flat_map(|_| &arguments.urls) {
            has_succeeded &= fetch(&client, url).await;
        }
        has_succeeded
    };

    let exchanges = Exchange::of_all(&lock(&records));
    let is_coloured = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    say(&chart::waterfall(&exchanges, is_coloured));
    say(&chart::table(&exchanges));
    if let Some(file) = archive.end()? {
        say(&format!("\nThe HAR file is {}.\n", file.display()));
    }
    if let Some(file) = arguments.svg {
        std::fs::write(&file, picture::waterfall(&exchanges).to_string())?;
        say(&format!("\nThe picture is in {}.\n", file.display()));
    }
    Ok(has_succeeded)
}

/// Fetches a URL and reads its content to the end. The record of the attempt says how an attempt failed.
async fn fetch(client: &Client, url: &str) -> bool {
    let fetched = async {
        let mut response = client.get(url).send().await?;
        while response.chunk().await?.is_some() {}
        Ok(())
    };
    let fetched: handclasp::Result<()> = fetched.await;
    match fetched {
        Ok(()) => true,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "phases: {}", error.chain());
            false
        }
    }
}

impl Arguments {
    fn read() -> Result<Self, lexopt::Error> {
        let mut read = Self { repeat: 1, ..Self::default() };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('n') | Long("repeat") => read.repeat = parser.value()?.parse()?,
                Long("har") => read.har = Some(parser.value()?.into()),
                Long("svg") => read.svg = Some(parser.value()?.into()),
                Short('h') | Long("help") => read.wants_help = true,
                Value(url) => read.urls.push(url.string()?),
                other => return Err(other.unexpected()),
            }
        }
        if read.har.is_some() && !cfg!(feature = "har") {
            return Err("--har needs the feature har: cargo run --features har --example phases".into());
        }
        Ok(read)
    }
}

/// The HAR file that the command line asks for.
struct Archive {
    #[cfg(feature = "har")]
    wanted: Option<(PathBuf, handclasp::har::HarLog)>,
}

#[cfg(feature = "har")]
impl Archive {
    fn start(file: Option<PathBuf>, builder: ClientBuilder) -> (ClientBuilder, Self) {
        let Some(file) = file else { return (builder, Self { wanted: None }) };
        let log = handclasp::har::HarLog::new();
        (builder.on_exchange(log.recorder()), Self { wanted: Some((file, log)) })
    }

    /// Writes the file, and returns its path.
    fn end(self) -> std::io::Result<Option<PathBuf>> {
        let Some((file, log)) = self.wanted else { return Ok(None) };
        log.write_to(std::fs::File::create(&file)?)?;
        Ok(Some(file))
    }
}

#[cfg(not(feature = "har"))]
impl Archive {
    fn start(_: Option<PathBuf>, builder: ClientBuilder) -> (ClientBuilder, Self) {
        (builder, Self {})
    }

    fn end(self) -> std::io::Result<Option<PathBuf>> {
        Ok(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a text. A failed write is ignored, because a failure means that the reader of the pipe has gone.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

const HELP: &str = "\
phases [URL...] [OPTIONS]

Fetches the URLs one after another, and draws the phases of each request on one
time axis. Without a URL, the requests go to servers of this example.

  -n, --repeat N   fetches all URLs N times (default 1)
      --har FILE   writes a HAR 1.2 file (needs the feature har)
      --svg FILE   writes a picture with a row for each connection
";
