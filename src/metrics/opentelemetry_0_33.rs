//! Metrics by the API of OpenTelemetry 0.33.
//!
//! This module is not covered by the promise of semantic versioning: when this crate moves to another version of
//! OpenTelemetry, a module with the name of that version takes its place. [`Metrics`](crate::Metrics) and
//! [`ClientBuilder::metrics`](crate::ClientBuilder::metrics) name no type of OpenTelemetry and stay.
//!
//! The feature `otel` brings the API, and no SDK. The program chooses the SDK and the exporter.
//!
//! ```
//! use handclasp::Client;
//! use handclasp::opentelemetry_0_33::{self, opentelemetry};
//!
//! # fn main() -> handclasp::Result<()> {
//! let meter = opentelemetry::global::meter("handclasp");
//! let client = Client::builder().metrics(opentelemetry_0_33::metrics(&meter)).build()?;
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! # Instruments
//!
//! | instrument | kind and unit | what is measured | attributes |
//! |---|---|---|---|
//! | `http.client.request.duration` | histogram, `s` | an attempt, from its start to the end of the response, as its span | `http.request.method`, `server.address`, `server.port`, `url.scheme`, `url.template` if the caller has set a template, `http.response.status_code` and `network.protocol.version` if a response head came, `error.type` if the attempt failed |
//! | `http.client.request.body.size` | histogram, `By` | content that was written, for each attempt of which a byte was written | the same |
//! | `http.client.response.body.size` | histogram, `By` | content that came, before content codings are removed, for each attempt to which a response head came | the same |
//! | `http.client.request.time_in_queue` | histogram, `s` | time from the start of an attempt to its connection, or to its end if it got no connection. Waiting for a dial counts | `http.request.method`, `server.address`, `server.port`, `url.scheme`, `network.protocol.version` if a response head came |
//! | `http.client.active_requests` | up-down counter, `{request}` | attempts under way. A response that is dropped unread ends with its drop | `http.request.method`, `server.address`, `server.port`, `url.scheme`, `url.template` |
//! | `http.client.open_connections` | observable up-down counter, `{connection}` | open connections, from the counts of [`Pool::stats`](crate::Pool::stats) | `http.connection.state` (`idle`, or `active`: in use or being closed), `server.address`, `server.port`, `url.scheme`, `network.protocol.version` |
//! | `http.client.connection.duration` | histogram, `s` | a connection, from the end of its handshake to its close | `server.address`, `server.port`, `url.scheme`, `network.protocol.version` |
//! | `dns.lookup.duration` | histogram, `s` | a lookup of a name. Dials that share a lookup count once, and an answer of the cache does not count | `dns.question.name`, `error.type` if no address was found: `host_not_found`, `failed`, or `cancelled` if no dial waited for the lookup any more |
//! | `handclasp.client.resends` | counter, `{resend}` | attempts that follow another attempt of the same call | `handclasp.resend.cause`: the [`ResendCause`](crate::ResendCause) as [one word](crate::ResendCause::as_str). `server.address`, `server.port`, `url.scheme` |
//! | `handclasp.client.connection.closes` | counter, `{connection}` | closed connections | `handclasp.close.reason`: the name of the [`DropReason`](crate::DropReason). `server.address`, `server.port`, `url.scheme` |
//!
//! Each attempt is measured by itself: a request that is sent again, and each request of a chain of redirects. The values
//! come from the [record](crate::ExchangeRecord) of the attempt, and from the same clock readings as its span.
//! `error.type` is the value of [`ExchangeRecord::error_type`](crate::ExchangeRecord::error_type). An attempt that the caller
//! cancelled is measured too, and is no error. If no response head came, it has neither `http.response.status_code` nor
//! `error.type`.
//!
//! The conventions have no instrument for the time in the queue: its name is the one that .NET uses. The names that begin with
//! `handclasp.` are this crate's own.
//!
//! The method is `_OTHER` unless the conventions or
//! [`ClientBuilder::known_methods`](crate::ClientBuilder::known_methods) name the method. A connection through a proxy that forwards requests
//! belongs to the proxy, and has the address of the proxy. The version of a connection is always `1.1`, because requests
//! of both versions share connections.
//!
//! # How many series there are
//!
//! The number of combinations of attributes is bounded by what the program does: `server.address`, `server.port` and
//! `dns.question.name` come from the URLs of requests and redirects, and `url.template` from the caller. A program that
//! fetches URLs of any host should drop these attributes by a view of the SDK. The addresses of servers
//! (`network.peer.address`) are no attributes, because the addresses of one host can change without end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub use ::opentelemetry;
use ::opentelemetry::KeyValue;
use ::opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter, UpDownCounter};
use http::Version;

