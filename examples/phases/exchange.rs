//! The facts about an attempt to send a request that the waterfalls show.
#![allow(dead_code, reason = "tests of the waterfalls use a part of this module")]

use std::time::Duration;

use handclasp::{ExchangeOutcome, ExchangeRecord, ServerTiming, Timings};

use crate::svg::Tone;

/// An attempt to send a request.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Method, path and query.
    pub(crate) name: String,
    pub(crate) origin: String,
    /// `None` if no response head came.
    pub(crate) status: Option<u16>,
    /// Why the attempt failed, and in which phase.
    pub(crate) failure: Option<String>,
    /// Start of the attempt, after the start of the first attempt of all.
    pub(crate) start: Duration,
    pub(crate) timings: Timings,
    /// Parts of the server's own time, as the server gives them.
    pub(crate) server: Vec<ServerTiming>,
    /// Number of the connection. `None` if the attempt got no connection.
    pub(crate) connection: Option<u64>,
}

/// A phase that happened, with its start and end on the time axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) tone: Tone,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl Exchange {
    /// Reads all records, in the order in which the attempts began.
    pub(crate) fn of_all(records: &[ExchangeRecord]) -> Vec<Self> {
        let mut records: Vec<_> = records.iter().collect();
        records.sort_by_key(|record| record.started());
        let first = records.first().map(|record| record.started());
        let start =
            |record: &ExchangeRecord| Some(record.started().duration_since(first?).unwrap_or_default());
        records.iter().map(|record| Self::new(record, start(record).unwrap_or_default())).collect()
    }

    fn new(record: &ExchangeRecord, start: Duration) -> Self {
        let url = record.redacted_url();
        let slash = url.find("://").and_then(|at| Some(at + 3 + url[at + 3..].find(['/', '?'])?));
        let (origin, path) = url.split_at(slash.unwrap_or(url.len()));
        let reason = match record.outcome() {
            ExchangeOutcome::Complete => None,
            ExchangeOutcome::Failed(kind) => Some(kind.to_string()),
            _ => Some("cancelled".to_owned()),
        };
        Self {
            name: format!("{} {path}", record.method()),
            origin: origin.to_owned(),
            status: record.status().map(|status| status.as_u16()),
            failure: reason.map(|reason| format!("{reason}, in the phase {}", record.phase())),
            start,
            timings: *record.timings(),
            server: record.server_timing(),
            connection: record.connection().map(handclasp::ConnectionInfo::id),
        }
    }

    /// Returns the end of the attempt on the time axis.
    pub(crate) fn end(&self) -> Duration {
        self.start + self.timings.total
    }

    /// Returns the phases that took time, one after another.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let mut at = self.start;
        let phases = Tone::phases(&self.timings).into_iter().map(|(tone, took)| {
            let start = at;
            at += took;
            Phase { tone, start, end: at }
        });
        phases.filter(|phase| phase.end > phase.start).collect()
    }

    /// Returns the part of the phase `wait` in which the server worked. The server says only how long it worked, so
    /// that the rest of the phase is taken to be two ways of equal length. The longest metric counts, because metrics
    /// may include each other.
    pub(crate) fn server_worked(&self) -> Option<(Duration, Duration)> {
        let worked = self.server.iter().filter_map(|metric| metric.duration).max()?;
        let wait = self.phases().into_iter().find(|phase| phase.tone == Tone::Wait)?;
        let worked = worked.min(wait.end - wait.start);
        let start = wait.start + (wait.end - wait.start - worked) / 2;
        Some((start, start + worked))
    }
}
