//! Metrics of a client, read in memory as an exporter of OpenTelemetry gets them.

use std::collections::BTreeMap;

use handclasp::{Metrics, opentelemetry_0_33};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use opentelemetry_0_33::opentelemetry::KeyValue;
use opentelemetry_0_33::opentelemetry::metrics::MeterProvider;

/// A meter that keeps what it measures in memory.
pub struct Meters {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// The values that an instrument has measured, for each set of attributes.
#[derive(Debug)]
pub struct Instrument {
    pub unit: String,
    pub kind: &'static str,
    /// Each set of attributes, sorted, as text such as `a=1 b=x`.
    pub points: BTreeMap<String, Point>,
}

/// The values of one set of attributes.
#[derive(Debug)]
pub struct Point {
    /// Number of values of a histogram, or the value of a counter.
    pub count: i64,
    /// Sum of the values of a histogram.
    pub sum: f64,
    /// Upper bounds of the buckets of a histogram.
    pub bounds: Vec<f64>,
}

impl Meters {
    pub fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    /// Returns the instruments of the meter.
    pub fn metrics(&self) -> Metrics {
        opentelemetry_0_33::metrics(&self.provider.meter("handclasp"))
    }

    /// Reads all instruments that have measured something, by their names.
    pub fn read(&self) -> BTreeMap<String, Instrument> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let all = self.exporter.get_finished_metrics().unwrap();
        let scopes = all.iter().flat_map(|resource| resource.scope_metrics());
        let metrics = scopes.flat_map(|scope| scope.metrics());
        let mut read = BTreeMap::new();
        for metric in metrics {
            let before = read.insert(metric.name().to_owned(), Instrument::of(metric));
            assert!(before.is_none(), "{} is there twice", metric.name());
        }
        read
    }

    /// Returns the counts of an instrument, for each set of attributes.
    pub fn counts(&self, name: &str) -> Vec<(String, i64)> {
        let mut read = self.read();
        let points = read.remove(name).map(|instrument| instrument.points).unwrap_or_default();
        points.into_iter().map(|(attributes, point)| (attributes, point.count)).collect()
    }

    /// Returns the sum of the counts of an instrument over all sets of attributes.
    pub fn total(&self, name: &str) -> i64 {
        self.counts(name).iter().map(|(_, count)| count).sum()
    }
}

impl Instrument {
    fn of(metric: &Metric) -> Self {
        let (kind, points) = match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                let points = histogram.data_points().map(|point| {
                    let (count, bounds) = (point.count() as i64, point.bounds().collect());
                    (text(point.attributes()), Point { count, sum: point.sum(), bounds })
                });
                ("histogram", points.collect())
            }
            AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                let points = histogram.data_points().map(|point| {
                    let (count, bounds) = (point.count() as i64, point.bounds().collect());
                    (text(point.attributes()), Point { count, sum: point.sum() as f64, bounds })
                });
                ("histogram", points.collect())
            }
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                let points = sum.data_points().map(|point| {
                    (text(point.attributes()), Point::counted(i64::try_from(point.value()).unwrap()))
                });
                (if sum.is_monotonic() { "counter" } else { "up-down" }, points.collect())
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                let points =
                    sum.data_points().map(|point| (text(point.attributes()), Point::counted(point.value())));
                (if sum.is_monotonic() { "counter" } else { "up-down" }, points.collect())
            }
            other => panic!("{}: {other:?}", metric.name()),
        };
        Self { unit: metric.unit().to_owned(), kind, points }
    }
}

impl Point {
    fn counted(count: i64) -> Self {
        Self { count, sum: 0.0, bounds: Vec::new() }
    }
}

fn text<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut all: Vec<_> = attributes.map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    all.sort();
    all.join(" ")
}
