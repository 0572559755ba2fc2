//! The error of a dial that connected to no address: what became of each attempt.
//!
//! This file knows no sockets. Invariant: the error holds every attempt, and its text names the first ones and counts the
//! others.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Scope;
use super::destination::Destination;
use super::shortage::{Shortage, shortage};
use super::strict::Untaken;

/// An attempt that ended without a connection.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) peer: SocketAddr,
    pub(crate) why: Why,
}

/// Reason why an attempt ended without a connection.
#[derive(Debug)]
pub(crate) enum Why {
    /// The system returned this error.
    Error(io::Error),
    /// The address had not answered when another address was to be tried and no more attempts were allowed to run.
    GaveWay,
    /// The address had not answered when the time of the dial was over.
    NoAnswer,
    /// The address filter refused the address, so that the address was not tried.
    Refused,
}

impl Why {
    /// Returns the resource whose lack made the attempt fail.
    fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Error(error) => shortage(error),
            Self::GaveWay | Self::NoAnswer | Self::Refused => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.write_str(&message_of(error)),
            Self::GaveWay => f.write_str("no answer, gave way to another address"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Refused => f.write_str("refused by the address filter"),
        }
    }
}

/// Failure to connect to any address, with the error of each attempt.
#[derive(Debug)]
pub(crate) struct ConnectError {
    failures: Vec<Failed>,
    /// Address that the URL names, if the URL names an address. The text leaves this address out, because the text of
    /// the request's error begins with the address.
    named: Option<SocketAddr>,
}

impl ConnectError {
    /// Returns the error of a dial whose attempts ended in these ways.
    pub(super) fn new(failures: Vec<Failed>) -> Self {
        Self { failures, named: None }
    }

    /// Returns the attempts, in the order in which they ended.
    pub(super) fn failures(&self) -> &[Failed] {
        &self.failures
    }

    /// Leaves the address of the destination out of the text, if the destination is an address.
    pub(super) fn without_address_of(mut self, to: &Destination) -> Self {
        self.named = to.host().parse().ok().map(|host: IpAddr| SocketAddr::new(host, to.port()));
        self
    }

    /// Returns the first failure of a socket option that must be set.
    pub(super) fn untaken(&self) -> Option<&Untaken> {
        self.failures.iter().find_map(|failed| match &failed.why {
            Why::Error(error) => Untaken::of(error),
            _ => None,
        })
    }

    /// Whether no address was tried, because the address filter refused each of them.
    pub(super) fn is_refused(&self) -> bool {
        !self.failures.is_empty() && self.failures.iter().all(|failed| matches!(failed.why, Why::Refused))
    }

    /// Returns which other dials would fail in the same way. An address that this machine cannot reach says nothing
    /// about the host, unless another address of the host was reached.
    pub(super) fn scope(&self) -> Scope {
        let mut shortages = self.failures.iter().map(|failed| failed.why.shortage());
        let is_exhausted = shortages.clone().any(|shortage| shortage == Some(Shortage::Resource));
        match is_exhausted || shortages.all(|shortage| shortage.is_some()) {
            true if !self.failures.is_empty() => Scope::Shortage,
            _ => Scope::Host,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Failed { peer, why }) in self.failures.iter().take(MAX_SHOWN).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if self.named == Some(*peer) {
                write!(f, "{comma}{why}")?;
            } else {
                write!(f, "{comma}{peer}: {why}")?;
            }
        }
        match self.failures.len() {
            0 => f.write_str("no address answered"),
            shown if shown <= MAX_SHOWN => Ok(()),
            all => write!(f, ", and {} more", all - MAX_SHOWN),
        }
    }
}

impl StdError for ConnectError {}

/// Returns "connection refused" instead of "Connection refused (os error 111)".
fn message_of(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind().to_string()) {
        (Some(_), kind) if kind != "uncategorized error" && kind != "other error" => kind,
        _ => error.to_string(),
    }
}

/// Maximum number of addresses that an error names.
const MAX_SHOWN: usize = 6;
