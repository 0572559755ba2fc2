//! Why a dial failed, and which other dials would fail in the same way.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::shortage::is_shortage;
use crate::error::{BoxError, Error, ErrorKind, Phase};
use crate::resolver::{ResolveError, Why};

/// Why a dial failed. Several requests may be told of the same failure: clones are cheap.
#[derive(Clone)]
pub(crate) struct DialError {
    inner: Arc<Failure>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    phase: Phase,
    message: String,
    scope: Scope,
}

/// Whom a failed dial concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Another dial to the same destination would fail alike.
    Host,
    /// Another dial may fare better.
    Attempt,
    /// This process ran short of descriptors, memory, ports or a network: it says nothing of the destination.
    Shortage,
    /// Every other dial on the same runtime would fail alike, whatever the destination.
    Runtime,
}

impl DialError {
    pub(super) fn new(kind: ErrorKind, phase: Phase, message: String, scope: Scope) -> Self {
        Self { inner: Arc::new(Failure { kind, phase, message, scope }), source: None }
    }

    /// The runtime that the dial was to run on has no timers: no deadline could be kept.
    pub(crate) fn no_timers() -> Self {
        let message = "the tokio runtime has no timers: build it with enable_all or enable_time".to_owned();
        Self::new(ErrorKind::Request, Phase::Queue, message, Scope::Runtime)
    }

    /// The dial did not come to its end: its runtime stopped, or has no I/O.
    pub(crate) fn interrupted() -> Self {
        let message = "the dial was cut short: its tokio runtime stopped, or has no I/O enabled".to_owned();
        Self::new(ErrorKind::Connect, Phase::Tcp, message, Scope::Runtime)
    }

    /// Returns the error of a dial that the pool gave up, because it had not ended by its deadline.
    pub(crate) fn stalled(after: Duration) -> Self {
        let message = format!(
            "no connection was made within {after:?} because its tokio runtime is not running: do not block the runtime's thread"
        );
        Self::new(ErrorKind::Timeout, Phase::Tcp, message, Scope::Runtime)
    }

    /// The pool was shut down.
    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, Phase::Queue, Error::SHUTDOWN.to_owned(), Scope::Runtime)
    }

    #[cfg(test)]
    pub(crate) fn refused() -> Self {
        Self::new(ErrorKind::Connect, Phase::Tcp, "refused".to_owned(), Scope::Attempt)
    }

    #[cfg(test)]
    pub(crate) fn short_of_descriptors() -> Self {
        Self::new(ErrorKind::Connect, Phase::Tcp, "too many open files".to_owned(), Scope::Shortage)
    }

    pub(super) fn tls(message: String, scope: Scope) -> Self {
        Self::new(ErrorKind::Tls, Phase::Tls, message, scope)
    }

    pub(super) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.inner.phase
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether every dial to the destination from here would fail alike: there is no such host, every address was tried
    /// and failed (or none answered in time), TLS does not accept the server, or the runtime cannot dial at all.
    pub(crate) fn concerns_host(&self) -> bool {
        matches!(self.inner.scope, Scope::Host | Scope::Runtime)
    }

    /// The same, to be kept: the cause is its words alone, so that nothing of the caller's is held, nor dropped where no
    /// caller's code may run.
    pub(crate) fn to_keep(&self) -> Self {
        let mut words = String::new();
        let mut cause = self.source.as_deref().map(|source| source as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&error.to_string());
            cause = error.source();
        }
        let source = self.source.as_ref().map(|_| Arc::from(BoxError::from(words)));
        Self { inner: self.inner.clone(), source }
    }

    /// Whether it says anything about the destination.
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self.inner.scope, Scope::Host | Scope::Attempt)
    }

    /// Whether no dial on the same runtime can succeed.
    pub(crate) fn is_of_runtime(&self) -> bool {
        self.inner.scope == Scope::Runtime
    }

    /// The crate's error for one of the requests that waited.
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.inner.kind, self.inner.message.clone()).in_phase(self.inner.phase);
        match self.source {
            Some(source) => error.because(source),
            None => error,
        }
    }
}

impl From<ResolveError> for DialError {
    fn from(error: ResolveError) -> Self {
        let (kind, scope) = match &error.why {
            Why::NotFound(_) => (ErrorKind::Dns, Scope::Host),
            Why::Failed(source) if is_shortage(&**source) => (ErrorKind::Dns, Scope::Shortage),
            Why::Failed(_) => (ErrorKind::Dns, Scope::Attempt),
            Why::TimedOut(_) => (ErrorKind::Timeout, Scope::Attempt),
        };
        let this = Self::new(kind, Phase::Dns, error.to_string(), scope);
        match error.why {
            Why::Failed(source) => Self { source: Some(source), ..this },
            Why::NotFound(_) | Why::TimedOut(_) => this,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialError").field("failure", &self.inner).field("source", &self.source).finish()
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
