//! A `tracing` layer that checks the order of the crate's spans while they are opened and closed: a small state machine
//! for each attempt, and one for each dial.
//!
//! Every test binary runs with this checker from its first server on ([`check_all`]), unless its tests record spans
//! themselves. A breach ends the process, because a panic might be caught on its way. Invariant: the checker keeps no
//! state of closed spans.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The phases of an attempt, in their order.
const PHASES: [&str; 4] = ["queue", "send", "wait", "receive"];

/// The phases of a dial.
const DIAL: [&str; 5] = ["dns", "tcp", "unix", "proxy", "tls"];

/// Number of spans of the process that were checked.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of spans of the process that were checked.
pub(crate) fn seen() -> usize {
    SEEN.load(Ordering::Relaxed)
}

/// An open span.
#[derive(Debug, Default)]
struct Open {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    /// Children that are open.
    children: Vec<u64>,
    /// Number of phases that were begun.
    begun: usize,
    /// Number of attempts to connect that won.
    won: usize,
    /// Whether a proxy was asked. A SOCKS proxy is asked for each address on a connection of its own.
    is_asked: bool,
}

/// The open spans, and the state machine over them.
#[derive(Debug, Default)]
pub(crate) struct Order {
    open: HashMap<u64, Open>,
}

type Verdict = Result<(), String>;

impl Order {
    pub(crate) fn start(
        &mut self,
        id: u64,
        name: &'static str,
        parent: Option<u64>,
        fields: BTreeMap<&'static str, String>,
    ) -> Verdict {
        let is_root = ["http.request", "connection.setup"].contains(&name);
        if !is_root && !PHASES.contains(&name) && !DIAL.contains(&name) {
            return Ok(());
        }
        SEEN.fetch_add(1, Ordering::Relaxed);
        if name == "connection.setup" && parent.is_some() {
            return Err(format!("{name} is not a root"));
        }
        if !is_root {
            let above = parent.and_then(|parent| self.open.get_mut(&parent));
            let above = above.ok_or_else(|| format!("{name} began without an open parent"))?;
            above.start_child(id, name)?;
        }
        let parent = parent.filter(|_| !is_root);
        let before = self.open.insert(id, Open { name, parent, fields, ..Open::default() });
        if before.is_some() { Err(format!("{name} began twice")) } else { Ok(()) }
    }

    pub(crate) fn record(&mut self, id: u64, fields: BTreeMap<&'static str, String>) -> Verdict {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        for (name, value) in fields {
            let is_changed = open.fields.insert(name, value).is_some() && name != "waited";
            if is_changed {
                return Err(format!("{} has {name} twice", open.name));
            }
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, id: u64) -> Verdict {
        let Some(open) = self.open.remove(&id) else { return Ok(()) };
        open.close()?;
        let Some(above) = open.parent.and_then(|parent| self.open.get_mut(&parent)) else { return Ok(()) };
        above.children.retain(|child| *child != id);
        above.won += usize::from(open.is_won());
        if above.won > 1 && !above.is_asked { Err("two attempts to connect won".into()) } else { Ok(()) }
    }
}

impl Open {
    fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Whether the span is an attempt to connect that won. A connection over a unix socket has no rivals, and so it wins
    /// if it does not fail.
    fn is_won(&self) -> bool {
        match self.name {
            "unix" => !self.has("error.type"),
            _ => self.fields.get("outcome").is_some_and(|outcome| outcome == "won"),
        }
    }

    fn fail(&self, why: &str) -> Verdict {
        Err(format!("{why}: {self:?}"))
    }