use super::Metrics;
use crate::error::Written;
use crate::pool::key::Route;
use crate::pool::{Counted, DropReason};
use crate::record::ExchangeRecord;

/// Returns the instruments of a meter, for [`ClientBuilder::metrics`](crate::ClientBuilder::metrics).
///
/// Clients that get the same value are measured together. A meter keeps its instruments for as long as it lives, so that a
/// program that makes many clients should call this function once.
pub fn metrics(meter: &Meter) -> Metrics {
    Metrics(Arc::new(Instruments::new(meter)))
}

/// All instruments.
pub(super) struct Instruments {
    request_duration: Histogram<f64>,
    request_body_size: Histogram<u64>,
    response_body_size: Histogram<u64>,
    time_in_queue: Histogram<f64>,
    active_requests: UpDownCounter<i64>,
    connection_duration: Histogram<f64>,
    lookup_duration: Histogram<f64>,
    resends: Counter<u64>,
    closes: Counter<u64>,
    /// The pools whose connections are counted whenever the meter is read.
    pools: Arc<Pools>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str, bounds: &[f64]| {
            let builder = meter.f64_histogram(name).with_description(description).with_unit("s");
            builder.with_boundaries(bounds.to_vec()).build()
        };
        let bytes = |name: &'static str, description: &'static str| {
            let builder = meter.u64_histogram(name).with_description(description).with_unit("By");
            builder.with_boundaries(SIZES.to_vec()).build()
        };
        let count = |name: &'static str, description: &'static str, unit: &'static str| {
            meter.u64_counter(name).with_description(description).with_unit(unit).build()
        };
        let pools = Arc::new(Pools::default());
        observe_connections(meter, Arc::downgrade(&pools));
        Self {
            request_duration: seconds(
                "http.client.request.duration",
                "Duration of HTTP client requests.",
                &LATENCIES,
            ),
            request_body_size: bytes("http.client.request.body.size", "Size of HTTP client request bodies."),
            response_body_size: bytes(
                "http.client.response.body.size",
                "Size of HTTP client response bodies.",
            ),
            time_in_queue: seconds(
                "http.client.request.time_in_queue",
                "Time that requests waited for a connection.",
                &LATENCIES,
            ),
            active_requests: meter
                .i64_up_down_counter("http.client.active_requests")
                .with_description("Number of active HTTP requests.")
                .with_unit("{request}")
                .build(),
            connection_duration: seconds(
                "http.client.connection.duration",
                "Duration of the connections that were made.",
                &LIFETIMES,
            ),
            lookup_duration: seconds("dns.lookup.duration", "Duration of lookups of names.", &LATENCIES),
            resends: count(
                "handclasp.client.resends",
                "Number of attempts that follow another attempt.",
                "{resend}",
            ),
            closes: count(
                "handclasp.client.connection.closes",
                "Number of connections that were closed.",
                "{connection}",
            ),
            pools,
        }
    }

    pub(super) fn attempt_began(&self, record: &ExchangeRecord) {
        self.active_requests.add(1, &begun(method(record), target(record), template(record)));
    }

    pub(super) fn attempt_ended(&self, record: &ExchangeRecord) {
        // Clones share the memory of their texts.
        let (method, target, template) = (method(record), target(record), template(record));
        self.active_requests.add(-1, &begun(method.clone(), target.clone(), template.clone()));
        if let Some(cause) = record.cause() {
            let mut attributes = target.to_vec();
            attributes.push(KeyValue::new("handclasp.resend.cause", cause.as_str()));
            self.resends.add(1, &attributes);
        }
        let timings = record.timings();
        let setup = [timings.dns, timings.connect, timings.proxy, timings.tls].into_iter().flatten();
        // The record of one attempt counts as previous what came before the attempt asked for a connection.
        let queued = timings.previous + timings.queued + setup.sum::<Duration>();
        let mut attributes = begun(method, target, None);
        attributes.extend(version(record));
        self.time_in_queue.record(queued.as_secs_f64(), &attributes);

        let status = record.status();
        attributes.extend(template);
        attributes.extend(
            status.map(|status| KeyValue::new("http.response.status_code", i64::from(status.as_u16()))),
        );
        attributes.extend(record.error_type().map(|error| KeyValue::new("error.type", error.into_owned())));
        self.request_duration.record(timings.total.as_secs_f64(), &attributes);
        if record.request_written() != Written::Nothing {
            self.request_body_size.record(record.request_body_size(), &attributes);
        }
        if status.is_some() {
            self.response_body_size.record(record.response_body_size(), &attributes);
        }
    }

    pub(super) fn add_pool(&self, pool: Counted) {
        let mut pools = self.pools.lock();
        pools.retain(Counted::is_alive);
        pools.push(pool);
    }

    pub(super) fn connection_closed(&self, route: &Route, age: Duration, reason: DropReason) {
        let mut attributes = Server::of(route).attributes().to_vec();
        attributes.push(KeyValue::new("handclasp.close.reason", format!("{reason:?}")));
        self.closes.add(1, &attributes);
        attributes.pop();
        attributes.push(connection_version());
        self.connection_duration.record(age.as_secs_f64(), &attributes);
    }

    pub(super) fn looked_up(&self, name: &str, took: Duration, error: Option<&'static str>) {
        let mut attributes = vec![KeyValue::new("dns.question.name", name.to_owned())];
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        self.lookup_duration.record(took.as_secs_f64(), &attributes);
    }
}

