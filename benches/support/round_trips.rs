//! Measures sequential requests over links with round-trip times: *pooled*, on one kept connection, and *fresh*, on a
//! new connection for each request. The bench `pooled_vs_fresh` of the crate and of `benches/compare` use this module.
//!
//! The time of small exchanges is known in advance. A connection costs one round trip for TCP and one more for TLS 1.3,
//! and each request costs one round trip. The table shows this time beside the measured time.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Uri;

use super::link::{HERE, Link, THERE};
use super::svg::{BarSeries, Bars, Scale, Tone, round_time, time};

/// A client that is measured.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Makes a client, which keeps idle connections if the argument is true.
    pub(crate) client: Box<dyn Fn(bool) -> Get>,
}

/// Sends a GET, reads the content, and returns its length.
pub(crate) type Get = Box<dyn Fn(Uri) -> Pin<Box<dyn Future<Output = usize>>>>;

/// The servers, the link and the extent of a measurement.
pub(crate) struct Plan {
    /// `None` where no link can be made. The requests then stay on this machine.
    pub(crate) link: Option<Link>,
    /// Schemes and the ports of their servers. The servers answer `GET /N` with N bytes.
    pub(crate) servers: Vec<(&'static str, SocketAddr)>,
    pub(crate) extent: Extent,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A few requests, to see that the bench runs.
    Quick,
    /// All but the cells that take minutes.
    Usual,
    Full,
}

/// The measured times of one client in one cell of the table.
pub(crate) struct Row {
    pub(crate) client: &'static str,
    pub(crate) cell: Cell,
    pub(crate) pooled: Duration,
    pub(crate) fresh: Duration,
}

/// Sequential requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Round-trip time of the link. Zero on the loopback device.
    pub(crate) round_trip: Duration,
    pub(crate) scheme: &'static str,
    /// Number of bytes in each response.
    pub(crate) body: usize,
    pub(crate) requests: u32,
}

impl Cell {
    /// Returns the time in which the requests can be done over the link. Returns `None` for a body that TCP does not
    /// send in one round trip, and on the loopback device.
    fn expected(self, is_pooled: bool) -> Option<Duration> {
        let setup = if self.scheme == "https" { 2 } else { 1 };
        let trips = if is_pooled { setup + self.requests } else { (setup + 1) * self.requests };
        (self.body <= SMALL && !self.round_trip.is_zero()).then(|| self.round_trip * trips)
    }

    /// Returns how far the measured time may be from the expected time, as a part of the expected time. Returns `None`
    /// if the time is only shown.
    fn tolerance(self) -> Option<f64> {
        match self.round_trip.as_millis() {
            50.. => Some(0.05),
            10..50 => Some(0.1),
            _ => None,
        }
    }

    /// Number of times that the cell is measured. The shortest time counts, because other work on the machine only adds
    /// time.
    fn rounds(self) -> usize {
        let (few, many) = if self.round_trip < LONG { (5, 2) } else { (3, 1) };
        match self.requests {
            _ if self.body > SMALL => 1,
            1 => 9,
            2..=10 => few,
            _ => many,
        }
    }
}

impl Row {
    /// Returns each of the two times that has a tolerance: `pooled` or `fresh`, its ratio to the expected time, and the
    /// tolerance.
    fn checked(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let times = [("pooled", true, self.pooled), ("fresh", false, self.fresh)];
        times.into_iter().filter_map(|(way, is_pooled, took)| {
            let expected = self.cell.expected(is_pooled)?;
            Some((way, took.as_secs_f64() / expected.as_secs_f64(), self.cell.tolerance()?))
        })
    }

    /// Returns a message for each time that is further from the expected time than its tolerance.
    fn misses(&self) -> Vec<String> {
        let missed = self.checked().filter(|(_, ratio, tolerance)| (ratio - 1.0).abs() > *tolerance);
        let Cell { round_trip, scheme, body, requests } = self.cell;
        let round_trip = round_time(round_trip);
        let message = |(way, ratio, _)| {
            format!(
                "{}, {scheme}, {round_trip}, {}, {requests} requests {way}: {ratio:.3} of the expected time",
                self.client,
                bytes(body)
            )
        };
        missed.map(message).collect()
    }
}

/// Prints the times that are out of their tolerance. Returns whether all times are within their tolerance. A time without
/// a tolerance is not counted.
pub(crate) fn report(rows: &[Row]) -> bool {
    let misses: Vec<String> = rows.iter().flat_map(Row::misses).collect();
    let checked: usize = rows.iter().map(|row| row.checked().count()).sum();
    println!("\n{} of {checked} times with a tolerance are out of it.", misses.len());
    misses.iter().for_each(|miss| println!("  {miss}"));
    misses.is_empty()
}