    /// Checks that a child may begin now.
    fn start_child(&mut self, id: u64, name: &str) -> Verdict {
        if self.has("elapsed_ns") {
            return self.fail(&format!("{name} began after the end"));
        }
        if self.name == "http.request" {
            let expected = PHASES.get(self.begun);
            if expected != Some(&name) {
                return self.fail(&format!("{name} began instead of {expected:?}"));
            }
            // A phase begins just before the phase before it closes.
            if self.children.len() > 1 {
                return self.fail(&format!("{name} began while two phases ran"));
            }
            let needed = [None, Some("handclasp.connection.id"), None, Some("http.response.status_code")];
            if let Some(needed) = needed[self.begun].filter(|needed| !self.has(needed)) {
                return self.fail(&format!("{name} began without {needed}"));
            }
            self.begun += 1;
        } else if !DIAL.contains(&name) || self.name != "connection.setup" {
            return self.fail(&format!("{name} is no phase of this span"));
        } else if ["proxy", "tls"].contains(&name) && self.won == 0 {
            return self.fail(&format!("{name} began without a connection"));
        } else if ["tcp", "unix"].contains(&name) && self.won > 0 && !self.is_asked {
            return self.fail("an attempt to connect began after another had won");
        }
        self.is_asked |= name == "proxy";
        self.children.push(id);
        Ok(())
    }

    /// Checks that the span may close now.
    fn close(&self) -> Verdict {
        if !self.children.is_empty() {
            return self.fail("closed before its children");
        }
        if !self.has("elapsed_ns") {
            return self.fail("closed without its length");
        }
        if self.name == "tcp" && !self.has("outcome") {
            return self.fail("closed without an outcome");
        }
        let (error, status) = (self.fields.get("error.type"), self.fields.get("http.response.status_code"));
        if error.is_some() != self.has("otel.status_code") {
            return self.fail("an error has a type and a status code");
        }
        if self.name != "http.request" {
            return Ok(());
        }
        let is_refused = status.is_some_and(|status| status.parse::<u16>().unwrap() >= 400);
        if is_refused && error != status {
            return self.fail("a status from 400 on is the type of the error");
        }
        let is_cancelled = self.has("handclasp.cancelled");
        if is_cancelled && error.is_some() && !is_refused {
            return self.fail("an attempt that the caller cancelled is no error");
        }
        if error.is_none() && !is_cancelled && (status.is_none() || !matches!(self.begun, 0 | 4)) {
            // A subscriber that wants no phases sees none.
            return self.fail("a success has a status and all phases");
        }
        Ok(())
    }
}

/// The layer that feeds an [`Order`].
#[derive(Debug, Default)]
struct Checker(Mutex<Order>);

impl Checker {
    fn step(&self, step: impl FnOnce(&mut Order) -> Verdict) {
        let verdict = step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(why) = verdict {
            // The test harness catches what the print macros write, and a dead process shows nothing of it.
            let mut text = String::new();
            writeln!(text, "\nspans in an illegal order: {why}").unwrap();
            writeln!(text, "in {:?}", std::thread::current().name()).unwrap();
            let _ = std::io::stderr().write_all(text.as_bytes());
            std::process::exit(101);
        }
    }
}

impl<S: Subscriber> Layer<S> for Checker {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == "handclasp" {
            let current = context.current_span();
            let parent = attributes.parent().or_else(|| current.id().filter(|_| attributes.is_contextual()));
            let parent = parent.map(Id::into_u64);
            let fields = fields(|visitor| attributes.record(visitor));
            self.step(|order| order.start(id.into_u64(), attributes.metadata().name(), parent, fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.step(|order| order.record(id.into_u64(), fields(|visitor| values.record(visitor))));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.step(|order| order.close(id.into_u64()));
    }
}

/// Returns the fields that `record` visits.
pub(crate) fn fields(record: impl FnOnce(&mut dyn Visit)) -> BTreeMap<&'static str, String> {
    struct Fields(BTreeMap<&'static str, String>);
    impl Visit for Fields {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }

        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
    }
    let mut visitor = Fields(BTreeMap::new());
    record(&mut visitor);
    visitor.0
}

/// Binaries whose tests record spans themselves. The recorder of each test checks the order of its spans.
const RECORDED: [&str; 2] = ["secured_traced", "tracing"];

/// Checks all spans of the process from now on. The servers of the kit call this function. A binary that uses none of them
/// calls it itself.
pub(crate) fn check_all() {
    static ONCE: Once = Once::new();
    let binary = module_path!().split("::").next().unwrap_or_default();
    if !RECORDED.contains(&binary) {
        ONCE.call_once(|| {
            let checked = tracing_subscriber::registry().with(Checker::default());
            tracing::subscriber::set_global_default(checked).unwrap();
        });
    }
}
