//! Workers that fetch the URLs of the command line. The workers take the requests in order, and write the bodies to
//! one sink.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handclasp::{Client, Error, Response};
use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::cli::Options;
use crate::show;

pub(crate) async fn run(options: Options) -> ExitCode {
    let client = match client(&options) {
        Ok(client) => client,
        Err(message) => {
            show::complain(message);
            return ExitCode::from(2);
        }
    };
    let is_silent = options.silent;
    let parallel = options.parallel;
    let sink = Sink { path: options.output.clone(), out: None };
    let work = Arc::new(Work {
        client: client.clone(),
        next: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        turn: watch::Sender::new(0),
        sink: Mutex::new(sink),
        options,
    });
    let mut workers = JoinSet::new();
    for _ in 0..work.total().min(parallel as u64) {
        workers.spawn(work.clone().run());
    }
    let mut outcome = Ok(());
    while let Some(worker) = workers.join_next().await {
        outcome = worker.expect("no worker panics or is aborted");
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = work.sink.lock().await.finish().await;
    }
    match outcome {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(error) => {
            show::complain(format_args!("cannot write the body: {error}"));
            return ExitCode::FAILURE;
        }
    }
    if !is_silent {
        show::note(format_args!("\n{}", show::ledger(&client.pool().stats())));
    }
    if work.failures.load(Ordering::Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn client(options: &Options) -> Result<Client, String> {
    let mut builder =
        Client::builder().user_agent(concat!("fetch-handclasp/", env!("CARGO_PKG_VERSION"))).default_headers(
            http::HeaderMap::from_iter([(http::header::ACCEPT, http::HeaderValue::from_static("*/*"))]),
        );
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    for (host, address) in &options.resolve {
        builder = builder.resolve(host, *address);
    }
    if let Some(path) = &options.cacert {
        #[cfg(feature = "rustls")]
        {
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let certificates = handclasp::Certificate::from_pem_bundle(pem)
                .map_err(|error| format!("{}: {}", path.display(), error.chain()))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        #[cfg(not(feature = "rustls"))]
        return Err(format!(
            "--cacert {}: fetch was built without TLS: build it with the feature rustls",
            path.display()
        ));
    }
    builder.build().map_err(|error| error.chain().to_string())
}

struct Work {
    client: Client,
    options: Options,
    /// Number of the next request that no worker has taken.
    next: AtomicU64,
    failures: AtomicU64,
    /// Index of the URL whose body is written next.
    turn: watch::Sender<u64>,
    sink: Mutex<Sink>,
}

impl Work {
    fn total(&self) -> u64 {
        (self.options.urls.len() as u64).saturating_mul(self.options.repeat)
    }

    /// Runs requests until there are no more. An error of the sink ends all workers.
    async fn run(self: Arc<Self>) -> io::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total() {
                return Ok(());
            }
            let (index, fetch) = (number / self.options.repeat, number % self.options.repeat);
            let turn = (fetch == 0).then_some(index);
            let url = &self.options.urls[index as usize];
            match self.fetch(url, turn).await {
                Ok(()) => {}
                Err(Failure::Sink(error)) => return Err(error),
                Err(Failure::Status(status)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    show::complain(format_args!("{url}: the server answered {status}"));
                }
                Err(Failure::Request(error, received)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    show::complain(format_args!("{url}: {}", explain(&error, received)));
                }
            }
            if let Some(turn) = turn {
                self.wait_for(turn).await;
                self.turn.send_replace(turn + 1);
            }
        }
    }

    /// Waits until the bodies of all earlier URLs are written. The wait ends because workers take requests in order, so that
    /// the earlier requests are already under way.
    async fn wait_for(&self, turn: u64) {
        let reached = self.turn.subscribe().wait_for(|at| *at == turn).await.map(drop);
        reached.expect("self owns the sender");
    }

    /// Sends one request. If `turn` is set, writes the body of the response to the sink when the turn has come.
    async fn fetch(&self, url: &str, turn: Option<u64>) -> Result<(), Failure> {
        let request = match &self.options.data {
            Some(data) => self.client.post(url).body(data.clone()),
            None => self.client.get(url),
        };
        let request = request.headers(self.options.headers.clone());
        let mut response = request.send().await.map_err(|error| Failure::Request(error, 0))?;
        let status = response.status();
        if self.options.fail && (status.is_client_error() || status.is_server_error()) {
            return Err(Failure::Status(status));
        }
        let mut sink = match turn {
            None => None,
            Some(turn) => {
                self.wait_for(turn).await;
                Some(self.sink.lock().await)
            }
        };
        if let Some(sink) = &mut sink {
            let head = if self.options.include { head(&response) } else { Vec::new() };
            sink.write(&head).await?;
        }
        let mut progress = Progress::new(&response, &self.options);
        let mut received = 0;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    received += piece.len() as u64;
                    progress.at(received);
                    if let Some(sink) = &mut sink {
                        sink.write(&piece).await?;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some(sink) = &mut sink {
                        // The content that has arrived is written completely before the error message.
                        sink.finish().await?;
                    }
                    return Err(Failure::Request(error, received));
                }
            }
        }
        drop(progress);
        if let Some(sink) = &mut sink {
            sink.finish().await?;
        }
        if !self.options.silent {
            let line = show::request(status, received, response.timings(), response.connection());
            let which = if self.options.urls.len() > 1 { url } else { "" };
            show::note(format_args!("{line}  {which}").to_string().trim_end());
        }
        Ok(())
    }
}

enum Failure {
    /// Error of the request, and number of bytes of the body that arrived before the error.
    Request(Error, u64),
    /// Status of 400 or more. With `--fail` such a status counts as a failure.
    Status(StatusCode),
    Sink(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

/// Describes the error with its causes, its phase, and how much of the request was sent.
fn explain(error: &Error, received: u64) -> String {
    let arrived = match received {
        0 => String::new(),
        _ => format!("; {} of the body arrived", show::size(received)),
    };
    format!("{} ({}{arrived})", error.chain(), error.progress())
}

fn head(response: &Response) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("{:?} {} {reason}\r\n", response.version(), status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

/// Destination of the bodies: stdout, or a file that the first write opens.
struct Sink {
    path: Option<PathBuf>,
    out: Option<Box<dyn AsyncWrite + Send + Unpin>>,
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => {
                let out: Box<dyn AsyncWrite + Send + Unpin> = match &self.path {
                    Some(path) => Box::new(tokio::fs::File::create(path).await.map_err(|error| {
                        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                    })?),
                    None => Box::new(tokio::io::stdout()),
                };
                self.out.insert(out)
            }
        };
        out.write_all(bytes).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        match &mut self.out {
            Some(out) => out.flush().await,
            None => Ok(()),
        }
    }
}

/// Progress bar on stderr for a long body. The bar is shown only on a terminal that does not also show the body.
struct Progress {
    started: Instant,
    length: Option<u64>,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(response: &Response, options: &Options) -> Self {
        let is_free = options.output.is_some() || !io::stdout().is_terminal();
        let is_wanted = options.parallel == 1 && !options.silent && is_free && io::stderr().is_terminal();
        Self { started: Instant::now(), length: response.content_length(), is_wanted, bar: None }
    }

    fn at(&mut self, received: u64) {
        if !self.is_wanted {
            return;
        }
        let is_long = match self.length {
            Some(length) => length > LONG,
            None => self.started.elapsed() > Duration::from_secs(1),
        };
        if is_long {
            self.bar.get_or_insert_with(|| bar(self.length)).set_position(received);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} to go",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}  {binary_bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is a valid constant"))
}

const LONG: u64 = 1 << 20;