/// The pools of the clients that are measured together.
#[derive(Default)]
struct Pools(Mutex<Vec<Counted>>);

impl Pools {
    fn lock(&self) -> MutexGuard<'_, Vec<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the idle and the active connections of each server.
    fn count(&self) -> BTreeMap<Server, [usize; 2]> {
        let mut counts = BTreeMap::new();
        // The pools are counted without the lock, because the last reference to a pool may be dropped here.
        let pools = self.lock().clone();
        for open in pools.iter().flat_map(Counted::open) {
            let [idle, active] = counts.entry(Server::of(&open.route)).or_default();
            *idle += open.idle;
            *active += open.active;
        }
        counts
    }
}

/// Makes the meter count the connections of the pools whenever the meter is read, for as long as the pools are measured.
fn observe_connections(meter: &Meter, pools: Weak<Pools>) {
    let read = move |observer: &dyn AsyncInstrument<i64>| {
        let Some(pools) = pools.upgrade() else { return };
        for (server, counts) in pools.count() {
            for (state, count) in ["idle", "active"].into_iter().zip(counts) {
                let [scheme, address, port] = server.attributes();
                let attributes = [
                    scheme,
                    address,
                    port,
                    connection_version(),
                    KeyValue::new("http.connection.state", state),
                ];
                observer.observe(i64::try_from(count).unwrap_or(i64::MAX), &attributes);
            }
        }
    };
    let builder = meter.i64_observable_up_down_counter("http.client.open_connections");
    let builder = builder.with_description("Number of open connections.").with_unit("{connection}");
    // The meter keeps the function, and the instrument has no other use.
    let _ = builder.with_callback(read).build();
}

/// The server to which a connection leads. If a proxy forwards the requests, the proxy.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Server {
    address: String,
    port: u16,
    scheme: &'static str,
}

impl Server {
    fn of(route: &Route) -> Self {
        let host = route.host();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { address: address.to_owned(), port: route.port(), scheme: route.scheme() }
    }

    fn attributes(&self) -> [KeyValue; 3] {
        server(self.scheme, &self.address, self.port)
    }
}

fn server(scheme: &str, address: &str, port: u16) -> [KeyValue; 3] {
    let [scheme, address] = [scheme, address].map(Arc::<str>::from);
    [
        KeyValue::new("url.scheme", scheme),
        KeyValue::new("server.address", address),
        KeyValue::new("server.port", i64::from(port)),
    ]
}

/// Returns the attributes of the server of an attempt. The host is in lower case, as a connection's is.
fn target(record: &ExchangeRecord) -> [KeyValue; 3] {
    let scheme = record.uri().scheme_str().unwrap_or_default();
    server(scheme, &record.server_address().to_ascii_lowercase(), record.server_port())
}

fn method(record: &ExchangeRecord) -> KeyValue {
    KeyValue::new("http.request.method", Arc::<str>::from(record.shown_method()))
}

fn template(record: &ExchangeRecord) -> Option<KeyValue> {
    Some(KeyValue::new("url.template", Arc::<str>::from(record.url_template()?)))
}

fn version(record: &ExchangeRecord) -> Option<KeyValue> {
    let version = if record.version()? == Version::HTTP_10 { "1.0" } else { "1.1" };
    Some(KeyValue::new("network.protocol.version", version))
}

/// Returns the version of every connection, because requests of both versions of HTTP/1 share connections.
fn connection_version() -> KeyValue {
    KeyValue::new("network.protocol.version", "1.1")
}

/// Returns the attributes of an attempt that are known when it begins.
fn begun(method: KeyValue, target: [KeyValue; 3], template: Option<KeyValue>) -> Vec<KeyValue> {
    std::iter::once(method).chain(target).chain(template).collect()
}

/// Bounds of the buckets of request and lookup durations in seconds, which the conventions name.
const LATENCIES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds of the buckets of connection durations in seconds, which the conventions name.
const LIFETIMES: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Bounds of the buckets of content sizes in bytes: powers of 4, from 256 B to 256 MiB. The conventions name none.
const SIZES: [f64; 11] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
];
