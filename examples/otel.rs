//! An example of OpenTelemetry: a client whose spans and metrics are exported, here to the standard output, and that sends
//! `traceparent` with each attempt.
//!
//! One call is redirected once, so that it has two attempts. Both attempts belong to the trace of the caller, and each has a
//! span id of its own. The server tells which `traceparent` it got. Both attempts use one connection, and the span of each
//! is linked to the span `connection.setup` of this connection, which is in a trace of its own.
//!
//! Run the example by `cargo run --release --example otel --features otel`.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use handclasp::{Answer, BoxError, Client, ExchangeRecord, Family, HeaderMap, Resolve, opentelemetry_0_33};
use http::{HeaderName, HeaderValue};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

#[path = "support/printer.rs"]
mod printer;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/traced.rs"]
mod traced;

use printer::Printer;
use terminal::say;

#[tokio::main]
async fn main() -> ExitCode {
    terminal::status(run().await)
}

async fn run() -> Result<(), BoxError> {
    if !terminal::is_to_run(HELP)? {
        return Ok(());
    }
    let server = traced::start().await?;

    // A program has its own exporters here, for example those of the crate opentelemetry-otlp.
    let spans = SdkTracerProvider::builder().with_batch_exporter(Printer).build();
    let meters = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(Printer).build()).build();

    // All spans of the program become spans of OpenTelemetry.
    let layer = tracing_opentelemetry::layer().with_tracer(spans.tracer("example")).with_location(false);
    let layer = layer.with_threads(false).with_tracked_inactivity(false).with_target(false);
    tracing::subscriber::set_global_default(Registry::default().with(layer))?;

    let client = Client::builder()
        .dns_resolver(Loopback)
        .metrics(opentelemetry_0_33::metrics(&meters.meter("handclasp")))
        // The span of the attempt is entered when this function is called.
        .on_request(|request, _| {
            let context = Span::current().context();
            TraceContextPropagator::new().inject_context(&context, &mut Fields(&mut request.headers));
        })
        .on_exchange(print_attempt)
        .build()?;

    say!("Each attempt, and the traceparent that the server got:\n");
    let origin = format!("http://shop.example:{}", server.port());
    let order = async {
        let missing = client.get(format!("{origin}/none"));
        missing.send().await?.bytes().await?;
        let moved = client.get(format!("{origin}/orders/17")).url_template("/orders/{id}");
        moved.send().await?.bytes().await
    };
    order.instrument(tracing::info_span!("order")).await?;

    say!("\nThe spans, one tree for each trace:");
    spans.shutdown()?;
    say!("\nThe metrics, without the attributes that are the same everywhere:");
    meters.shutdown()?;
    Ok(())
}

/// Prints the record of an attempt. The server sends the `traceparent` that it got back in `x-traceparent`.
fn print_attempt(record: &ExchangeRecord) {
    let status = record.status().map_or(0, |status| status.as_u16());
    let echoed = record.response_headers().and_then(|fields| fields.get("x-traceparent"));
    let echoed = echoed.and_then(|value| value.to_str().ok()).unwrap_or("none");
    say!("{} {:<11} {status}  {echoed}", record.method(), record.uri().path());
}

/// The header fields of an attempt, to which a propagator adds its fields.
struct Fields<'a>(&'a mut HeaderMap);

impl Injector for Fields<'_> {
    fn set(&mut self, name: &str, value: String) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// A resolver that answers 127.0.0.1 for every name, after two milliseconds.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Answer::new([(Ipv4Addr::LOCALHOST, 0).into()]))
        })
    }
}

const HELP: &str = "\
otel

Sends two requests, one of which is redirected, and prints what an exporter of
OpenTelemetry gets: the spans, and the metrics. Each attempt has a traceparent
of its own.
";
