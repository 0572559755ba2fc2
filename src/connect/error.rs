//! The error of a dial: the reason for the failure, and which other dials would fail in the same way.
//!
//! The scope of an error tells the pool which requests fail with that error. This file knows neither sockets nor the
//! pool.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::shortage::is_shortage;
use crate::error::{BoxError, Error, ErrorKind, Phase};
use crate::resolver::{ResolveError, ResolveErrorKind};
use crate::timings::Rounded;

/// Error of a dial. The error is cheap to clone, so that all requests that waited for the dial get the same error.
#[derive(Clone)]
pub(crate) struct DialError {
    failure: Arc<Failure>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    phase: Phase,
    message: String,
    scope: Scope,
    /// Status with which a proxy refused to open a tunnel.
    status: Option<StatusCode>,
}

/// The other dials that would fail in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every other dial to the same destination.
    Host,
    /// No other dial: the next dial to the same destination may succeed.
    Attempt,
    /// The scope is unknown, because this process lacks descriptors, memory, ports or a network. This lack says nothing
    /// about the destination.
    Shortage,
    /// Every other dial on the same runtime, to any destination.
    Runtime,
}

impl DialError {
    /// Returns an error without a source.
    pub(super) fn new(kind: ErrorKind, phase: Phase, message: String, scope: Scope) -> Self {
        Self { failure: Arc::new(Failure { kind, phase, message, scope, status: None }), source: None }
    }

    /// Returns the error of a dial on a runtime without timers, which cannot end the dial at its deadline.
    pub(crate) fn no_timers() -> Self {
        let message = "the tokio runtime has no timers: build it with enable_all or enable_time".to_owned();
        Self::new(ErrorKind::Request, Phase::Queue, message, Scope::Runtime)
    }

    /// Returns the error of a dial whose task ended early, because its runtime stopped or has no I/O driver.
    pub(crate) fn interrupted() -> Self {
        let message =
            "the tokio runtime of the dial stopped, or has no I/O: build it with enable_all or enable_io"
                .to_owned();
        Self::new(ErrorKind::Connect, Phase::Tcp, message, Scope::Runtime)
    }

    /// Returns the error of a dial that the pool gave up, because the runtime did not poll the dial until after its
    /// deadline.
    pub(crate) fn stalled(after: Duration) -> Self {
        let after = Rounded(after);
        let message = format!(
            "the dial made no progress within {after}, because its tokio runtime does not run: do not block the runtime's thread"
        );
        Self::new(ErrorKind::Timeout, Phase::Tcp, message, Scope::Runtime)
    }

    /// Returns the error of a dial to a pool that was shut down.
    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, Phase::Queue, Error::SHUTDOWN.to_owned(), Scope::Runtime)
    }

    /// Returns an error of the TLS phase.
    pub(super) fn tls(message: String, scope: Scope) -> Self {
        Self::new(ErrorKind::Tls, Phase::Tls, message, scope)
    }

    /// Returns the error with `source` as its cause.
    pub(super) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Returns the error of a connection to a proxy, whose text names the proxy.
    #[cfg(feature = "proxy")]
    pub(super) fn of_proxy(self, proxy: &super::ProxyServer) -> Self {
        let Failure { kind, phase, scope, .. } = *self.failure;
        let message = format!("no connection to the proxy {proxy}: {}", self.failure.message);
        Self { source: self.source, ..Self::new(kind, phase, message, scope) }
    }

    /// Returns the error for the last of several addresses that a proxy was asked for. `number` counts these addresses.
    #[cfg(feature = "proxy")]
    pub(super) fn after_addresses(self, number: usize) -> Self {
        if number < 2 {
            return self;
        }
        let Failure { kind, phase, scope, .. } = *self.failure;
        let message = format!("{}, for the last of {number} addresses", self.failure.message);
        Self { source: self.source, ..Self::new(kind, phase, message, scope) }
    }

    /// Returns the error of a TLS handshake with a proxy.
    #[cfg(feature = "proxy")]
    pub(super) fn in_proxy_phase(self, proxy: &super::ProxyServer) -> Self {
        let message = format!("the TLS handshake with the proxy {proxy} failed: {}", self.failure.message);
        let failed = Self::new(ErrorKind::Proxy, Phase::Proxy, message, self.failure.scope);
        Self { source: self.source, ..failed }
    }

    /// Returns the error with the status of the proxy's answer.
    #[cfg(feature = "proxy")]
    pub(super) fn with_status(self, status: Option<StatusCode>) -> Self {
        let Failure { kind, phase, scope, .. } = *self.failure;
        let message = self.failure.message.clone();
        Self { failure: Arc::new(Failure { kind, phase, message, scope, status }), source: self.source }
    }

    /// Returns the kind of the error that a caller gets.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.failure.kind
    }

    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.failure.phase
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.failure.message
    }

    /// Whether every other dial to the destination from this runtime would fail in the same way. Examples are a host that
    /// does not exist, a host without an address that accepts a connection, a server that TLS refused, and a runtime that
    /// cannot dial.
    pub(crate) fn concerns_host(&self) -> bool {
        matches!(self.failure.scope, Scope::Host | Scope::Runtime)
    }

    /// Returns a copy that can be stored: the source is flattened to text, so that no value of the caller's is dropped
    /// under the pool's lock.
    pub(crate) fn to_keep(&self) -> Self {
        let mut text = String::new();
        let mut cause = self.source.as_deref().map(|source| source as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        let source = self.source.as_ref().map(|_| Arc::from(BoxError::from(text)));
        Self { failure: self.failure.clone(), source }
    }

    /// Whether the failure counts against the host. A shortage of this process and a failure of the runtime do not count.
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self.failure.scope, Scope::Host | Scope::Attempt)
    }

    /// Whether every other dial on the same runtime would fail in the same way.
    pub(crate) fn is_of_runtime(&self) -> bool {
        self.failure.scope == Scope::Runtime
    }

    /// Returns the error that one of the waiting requests gets.
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.failure.kind, self.failure.message.clone()).in_phase(self.failure.phase);
        let error = match self.failure.status {
            Some(status) => error.with_status(status),
            None => error,
        };
        match self.source {
            Some(source) => error.because(source),
            None => error,
        }
    }
}

impl From<ResolveError> for DialError {
    fn from(error: ResolveError) -> Self {
        let (kind, scope) = match &error.kind {
            ResolveErrorKind::NotFound(_) => (ErrorKind::Dns, Scope::Host),
            ResolveErrorKind::Failed(source) if is_shortage(&**source) => (ErrorKind::Dns, Scope::Shortage),
            ResolveErrorKind::Failed(_) => (ErrorKind::Dns, Scope::Attempt),
            ResolveErrorKind::TimedOut { .. } => (ErrorKind::Timeout, Scope::Attempt),
        };
        let this = Self::new(kind, Phase::Dns, error.to_string(), scope);
        match error.kind {
            ResolveErrorKind::Failed(source) => Self { source: Some(source), ..this },
            ResolveErrorKind::NotFound(_) | ResolveErrorKind::TimedOut { .. } => this,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl fmt::Debug for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialError").field("failure", &self.failure).field("source", &self.source).finish()
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
