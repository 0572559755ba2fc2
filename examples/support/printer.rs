//! An exporter of OpenTelemetry that prints: each batch of spans as trees, and each reading of the metrics as a table.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::terminal::say;

#[path = "time.rs"]
mod time;

/// An exporter that prints to the standard output.
#[derive(Debug)]
pub(crate) struct Printer;

impl SpanExporter for Printer {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.sort_by_key(|span| span.start_time);
        let known: BTreeSet<_> = batch.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
        let roots = batch.iter().filter(|span| !known.contains(&span.parent_span_id.to_bytes()));
        for root in roots {
            say!("\ntrace {}", root.span_context.trace_id());
            print_tree(&batch, root, 1);
        }
        Ok(())
    }
}

/// Prints a span, its links and its children.
fn print_tree(all: &[SpanData], span: &SpanData, depth: usize) {
    let indent = "  ".repeat(depth);
    let took = span.end_time.duration_since(span.start_time).unwrap_or_default();
    let label = format!("{indent}{}", span.name);
    let kind = format!("{:?}", span.span_kind).to_lowercase();
    let id = span.span_context.span_id();
    say!("{label:<26} {kind:<8} span {id}  {:>9}", time::time(took));
    for link in span.links.iter() {
        let linked = all.iter().find(|other| other.span_context == link.span_context);
        let name = linked.map_or("in another batch", |other| &other.name);
        say!("{indent}  linked to span {} ({name})", link.span_context.span_id());
    }
    for key in SHOWN {
        if let Some(value) = text(span, key) {
            say!("{indent}  {key}={value}");
        }
    }
    for child in all.iter().filter(|child| child.parent_span_id == id && id != SpanId::INVALID) {
        print_tree(all, child, depth + 1);
    }
}

fn text(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
    found.map(|pair| pair.value.to_string())
}

impl PushMetricExporter for Printer {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            print_metric(metric);
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// Prints an instrument, and a line for each set of attributes.
fn print_metric(metric: &Metric) {
    say!("\n{} in {}", metric.name(), metric.unit());
    let mut lines = Vec::new();
    match metric.data() {
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let points = histogram.data_points();
            lines.extend(points.map(|it| line(it.count(), format!("{:.4}", it.sum()), it.attributes())));
        }
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
            let points = histogram.data_points();
            lines.extend(points.map(|it| line(it.count(), it.sum().to_string(), it.attributes())));
        }
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            lines.extend(sum.data_points().map(|it| line(it.value(), String::new(), it.attributes())));
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            lines.extend(sum.data_points().map(|it| line(it.value(), String::new(), it.attributes())));
        }
        other => lines.push(format!("  {other:?}")),
    }
    lines.sort();
    lines.iter().for_each(|line| say!("{line}"));
}

/// Writes the count of a set of attributes, its sum if it is a histogram, and the attributes that differ in this example.
fn line<'a>(
    count: impl std::fmt::Display,
    sum: String,
    attributes: impl Iterator<Item = &'a KeyValue>,
) -> String {
    let mut words: Vec<_> = attributes
        .filter(|pair| !SAME.contains(&pair.key.as_str()))
        .map(|pair| {
            let key = pair.key.as_str();
            let short = SHORTENED.iter().find_map(|prefix| key.strip_prefix(prefix));
            format!("{}={}", short.unwrap_or(key), pair.value)
        })
        .collect();
    words.sort();
    let sum = if sum.is_empty() { sum } else { format!("sum {sum}") };
    format!("  {count:>2}  {sum:<11} {}", words.join(" ")).trim_end().to_owned()
}

/// Attributes of spans that are printed.
const SHOWN: [&str; 5] = [
    "url.full",
    "http.response.status_code",
    "error.type",
    "http.request.resend_count",
    "handclasp.connection.id",
];

/// Attributes of metrics that are left out, because they are the same in this example.
const SAME: [&str; 4] = ["server.address", "server.port", "url.scheme", "network.protocol.version"];

/// Starts of the names of attributes that are left out, so that a line is short.
const SHORTENED: [&str; 4] = ["http.request.", "http.response.", "http.connection.", "handclasp."];