/// Measures all cells of the plan, and prints each table when its rows are complete.
pub(crate) async fn measure(plan: &Plan, contenders: &[Contender]) -> Vec<Row> {
    let mut rows = Vec::new();
    let trips: &[u64] = match (&plan.link, plan.extent) {
        (None, _) => &[0],
        (Some(_), Extent::Quick) => &[0, 1],
        (Some(_), _) => &[0, 1, 10, 50, 100],
    };
    for round_trip in trips.iter().map(|ms| Duration::from_millis(*ms)) {
        let mut measured = Vec::new();
        for batch in batches(plan, round_trip) {
            let mut rows = measure_batch(plan, contenders, &batch).await;
            // A batch with a time that is out of its tolerance is measured again, because the machine may have been
            // busy.
            for _ in 0..REPEATS {
                if rows.iter().all(|row| row.misses().is_empty()) {
                    break;
                }
                let again = measure_batch(plan, contenders, &batch).await;
                for (row, again) in rows.iter_mut().zip(again) {
                    row.pooled = row.pooled.min(again.pooled);
                    row.fresh = row.fresh.min(again.fresh);
                }
            }
            measured.append(&mut rows);
        }
        for (scheme, _) in &plan.servers {
            let is_of = |row: &Row| row.cell.scheme == *scheme;
            print_table(measured.iter().filter(|row| is_of(row)), scheme, round_trip);
        }
        rows.append(&mut measured);
    }
    rows
}

/// Returns the cells with this round-trip time. The cells of one batch are measured at once. This changes nothing where
/// all of the time is spent waiting for the link. Cells with a short round trip, or with a large body, are measured
/// alone.
fn batches(plan: &Plan, round_trip: Duration) -> Vec<Vec<Cell>> {
    let counts: &[u32] = if plan.extent == Extent::Quick { &[1, 10] } else { &[1, 10, 100] };
    let mut batches = Vec::new();
    for requests in counts.iter().copied() {
        let cells = |bodies: &[usize]| -> Vec<Cell> {
            let each = |body| {
                plan.servers.iter().map(move |(scheme, _)| Cell { round_trip, scheme, body, requests })
            };
            bodies.iter().copied().flat_map(each).collect()
        };
        let takes_minutes = requests > 10 && round_trip >= LONG;
        let large = if takes_minutes && plan.extent != Extent::Full { &[] } else { &LARGE[..] };
        if round_trip >= LONG {
            batches.push(cells(&SMALL_BODIES));
            batches.extend(large.iter().map(|body| cells(&[*body])));
        } else {
            batches.extend(cells(&SMALL_BODIES).into_iter().chain(cells(large)).map(|cell| vec![cell]));
        }
    }
    batches
}

async fn measure_batch(plan: &Plan, contenders: &[Contender], batch: &[Cell]) -> Vec<Row> {
    let Some(first) = batch.first() else { return Vec::new() };
    if let Some(link) = &plan.link {
        link.set_round_trip(first.round_trip);
    }
    let mut chains = Vec::new();
    for cell in batch {
        for contender in contenders {
            for is_pooled in [true, false] {
                chains.push((*cell, contender, is_pooled));
            }
        }
    }
    let mut times = vec![Duration::MAX; chains.len()];
    for _ in 0..if plan.extent == Extent::Quick { 1 } else { first.rounds() } {
        // Chains that begin at the same time would also need the processor at the same time. So each chain begins in
        // another part of the round trip.
        let gap = first.round_trip / u32::try_from(chains.len()).unwrap_or(u32::MAX);
        let begun = chains.iter().zip(0..).map(|((cell, contender, is_pooled), nth)| async move {
            tokio::time::sleep(gap * nth).await;
            chain(plan, contender, *cell, *is_pooled).await
        });
        let took = if first.round_trip >= WAITING {
            join_all(begun).await
        } else {
            let mut took = Vec::new();
            for chain in begun {
                took.push(chain.await);
            }
            took
        };
        for (times, took) in times.iter_mut().zip(took) {
            *times = took.min(*times);
        }
    }
    // Chains of the same cell and client are neighbours: first pooled, then fresh.
    let mut times = times.into_iter();
    let mut rows = Vec::new();
    while let (Some(pooled), Some(fresh)) = (times.next(), times.next()) {
        let (cell, contender, _) = chains[2 * rows.len()];
        rows.push(Row { client: contender.name, cell, pooled, fresh });
    }
    rows
}

/// Sends the requests of a cell, one after another, by a new client. Returns the time from the first request to the
/// last byte.
async fn chain(plan: &Plan, contender: &Contender, cell: Cell, is_pooled: bool) -> Duration {
    let server = plan.servers.iter().find(|(scheme, _)| *scheme == cell.scheme);
    let (scheme, server) = server.expect("the plan has a server for each scheme");
    let host = match &plan.link {
        Some(_) if !cell.round_trip.is_zero() => THERE.into(),
        Some(_) => HERE.into(),
        None => server.ip(),
    };
    let address = SocketAddr::new(host, server.port());
    let uri: Uri = format!("{scheme}://{address}/{}", cell.body).parse().expect("the URI is valid");
    let get = (contender.client)(is_pooled);
    let begun = Instant::now();
    for _ in 0..cell.requests {
        assert_eq!(get(uri.clone()).await, cell.body, "the whole content comes");
    }
    begun.elapsed()
}

