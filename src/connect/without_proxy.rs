//! Stand-in for proxies when the feature `proxy` is off: every request goes without a proxy.
//!
//! This file exports the names that other modules use. Invariant: no value of [`ProxyServer`] exists.

use std::fmt;

use http::{HeaderMap, Method, Uri};

use super::{AddressFilter, Via};
use crate::error::Result;

/// A proxy server. No value of this type exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProxyServer {}

impl ProxyServer {
    pub(crate) fn authority(&self) -> &str {
        match *self {}
    }

    pub(crate) fn host(&self) -> &str {
        match *self {}
    }

    pub(crate) fn port(&self) -> u16 {
        match *self {}
    }

    pub(crate) fn fields(&self) -> &HeaderMap {
        match *self {}
    }
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Proxies of a client or of a request. The list is always empty.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub(crate) struct Proxies;

/// Facts of a request on which the choice of a proxy depends.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "there are no proxies")]
pub(crate) struct Wanted<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) is_https: bool,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) filter: Option<&'a AddressFilter>,
}

impl Proxies {
    pub(crate) fn of_environment() -> Self {
        Self
    }

    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    #[allow(clippy::unnecessary_wraps, reason = "as in proxy/settings.rs")]
    pub(crate) fn choose(&self, _: Wanted<'_>) -> Result<Via> {
        Ok(Via::Direct)
    }
}
