//! Progress bars on stderr. A bar is shown only on a terminal that does not also show a body.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressState, ProgressStyle};

use crate::cli::Options;

/// The progress of all requests.
pub(crate) struct Progress {
    is_wanted: bool,
    /// The bar of several requests. Counts finished requests.
    all: Option<ProgressBar>,
    /// Number of bytes of all bodies.
    received: Arc<AtomicU64>,
}

impl Progress {
    pub(crate) fn new(options: &Options) -> Self {
        let is_free = options.output.is_some() || !io::stdout().is_terminal();
        let is_wanted = !options.silent && is_free && io::stderr().is_terminal();
        let received = Arc::new(AtomicU64::new(0));
        let total = options.total();
        let all = (is_wanted && total > 1).then(|| several(total, received.clone()));
        Self { is_wanted, all, received }
    }

    /// Begins the bar of one body. Several requests have a common bar instead.
    pub(crate) fn body(&self, length: Option<u64>) -> Body<'_> {
        Body { progress: self, started: Instant::now(), length, received: 0, bar: None }
    }

    /// Counts a request that has ended.
    pub(crate) fn end_request(&self) {
        if let Some(all) = &self.all {
            all.inc(1);
        }
    }

    /// Runs `print` while no bar is on the screen.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        match &self.all {
            Some(all) => all.suspend(print),
            None => print(),
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(all) = &self.all {
            all.finish_and_clear();
        }
    }
}

/// The progress of one body.
pub(crate) struct Body<'a> {
    progress: &'a Progress,
    started: Instant,
    length: Option<u64>,
    received: u64,
    bar: Option<ProgressBar>,
}

impl Body<'_> {
    /// Counts bytes that have arrived.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some(all) = &self.progress.all {
            self.progress.received.fetch_add(bytes as u64, Ordering::Relaxed);
            all.tick();
            return;
        }
        let is_long = match self.length {
            Some(length) => length > LONG,
            None => self.started.elapsed() > Duration::from_secs(1),
        };
        if self.progress.is_wanted && is_long {
            self.bar.get_or_insert_with(|| single(self.length)).set_position(self.received);
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn single(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:24} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} to go",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}  {binary_bytes_per_sec}"),
    };
    bar.with_style(style(template))
}

fn several(requests: u64, received: Arc<AtomicU64>) -> ProgressBar {
    let write = move |state: &ProgressState, out: &mut dyn Write| {
        let received = received.load(Ordering::Relaxed);
        let rate = received as f64 / state.elapsed().as_secs_f64().max(1e-3);
        // A failed write is ignored, because a text that is incomplete is drawn anew.
        let _ = write!(out, "{}  {}/s", HumanBytes(received), HumanBytes(rate as u64));
    };
    let template = "{bar:24} {pos} of {len} requests  {received}";
    ProgressBar::new(requests).with_style(style(template).with_key("received", write))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a valid constant")
}

/// Length from which a body has a bar.
const LONG: u64 = 1 << 20;