/// Prints the rows of one scheme and round-trip time, in 80 columns.
fn print_table<'a>(rows: impl Iterator<Item = &'a Row>, scheme: &str, round_trip: Duration) {
    let over = if round_trip.is_zero() {
        "loopback".to_owned()
    } else {
        format!("round trip {}", round_time(round_trip))
    };
    println!("\n{scheme}, {over}\n");
    println!("                         pooled                      fresh");
    println!("client      body    n      took  expected  ratio      took  expected  ratio  saved");
    for row in rows {
        println!("{row}");
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { body, requests, .. } = self.cell;
        write!(f, "{:<9} {:>6} {requests:>4}", self.client, bytes(body))?;
        for (is_pooled, took) in [(true, self.pooled), (false, self.fresh)] {
            let expected = self.cell.expected(is_pooled);
            let ratio = expected.map(|expected| took.as_secs_f64() / expected.as_secs_f64());
            let (expected, ratio) = (expected.map(time), ratio.map(|ratio| format!("{ratio:.3}")));
            let [expected, ratio] = [expected, ratio].map(|text| text.unwrap_or_else(|| "-".into()));
            write!(f, "  {:>8}  {expected:>8}  {ratio:>5}", time(took))?;
        }
        if requests == 1 {
            // Nothing is reused.
            return write!(f, "      -");
        }
        let saved = 100.0 * (1.0 - self.pooled.as_secs_f64() / self.fresh.as_secs_f64());
        if saved < 0.0 { f.write_str("   none") } else { write!(f, " {saved:>4.0} %") }
    }
}

/// Returns the chart of the rows: the time of ten small requests at each round-trip time. Times over short round trips
/// are too small for the chart.
pub(crate) fn chart(rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.cell.round_trip).max().unwrap_or_default();
    let is_shown = |row: &&Row| {
        let Cell { round_trip, body, requests, .. } = row.cell;
        requests == 10 && body == 1 << 10 && (longest < WAITING || round_trip >= WAITING)
    };
    let rows: Vec<&Row> = rows.iter().filter(is_shown).collect();
    let mut cells: Vec<Cell> = Vec::new();
    let mut clients: Vec<&str> = Vec::new();
    for row in &rows {
        if !cells.contains(&row.cell) {
            cells.push(row.cell);
        }
        if !clients.contains(&row.client) {
            clients.push(row.client);
        }
    }
    let mut series = Vec::new();
    for (client, tones) in clients.iter().zip([[Tone::Good, Tone::Bad], [Tone::OtherGood, Tone::OtherBad]]) {
        for (is_pooled, tone) in [true, false].into_iter().zip(tones) {
            let value = |cell: &Cell| {
                let row = rows.iter().find(|row| row.cell == *cell && row.client == *client)?;
                Some(if is_pooled { row.pooled } else { row.fresh }.as_secs_f64())
            };
            let way = if is_pooled { "one kept connection" } else { "new connections" };
            let name = if clients.len() > 1 { format!("{client}: {way}") } else { way.to_owned() };
            series.push(BarSeries { name, tone, values: cells.iter().map(value).collect() });
        }
    }
    let group = |cell: &Cell| match cell.round_trip {
        Duration::ZERO => format!("{}, loopback", cell.scheme),
        round_trip => format!("{}, {}", cell.scheme, round_time(round_trip)),
    };
    let chart = Bars {
        title: "Time for 10 requests of 1 KiB, one after another".into(),
        subtitle: "By scheme and round-trip time. Shorter is better".into(),
        scale: Scale::Linear,
        unit: |seconds| time(Duration::from_secs_f64(seconds)),
        round: |seconds| round_time(Duration::from_secs_f64(seconds)),
        groups: cells.iter().map(group).collect(),
        series,
    };
    chart.to_string()
}

fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

/// Largest body that TCP sends in one round trip: ten segments, less the head and TLS.
const SMALL: usize = 8 << 10;
/// Number of times that a batch is measured again.
const REPEATS: usize = 2;
const SMALL_BODIES: [usize; 3] = [0, 1 << 10, SMALL];
const LARGE: [usize; 2] = [64 << 10, 1 << 20];
/// Round-trip time from which small cells are measured at once, and large cells with many requests take minutes.
const LONG: Duration = Duration::from_millis(50);
/// Round-trip time from which the client mostly waits.
const WAITING: Duration = Duration::from_millis(10);
