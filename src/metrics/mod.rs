//! Metrics of clients, in the names and units of OpenTelemetry's conventions for HTTP clients,
//! <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>.
//!
//! `opentelemetry_0_33.rs` has the instruments, and is the only file that names types of OpenTelemetry. This module reads the
//! records of attempts and the counts of pools, and changes nothing. Invariant: each attempt, connection and lookup is
//! counted once.

pub mod opentelemetry_0_33;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::opentelemetry_0_33::Instruments;
use crate::pool::key::Route;
use crate::pool::{self, Counted, DropReason};
use crate::record::{self, ExchangeRecord};
use crate::resolver::OnLookup;

/// The instruments that measure one client, or several clients together: see
/// [`ClientBuilder::metrics`](crate::ClientBuilder::metrics). [`opentelemetry_0_33::metrics`] makes them.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

impl Metrics {
    /// Returns the observers of a client: of its attempts, of its pool and of its lookups.
    pub(crate) fn observers(self) -> (Arc<dyn record::Observer>, Arc<dyn pool::Observer>, OnLookup) {
        let Self(instruments) = self;
        let attempts = instruments.clone();
        let lookups = instruments.clone();
        let lookups = OnLookup::new(move |name, took, error| lookups.looked_up(name, took, error));
        (attempts, instruments, lookups)
    }
}

impl record::Observer for Instruments {
    fn began(&self, record: &ExchangeRecord) {
        self.attempt_began(record);
    }

    fn ended(&self, record: &ExchangeRecord) {
        self.attempt_ended(record);
    }
}

impl pool::Observer for Instruments {
    fn began(&self, pool: Counted) {
        self.add_pool(pool);
    }

    fn closed(&self, route: &Route, age: Duration, reason: DropReason) {
        self.connection_closed(route, age, reason);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instruments")
    }
}
