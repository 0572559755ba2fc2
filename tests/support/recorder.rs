//! A `tracing` layer that records the crate's spans: the parent of each span, its fields, and whether it has closed.
//! The layer checks the order of the spans too.
//!
//! Invariant: each span is recorded once, in the order in which spans were opened.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tracing::Subscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::order::{Order, fields};

/// A recorded span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    /// Position of the parent span in the record.
    pub(crate) parent: Option<usize>,
    pub(crate) fields: BTreeMap<&'static str, String>,
    /// Positions of the spans that this span follows from.
    pub(crate) follows: Vec<usize>,
    pub(crate) is_closed: bool,
    id: u64,
}

impl Span {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| &**value)
    }

    pub(crate) fn elapsed(&self) -> u64 {
        self.field("elapsed_ns").unwrap_or_else(|| panic!("{} did not end", self.name)).parse().unwrap()
    }
}

/// A recorder of spans. Its clones share one record.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    spans: Arc<Mutex<Vec<Span>>>,
    order: Arc<Mutex<Order>>,
    /// The faults that were found. [`take`](Self::take) fails if there is one, because the client may contain a panic of a
    /// layer.
    faults: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts a recorder for the spans of this thread. Recording ends when the returned guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        (recorder, tracing::subscriber::set_default(subscriber))
    }

    /// Whether a span of this name was opened since the last call of [`take`](Self::take).
    pub(crate) fn has(&self, name: &str) -> bool {
        self.spans.lock().unwrap().iter().any(|span| span.name == name)
    }

    /// Whether all spans have closed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.spans.lock().unwrap().iter().all(|span| span.is_closed)
    }

    /// Returns the spans that were recorded since the last call. All of them must have ended.
    pub(crate) fn take(&self) -> Vec<Span> {
        let (spans, faults) = (std::mem::take(&mut *self.spans.lock().unwrap()), self.faults.lock().unwrap());
        assert!(faults.is_empty(), "{faults:?}");
        for span in &spans {
            assert!(span.is_closed, "{span:?} was started and not ended");
            assert!(span.field("elapsed_ns").is_some(), "{span:?} does not say how long it took");
        }
        spans
    }

    fn check(&self, checked: Result<(), String>) {
        self.faults.lock().unwrap().extend(checked.err());
    }

    fn with(&self, id: &Id, change: impl FnOnce(&mut Span)) {
        let mut spans = self.spans.lock().unwrap();
        // The newest of the spans with this id is the right one, because `tracing` reuses the ids of closed spans.
        if let Some(span) = spans.iter_mut().rfind(|span| span.id == id.into_u64()) {
            let checked =
                if span.is_closed { Err(format!("{span:?} goes on after its end")) } else { Ok(()) };
            self.check(checked);
            change(span);
        }
    }

    fn place(&self, id: &Id) -> Option<usize> {
        self.spans.lock().unwrap().iter().rposition(|span| span.id == id.into_u64())
    }
}

/// Returns one text such as `name(child child)` for each root span. Children are listed in the order in which they
/// started.
pub(crate) fn tree(spans: &[Span]) -> Vec<String> {
    let roots = (0..spans.len()).filter(|at| spans[*at].parent.is_none());
    roots.map(|at| branch(spans, at)).collect()
}

fn branch(spans: &[Span], at: usize) -> String {
    let children = (0..spans.len()).filter(|child| spans[*child].parent == Some(at));
    let children: Vec<_> = children.map(|child| branch(spans, child)).collect();
    match &children[..] {
        [] => spans[at].name.to_owned(),
        children => format!("{}({})", spans[at].name, children.join(" ")),
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "handclasp" {
            return;
        }
        let current = context.current_span();
        let named = attributes.parent().or_else(|| current.id().filter(|_| attributes.is_contextual()));
        let parent = named.and_then(|parent| self.place(parent));
        if named.is_some() && parent.is_none() {
            self.check(Err(format!("{} was recorded before its parent", attributes.metadata().name())));
        }
        let mut span =
            Span { name: attributes.metadata().name(), parent, id: id.into_u64(), ..Span::default() };
        span.fields = fields(|visitor| attributes.record(visitor));
        let above = named.map(Id::into_u64);
        let checked = self.order.lock().unwrap().start(span.id, span.name, above, span.fields.clone());
        self.spans.lock().unwrap().push(span);
        self.check(checked);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let fields = fields(|visitor| values.record(visitor));
        self.with(id, |span| span.fields.extend(fields.clone()));
        let checked = self.order.lock().unwrap().record(id.into_u64(), fields);
        self.check(checked);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let place = self.place(follows);
        self.with(id, |span| span.follows.extend(place));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.with(&id, |span| span.is_closed = true);
        let checked = self.order.lock().unwrap().close(id.into_u64());
        self.check(checked);
    }
}
