//! An example that fetches URLs and draws where the time went: a waterfall of all requests, grouped by connection, with
//! one time axis. Without a URL, the requests go to servers of the example.
//!
//! Run the example by `cargo run --release --example phases -- [URL...] [OPTIONS]`. `--help` lists the options. `--har`
//! needs the feature `har`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use handclasp::{BoxError, Client, ClientBuilder, ExchangeRecord};
use lexopt::prelude::{Long, Short, Value, ValueExt};

mod chart;
mod demo;
mod exchange;
mod picture;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/svg.rs"]
mod svg;
#[path = "../support/terminal.rs"]
mod terminal;
#[cfg(feature = "rustls")]
#[path = "../support/tls.rs"]
mod tls;

use exchange::Exchange;
use terminal::{about, at_least_one, say};

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
        Err(error) => terminal::status(Err(error)),
    }
}

/// Sends the requests and shows them. Returns whether all of them succeeded.
async fn run() -> Result<bool, BoxError> {
    let arguments = Arguments::read()?;
    if arguments.wants_help {
        terminal::write(format_args!("{HELP}"));
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
    if exchanges.is_empty() {
        say!("No request was sent.");
    } else {
        say!("{}", chart::waterfall(&exchanges, terminal::takes_colours(&std::io::stdout())));
        say!("{}", chart::table(&exchanges));
    }
    if let Some(file) = archive.end()? {
        say!("\nThe HAR file is {}.", file.display());
    }
    if let Some(file) = arguments.svg {
        let written = std::fs::write(&file, picture::waterfall(&exchanges).to_string());
        written.map_err(|error| about(&file, &error))?;
        say!("\nThe picture is in {}.", file.display());
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
            terminal::complain(&error);
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
                Short('n') | Long("repeat") => read.repeat = parser.value()?.parse_with(at_least_one)?,
                Long("har") => read.har = Some(parser.value()?.into()),
                Long("svg") => read.svg = Some(parser.value()?.into()),
                Short('h') | Long("help") => read.wants_help = true,
                Value(url) => read.urls.push(url.string()?),
                other => return Err(other.unexpected()),
            }
        }
        if read.urls.is_empty() && read.repeat != 1 {
            return Err("-n needs a URL".into());
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
    fn end(self) -> Result<Option<PathBuf>, String> {
        let Some((file, log)) = self.wanted else { return Ok(None) };
        let written = std::fs::File::create(&file).and_then(|to| log.write_to(to));
        written.map_err(|error| about(&file, &error))?;
        Ok(Some(file))
    }
}

#[cfg(not(feature = "har"))]
impl Archive {
    fn start(_: Option<PathBuf>, builder: ClientBuilder) -> (ClientBuilder, Self) {
        (builder, Self {})
    }

    fn end(self) -> Result<Option<PathBuf>, String> {
        Ok(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const HELP: &str = "\
phases [URL...] [OPTIONS]

Fetches the URLs one after another, and draws the phases of each request on one
time axis. Without a URL, the requests go to servers of this example.

  -n, --repeat N   fetches all URLs N times (default 1)
      --har FILE   writes a HAR 1.2 file (needs the feature har)
      --svg FILE   writes a picture with a row for each connection
  -h, --help       prints this text

The status is 1 if a request fails, and 2 if the command line is wrong. Bars
have colours on a terminal, unless NO_COLOR is set.
";
