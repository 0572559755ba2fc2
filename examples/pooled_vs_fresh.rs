//! An example that sends the same requests twice: first over one kept connection, and then over a new connection for
//! each request. The example shows what the handshakes cost, and from which request on a kept connection is faster.
//!
//! Run the example by `cargo run --release --example pooled_vs_fresh -- [URL] [OPTIONS]`. Without a URL, the requests
//! go to a server of the example, over http and https. `--help` lists the options.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use handclasp::{BoxError, Client, ClientBuilder, Timings};

use self::arguments::Arguments;
use self::link::{HERE, Link, NEEDS, THERE};
use self::svg::{Bar, Row, Tone, Waterfall, round_time, time};
use self::terminal::{about, plural, say};

#[path = "support/pooled_vs_fresh.rs"]
mod arguments;
#[path = "../benches/support/link.rs"]
mod link;
#[path = "support/server.rs"]
mod server;
#[path = "support/svg.rs"]
mod svg;
#[path = "support/terminal.rs"]
mod terminal;
#[cfg(feature = "rustls")]
#[path = "support/tls.rs"]
mod tls;

fn main() -> ExitCode {
    terminal::status(compare())
}

fn compare() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    if arguments.wants_help {
        terminal::write(format_args!("{}", arguments::HELP));
        return Ok(());
    }
    // This step comes before the runtime and its threads, because the program runs again in a namespace.
    let link = match arguments.round_trip {
        Some(round_trip) => {
            let link = Link::enter().map_err(|reason| format!("{reason}: --rtt needs {NEEDS}"))?;
            link.set_round_trip(round_trip);
            Some(link)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments, link.is_some()))
}

async fn run(arguments: &Arguments, has_link: bool) -> Result<(), BoxError> {
    let requests = plural(arguments.requests, "request");
    let sent = match &arguments.url {
        Some(url) => format!("{requests} for {}", without_secrets(url)),
        None => format!("{requests} for {}", bytes(arguments.body)),
    };
    let over = match arguments.round_trip {
        Some(round_trip) => format!(", over a round trip of {}", round_time(round_trip)),
        None => String::new(),
    };
    let requests = arguments.requests;
    say!("{sent}, one after another{over}\n");
    say!("scheme  connections     total    median   slowest       TCP       TLS  opened");
    let mut comparisons = Vec::new();
    if let Some(url) = &arguments.url {
        let scheme = url.split(':').next().unwrap_or_default();
        comparisons.push(Comparison::measure(scheme, url, Client::builder, requests).await?);
    } else {
        let (listen, reach) =
            if has_link { (HERE, THERE) } else { (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST) };
        let path = format!("bytes/{}", arguments.body);
        let server = server::Server::start_at(listen, None)?;
        let url = format!("http://{}/{path}", SocketAddr::new(reach.into(), server.address().port()));
        comparisons.push(Comparison::measure("http", &url, Client::builder, requests).await?);
        #[cfg(feature = "rustls")]
        {
            let (acceptor, certificate) = tls::identity(&reach.to_string())?;
            let server = server::Server::start_at(listen, Some(acceptor))?;
            let url = format!("https://{}/{path}", SocketAddr::new(reach.into(), server.address().port()));
            let builder = || Client::builder().tls_certs_only([certificate.clone()]);
            comparisons.push(Comparison::measure("https", &url, builder, requests).await?);
        }
    }
    comparisons.iter().for_each(Comparison::print_break_even);
    if let Some(file) = &arguments.svg {
        let written = std::fs::write(file, picture(&comparisons, &sent, &over));
        written.map_err(|error| about(file, &error))?;
        say!("\nThe picture is in {}.", file.display());
    }
    if arguments.url.is_none() && !has_link {
        say!("\nOn one machine a round trip takes no time. On Linux, --rtt 50 makes it 50 ms.");
    }
    Ok(())
}

/// The same requests, pooled and fresh.
struct Comparison {
    scheme: String,
    pooled: Run,
    fresh: Run,
}

/// Sequential requests by one client.
struct Run {
    /// Start of each request, after the start of the first request, and the lengths of its phases.
    requests: Vec<(Duration, Timings)>,
}

impl Comparison {
    async fn measure(
        scheme: &str,
        url: &str,
        builder: impl Fn() -> ClientBuilder,
        requests: usize,
    ) -> Result<Self, BoxError> {
        let pooled = Run::measure(scheme, "kept", url, &builder().build()?, requests).await?;
        // With no idle connection in the pool, each request opens a connection of its own.
        let client = builder().max_idle_per_host(0).build()?;
        let fresh = Run::measure(scheme, "new", url, &client, requests).await?;
        Ok(Self { scheme: scheme.to_owned(), pooled, fresh })
    }

    /// Prints what a handshake costs, and the time of some numbers of requests with and without reuse.
    fn print_break_even(&self) {
        let handshake = mean(self.fresh.requests.iter().map(|(_, timings)| handshake(timings)));
        let fresh = mean(self.fresh.requests.iter().map(|(_, timings)| timings.total));
        let reused = self.pooled.requests.iter().filter(|(_, timings)| handshake_of(timings).is_none());
        let reused: Vec<Duration> = reused.map(|(_, timings)| timings.total).collect();
        say!();
        if reused.is_empty() {
            say!("{}: no request reused a connection, so that there is nothing to compare.", self.scheme);
            return;
        }
        let reused = mean(reused.into_iter());
        let (scheme, shown) = (&self.scheme, [handshake, reused].map(time));
        say!("{scheme}: a handshake takes {}, and a request without it {}.", shown[0], shown[1]);
        let ahead = self.pooled.ahead_of(&self.fresh);
        match ahead {
            Some(request) => say!("Break-even: the kept connection is ahead from request {request} on."),
            None => say!("Break-even: the kept connection was not ahead at the end. Send more requests."),
        }
        say!("  requests       kept        new   saved   (by the mean times above)");
        for requests in [1, 2, 5, 10, 100, 1000] {
            let (kept, new) = (fresh + reused * (requests - 1), fresh * requests);
            let saved = 100.0 * (1.0 - kept.as_secs_f64() / new.as_secs_f64().max(f64::MIN_POSITIVE));
            say!("  {requests:>8}  {:>9}  {:>9}   {saved:>3.0} %", time(kept), time(new));
        }
    }
}

