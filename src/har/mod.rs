//! HAR 1.2, the HTTP Archive format: what a client sent and received, and how long each phase took, as a file for
//! viewers.
//!
//! A [`HarLog`] collects an entry for each attempt to send a request. The developer tools of browsers, and many other
//! tools, show such a file as a waterfall. The format is described at
//! <https://w3c.github.io/web-performance/specs/HAR/Overview.html>.
//!
//! ```
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let log = handclasp::har::HarLog::new();
//! let client = handclasp::Client::builder().on_exchange(log.recorder()).build()?;
//! client.get("https://example.org/").send().await?.text().await?;
//! log.write_to(std::fs::File::create("example.har")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! The page on [phases](crate::manual::phases) says how the phases of a request become the times of an entry.
//!
//! Invariants: secrets are removed before an entry is stored. The memory of a log is bounded.

mod date;
mod entry;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::record::ExchangeRecord;
use crate::time::Wall;

/// A collector of entries for a HAR 1.2 file.
///
/// The function that [`recorder`](Self::recorder) returns makes an entry of each [record](ExchangeRecord) that it gets
/// from [`ClientBuilder::on_exchange`](crate::ClientBuilder::on_exchange). Several clients can share a log. Each client
/// numbers its connections from 1, so that connections of two clients can have the same number in a shared log. A clone of
/// a log has the same entries.
///
/// A log keeps the latest 10,000 entries, and at most 64 MiB of them. The oldest entries are left out.
///
/// **Secrets.** By default, `REDACTED` replaces the values of `Authorization`, `Proxy-Authorization`, `Cookie` and
/// `Set-Cookie`, of field values that are marked as [sensitive](http::HeaderValue::set_sensitive), of cookies, and of
/// the keys that sign a URL, such as `X-Amz-Signature`, in any letter case. Users and passwords of URLs, fragments, and
/// the content of requests and responses are left out. A secret in another place, such as a path or a field that is not
/// marked, is written unchanged.
#[derive(Clone)]
pub struct HarLog {
    max_entries: usize,
    keeps_secrets: bool,
    kept: Arc<Mutex<Kept>>,
}

/// The entries of a log.
#[derive(Default)]
struct Kept {
    /// Entries in the order of their ends.
    entries: VecDeque<(Wall, Arc<str>)>,
    /// Sum of the sizes of the entries, in bytes.
    size: usize,
    /// Number of entries that were left out.
    left_out: u64,
}

impl HarLog {
    /// Returns an empty log that keeps the latest 10,000 entries.
    pub fn new() -> Self {
        Self::with_max_entries(MAX_ENTRIES)
    }

    /// Returns an empty log that keeps the latest `max_entries` entries, and at most 64 MiB of them.
    pub fn with_max_entries(max_entries: usize) -> Self {
        Self { max_entries, keeps_secrets: false, kept: Arc::default() }
    }

    /// Returns a log whose new [recorders](Self::recorder) write the secrets into the entries: the values of
    /// `Authorization`, of cookies, and of everything else that the log replaces by default. This method does not
    /// change earlier recorders.
    ///
    /// A person who reads such a file can act as the user of the client. Use this method only for a file that you
    /// delete or keep secret.
    pub fn keep_secrets(mut self) -> Self {
        self.keeps_secrets = true;
        self
    }

    /// Returns a function that adds an entry for each record, for
    /// [`ClientBuilder::on_exchange`](crate::ClientBuilder::on_exchange). The function makes the text of the entry at
    /// once, in the task that ends the attempt, and does not block.
    pub fn recorder(&self) -> impl Fn(&ExchangeRecord) + Send + Sync + 'static {
        let log = self.clone();
        move |record| {
            let entry = entry::entry(record, log.keeps_secrets).to_string();
            log.lock().add(record.started(), entry.into(), log.max_entries);
        }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether the log has no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of entries that were left out because the log was full.
    pub fn left_out(&self) -> u64 {
        self.lock().left_out
    }

    /// Removes all entries, and sets [`left_out`](Self::left_out) to zero.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    /// Returns the file as text, with the entries in the order in which the attempts began.
    pub fn to_json(&self) -> String {
        let mut json = Vec::new();
        // Writing into memory does not fail, and the text is UTF-8.
        let _ = self.write_to(&mut json);
        String::from_utf8(json).unwrap_or_default()
    }

    /// Writes the file, with the entries in the order in which the attempts began. Each entry has a line of its own.
    ///
    /// The log is not locked while this method writes, so that requests go on. The method blocks while `output` blocks.
    /// In async code, use [`to_json`](Self::to_json) and an async write instead.
    ///
    /// # Errors
    ///
    /// The error of `output`.
    pub fn write_to(&self, mut output: impl io::Write) -> io::Result<()> {
        let (mut entries, left_out) = {
            let kept = self.lock();
            (Vec::from_iter(kept.entries.iter().cloned()), kept.left_out)
        };
        entries.sort_by_key(|(started, _)| *started);
        let creator = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
        write!(output, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"pages\":[],\"entries\":[")?;
        for (nth, (_, entry)) in entries.iter().enumerate() {
            write!(output, "{}\n{entry}", if nth == 0 { "" } else { "," })?;
        }
        let comment = match left_out {
            0 => String::new(),
            _ => format!(",\"comment\":\"{left_out} earlier entries were left out\""),
        };
        writeln!(output, "\n]{comment}}}}}")?;
        output.flush()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HarLog {
    /// Returns an empty log, as [`HarLog::new`] does.
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    /// Adds an entry, and removes the oldest entries if there are too many.
    fn add(&mut self, started: Wall, entry: Arc<str>, max_entries: usize) {
        self.size += entry.len();
        self.entries.push_back((started, entry));
        while self.entries.len() > max_entries || self.size > MAX_SIZE {
            let Some((_, oldest)) = self.entries.pop_front() else { break };
            self.size -= oldest.len();
            self.left_out += 1;
        }
    }
}

impl fmt::Debug for HarLog {
    /// Shows no entry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.lock();
        f.debug_struct("HarLog")
            .field("entries", &kept.entries.len())
            .field("left_out", &kept.left_out)
            .field("max_entries", &self.max_entries)
            .field("keeps_secrets", &self.keeps_secrets)
            .finish()
    }
}

/// Number of entries that a log keeps by default.
const MAX_ENTRIES: usize = 10_000;
/// Largest size of all entries of a log, in bytes.
const MAX_SIZE: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn the_oldest_entries_are_left_out() {
        let (log, now) = (HarLog::with_max_entries(2), time::wall());
        for entry in ["1", "2", "3"] {
            log.lock().add(now, entry.into(), log.max_entries);
        }
        assert_eq!((log.len(), log.left_out()), (2, 1));
        assert!(log.to_json().contains("[\n2,\n3\n],\"comment\":\"1 earlier entries were left out\"}}"));
        log.clear();
        assert_eq!((log.is_empty(), log.left_out(), log.lock().size), (true, 0, 0));
    }

    #[test]
    fn the_size_of_all_entries_is_bounded() {
        let (log, now) = (HarLog::new(), time::wall());
        let entry: Arc<str> = "x".repeat(MAX_SIZE / 2).into();
        for _ in 0..3 {
            log.lock().add(now, entry.clone(), MAX_ENTRIES);
        }
        assert_eq!((log.len(), log.left_out()), (2, 1));
        log.lock().add(now, "x".repeat(MAX_SIZE + 1).into(), MAX_ENTRIES);
        assert_eq!((log.len(), log.left_out(), log.lock().size), (0, 4, 0), "an entry that never fits");
    }
}
