//! The setting of metrics.

use super::ClientBuilder;
use crate::metrics::Metrics;

/// # Metrics
impl ClientBuilder {
    /// Measures the requests, the connections and the lookups of the client by these instruments. By default, nothing is
    /// measured. A later call replaces the instruments.
    ///
    /// [`opentelemetry_0_33::metrics`](crate::opentelemetry_0_33::metrics) makes the instruments. Its
    /// [module](crate::opentelemetry_0_33) lists them with their attributes. Several clients can share one value.
    ///
    /// An attempt is measured when it begins and when it ends, in the task that ends the attempt, without any lock of the
    /// client. A measured attempt has a record, as with [`on_exchange`](Self::on_exchange).
    ///
    /// ```
    /// use handclasp::opentelemetry_0_33::{self, opentelemetry};
    ///
    /// let metrics = opentelemetry_0_33::metrics(&opentelemetry::global::meter("handclasp"));
    /// let client = handclasp::Client::builder().metrics(metrics).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        let (attempts, pool, lookups) = metrics.observers();
        self.request.on_exchange.get_or_insert_default().observe(attempts);
        self.pool.observer = Some(pool);
        self.on_lookup = Some(lookups);
        self
    }
}