impl Run {
    async fn measure(
        scheme: &str,
        connections: &str,
        url: &str,
        client: &Client,
        number: usize,
    ) -> Result<Self, BoxError> {
        let mut requests = Vec::with_capacity(number);
        let begun = Instant::now();
        for _ in 0..number {
            let start = begun.elapsed();
            let mut response = client.get(url).send().await?.error_for_status()?;
            while response.chunk().await?.is_some() {}
            requests.push((start, *response.timings()));
        }
        let run = Self { requests };
        let mut totals: Vec<Duration> = run.requests.iter().map(|(_, timings)| timings.total).collect();
        totals.sort_unstable();
        let phase = |of: fn(&Timings) -> Option<Duration>| {
            let times: Vec<_> = run.requests.iter().filter_map(|(_, timings)| of(timings)).collect();
            if times.is_empty() { "-".to_owned() } else { time(mean(times.into_iter())) }
        };
        say!(
            "{scheme:<6}  {connections:<11}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>6}",
            time(run.total()),
            time(totals[totals.len() / 2]),
            time(totals[totals.len() - 1]),
            phase(|timings| timings.connect),
            phase(|timings| timings.tls),
            client.pool().stats().total.opened,
        );
        Ok(run)
    }

    fn total(&self) -> Duration {
        self.ends().last().unwrap_or_default()
    }

    /// Returns the end of each request, after the start of the first.
    fn ends(&self) -> impl DoubleEndedIterator<Item = Duration> + ExactSizeIterator {
        self.requests.iter().map(|(start, timings)| *start + timings.total)
    }

    /// Returns the number of the first request from which on this run was always earlier than `other`. The first
    /// request reuses nothing, so that it does not count.
    fn ahead_of(&self, other: &Self) -> Option<usize> {
        let pairs = self.ends().zip(other.ends()).skip(1);
        let ahead = pairs.rev().take_while(|(own, other)| own < other).count();
        (ahead > 0).then(|| self.requests.len() - ahead + 1)
    }

    fn row(&self, label: String) -> Row {
        let bars =
            self.requests.iter().zip(1..).flat_map(|((start, timings), nth)| bars(*start, timings, nth));
        Row { label, note: time(self.total()), bars: bars.collect(), ..Row::default() }
    }

    /// Returns how much less time this run took than `other`, or `None` if it took as long or longer.
    fn saved(&self, other: &Self) -> Option<String> {
        let saved = 100.0 * (1.0 - self.total().as_secs_f64() / other.total().as_secs_f64());
        (saved >= 0.5).then(|| format!("{saved:.0} % less"))
    }
}

/// Returns a bar for each phase of a request that began at `start`.
fn bars(start: Duration, timings: &Timings, nth: usize) -> Vec<Bar> {
    let whole = timings.total.as_secs_f64();
    let mut bars = Vec::new();
    let mut start = start;
    for (tone, took) in Tone::phases(timings) {
        // A phase that is too short to be seen has no bar and no place in the legend.
        if took.as_secs_f64() > whole / 50.0 {
            let hint = format!("request {nth}, {}: {}", tone.name(), time(took));
            bars.push(Bar { tone, start, end: start + took, hint });
        }
        start += took;
    }
    bars
}

fn picture(comparisons: &[Comparison], sent: &str, over: &str) -> String {
    let rows = comparisons.iter().flat_map(|comparison| {
        let Comparison { scheme, pooled, fresh } = comparison;
        let label = |connections: &str| format!("{scheme}, {connections}");
        let (new, kept) = (fresh.row(label("new connections")), pooled.row(label("one kept")));
        let saved = pooled.saved(fresh).map(|saved| format!("{}, {saved}", kept.note));
        [Row { begins_group: true, ..new }, Row { note: saved.unwrap_or(kept.note), ..kept }]
    });
    let waterfall = Waterfall {
        title: "Where the time goes: a new connection for each request, and one kept connection".into(),
        subtitle: format!("{sent}, one after another{over}"),
        rows: rows.collect(),
    };
    waterfall.to_string()
}

/// Returns the time that this request waited for a handshake, or `None` if the connection was reused.
fn handshake_of(timings: &Timings) -> Option<Duration> {
    timings.connect.map(|_| handshake(timings))
}

fn handshake(timings: &Timings) -> Duration {
    let phases = [timings.dns, timings.connect, timings.proxy, timings.tls];
    phases.into_iter().flatten().sum()
}

fn mean(times: impl ExactSizeIterator<Item = Duration>) -> Duration {
    let number = u32::try_from(times.len()).unwrap_or(u32::MAX).max(1);
    times.sum::<Duration>() / number
}

/// Writes a number of bytes: `100 bytes`, `1 KiB`.
fn bytes(size: u64) -> String {
    match size {
        1024..1_048_576 if size.is_multiple_of(1024) => format!("{} KiB", size >> 10),
        1_048_576.. if size.is_multiple_of(1_048_576) => format!("{} MiB", size >> 20),
        1 => "1 byte".into(),
        _ => format!("{size} bytes"),
    }
}

/// Returns the URL without its user information and its query, which may have secrets.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}
