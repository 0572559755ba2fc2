//! Workers that fetch the URLs of the command line. The workers take the requests in order, and write the bodies to
//! one sink.

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use handclasp::{Client, Error, RequestBuilder, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::chart::{self, Row, Style};
use crate::cli::{Content, Form, Options};
use crate::progress::Progress;
use crate::report::{self, Details};
use crate::show;
use crate::sink::Sink;
use crate::usage::Usage;

pub(crate) async fn run(options: Options) -> ExitCode {
    let client = match client(&options) {
        Ok(client) => client,
        Err(usage) => {
            show::complain(usage);
            return ExitCode::from(2);
        }
    };
    let work = Arc::new(Work {
        client,
        started: Instant::now(),
        next: AtomicU64::new(0),
        finished: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        turn: watch::Sender::new(0),
        sink: Mutex::new(Sink::new(options.output.clone())),
        progress: Progress::new(&options),
        rows: Lock::default(),
        options,
    });
    let mut workers = JoinSet::new();
    for _ in 0..work.options.total().min(work.options.parallel as u64) {
        workers.spawn(work.clone().run());
    }
    let mut outcome = Ok(());
    let mut interrupt = pin!(interrupted());
    loop {
        tokio::select! {
            worker = workers.join_next() => match worker {
                Some(worker) => outcome = worker.expect("no worker panics or is aborted"),
                None => break,
            },
            () = &mut interrupt => {
                workers.shutdown().await;
                work.interrupt().await;
            }
        }
        if outcome.is_err() {
            break;
        }
    }
    work.progress.clear();
    if outcome.is_ok() {
        outcome = work.sink.lock().await.flush().await;
    }
    match outcome {
        Ok(()) => {}
        // The reader of the output has closed the pipe, which is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return work.status(),
        Err(error) => {
            show::complain(format_args!("cannot write the body: {error}"));
            return ExitCode::FAILURE;
        }
    }
    work.summarize();
    work.status()
}

/// Waits for Ctrl-C. Waits forever if the system does not report Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn client(options: &Options) -> Result<Client, Usage> {
    let mut builder = Client::builder()
        .user_agent(concat!("fetch-handclasp/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]));
    #[cfg(feature = "url")]
    if !options.location {
        builder = builder.redirect(handclasp::redirect::Policy::none());
    }
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    for (host, address) in &options.resolve {
        builder = builder.resolve(host, *address);
    }
    if let Some(path) = &options.cacert {
        #[cfg(feature = "rustls")]
        {
            let failed = |why| Usage::File { option: "--cacert", path: path.display().to_string(), why };
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates = handclasp::Certificate::from_pem_bundle(pem)
                .map_err(|error| failed(error.chain().to_string()))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        #[cfg(not(feature = "rustls"))]
        return Err(Usage::File {
            option: "--cacert",
            path: path.display().to_string(),
            why: "fetch was built without TLS: build it with --features rustls".to_owned(),
        });
    }
    builder.build().map_err(|error| Usage::Client(error.chain().to_string()))
}

struct Work {
    client: Client,
    options: Options,
    /// Start of all requests, and of the time axis.
    started: Instant,
    /// Number of the next request that no worker has taken.
    next: AtomicU64,
    /// Number of requests that have ended.
    finished: AtomicU64,
    failures: AtomicU64,
    /// Index of the URL whose body is written next.
    turn: watch::Sender<u64>,
    sink: Mutex<Sink>,
    progress: Progress,
    /// Lines of the chart that is printed at the end: at most [`MOST_ROWS`].
    rows: Lock<Vec<Row>>,
}

impl Work {
    /// Runs requests until there are no more. An error of the sink ends all workers.
    async fn run(self: Arc<Self>) -> io::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.total() {
                return Ok(());
            }
            let (index, fetch) = (number / self.options.repeat, number % self.options.repeat);
            let turn = (fetch == 0).then_some(index);
            let url = &self.options.urls[index as usize];
            let mut row = Row::new(show::name(url, index as usize), self.started.elapsed());
            let mut details = Details { method: self.method().to_string(), ..Details::default() };
            match self.fetch(url, turn, &mut row, &mut details).await {
                Ok(()) => {}
                Err(Failure::Sink(error)) => return Err(error),
                Err(Failure::Status(status)) => {
                    details.error = Some(format!("the server answered {status}"));
                }
                Err(Failure::Request(error)) => {
                    row.timings = error.timings().copied().unwrap_or_default();
                    details.error = Some(self.explain(error, &row, turn.is_some()));
                }
            }
            self.end(row, &details);
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

    fn method(&self) -> Method {
        let usual = if self.options.content.is_some() { Method::POST } else { Method::GET };
        self.options.method.clone().unwrap_or(usual)
    }

    fn request(&self, url: &str) -> RequestBuilder {
        let mut request = self.client.request(self.method(), url).decompress(self.options.compressed);
        if let Some(user) = &self.options.user {
            request = request.basic_auth(&user.name, Some(&user.password));
        }
        request = match &self.options.content {
            None => request,
            Some(Content::Form(data)) => {
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(data.clone())
            }
            Some(Content::Json(data)) => {
                let request =
                    request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
                request.body(data.clone())
            }
        };
        // The fields of -H replace the fields that other options have set.
        request.headers(self.options.headers.clone())
    }

    /// Sends one request. If `turn` is set, writes the body of the response to the sink when the turn has come.
    async fn fetch(
        &self,
        url: &str,
        turn: Option<u64>,
        row: &mut Row,
        details: &mut Details,
    ) -> Result<(), Failure> {
        let mut response = self.request(url).send().await?;
        let status = response.status();
        row.status = Some(status);
        row.timings = *response.timings();
        row.connected(response.connection());
        details.connection = Some(response.connection().clone());
        details.redirects = redirects(&response);
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
            sink.begin(&row.name, response.content_length(), &head).await?;
        }
        let mut progress = self.progress.body(response.content_length());
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    row.received += piece.len() as u64;
                    progress.add(piece.len());
                    if let Some(sink) = &mut sink {
                        sink.write(&piece).await?;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some(sink) = &mut sink {
                        // The content that has arrived is written completely before the error message.
                        sink.end(false).await?;
                    }
                    return Err(error.into());
                }
            }
        }
        if let Some(sink) = &mut sink {
            sink.end(true).await?;
        }
        row.timings = *response.timings();
        Ok(())
    }

    /// Describes the error with its causes, its phase, and how much of the request was sent. If there are several URLs, the
    /// text has no URL, because the caller prints the URL.
    fn explain(&self, error: Error, row: &Row, is_written: bool) -> String {
        let progress = error.progress().to_string();
        let error = if self.options.urls.len() > 1 { error.without_url() } else { error };
        let mut text = format!("{} ({progress}", error.chain());
        if row.received > 0 {
            text += &format!("; {} of the body arrived", show::size(row.received));
            if let Some(path) = self.options.output.as_ref().filter(|_| is_written) {
                text += &format!("; its body in {} is partial", path.display());
            }
        }
        text + ")"
    }

    /// Reports a request that has ended.
    fn end(&self, mut row: Row, details: &Details) {
        let number = self.finished.fetch_add(1, Ordering::Relaxed);
        self.progress.end_request();
        row.has_failed = details.error.is_some();
        if row.has_failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if self.options.timings == Form::Json {
            self.progress.suspend(|| show::note(report::json(&row, details)));
            return;
        }
        if let Some(error) = &details.error {
            let is_one = self.options.urls.len() == 1;
            self.progress.suspend(|| match is_one && row.status.is_none() {
                true => show::complain(error),
                false => show::complain(format_args!("{}: {error}", row.name)),
            });
        }
        if !self.options.silent && self.options.total() == 1 {
            for (status, url) in &details.redirects {
                show::note(format_args!("{status} from {url}"));
            }
        }
        if !self.options.silent && number < MOST_ROWS {
            self.rows.lock().expect("no worker panics").push(row);
        }
    }

    /// Returns the exit status of the requests that have ended.
    fn status(&self) -> ExitCode {
        if self.failures.load(Ordering::Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Prints the chart of the requests and the ledger of the pool. A single request has no ledger.
    fn summarize(&self) {
        let rows = self.rows.lock().expect("no worker panics");
        let style = Style::of(&io::stderr());
        if self.options.total() == 1 {
            // A request that was refused before it began took no time, and has no bar.
            if let Some(row) = rows.first().filter(|row| !row.timings.total.is_zero()) {
                show::note(chart::single(row, style));
            }
        } else if !rows.is_empty() {
            show::note(chart::chart(&rows, style));
            let left = self.finished.load(Ordering::Relaxed).saturating_sub(rows.len() as u64);
            if left > 0 {
                show::note(format_args!("and {left} more: --timings json prints all"));
            }
            show::note(format_args!("\n{}", show::ledger(&self.client.pool().stats(), style.width)));
        }
    }

    /// Says what was written until Ctrl-C, and ends the process. The process ends at once because the runtime would wait
    /// for a write to a pipe that nobody reads.
    async fn interrupt(&self) -> ! {
        self.progress.clear();
        let mut sink = self.sink.lock().await;
        let flushed = tokio::time::timeout(FLUSH_TIME, sink.flush()).await;
        let taken = self.next.load(Ordering::Relaxed).min(self.options.total());
        let finished = self.finished.load(Ordering::Relaxed);
        let mut text = format!("{finished} of {} requests had ended", self.options.total());
        if taken > finished {
            text += &format!(", {} under way", taken - finished);
            if !self.method().is_safe() {
                text += " (the server may have acted on these)";
            }
        }
        text += &format!("; {}", sink.holds());
        if !matches!(flushed, Ok(Ok(()))) {
            text += "; the last of these bytes could not be written";
        }
        if self.options.timings == Form::Json {
            show::note(serde_json::json!({ "interrupted": text }));
        } else {
            self.summarize();
            show::complain(format_args!("interrupted: {text}"));
        }
        std::process::exit(130);
    }
}

enum Failure {
    Request(Error),
    /// Status of 400 or more. With `--fail` such a status counts as a failure.
    Status(StatusCode),
    Sink(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

/// Returns the status and the URL of each redirect before the response.
fn redirects(response: &Response) -> Vec<(u16, String)> {
    #[cfg(feature = "url")]
    let hops = response.redirects().iter().map(|hop| (hop.status().as_u16(), hop.url().to_string()));
    #[cfg(not(feature = "url"))]
    let hops = {
        let _ = response;
        std::iter::empty()
    };
    hops.collect()
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

/// Largest number of lines in a chart.
const MOST_ROWS: u64 = 500;
/// Time that a write to a slow destination may take after Ctrl-C.
const FLUSH_TIME: Duration = Duration::from_secs(1);
