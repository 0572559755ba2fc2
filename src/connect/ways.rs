//! Chooses how a request reaches its server: over a unix socket, through a proxy, or directly. In this file, *way*
//! means this choice.
//!
//! This file does no I/O. Invariants: the way depends on the settings of the client and of the request, and never on a
//! response. If a unix socket is set, a request takes no other way.

use std::sync::Arc;

use super::socket_path::SocketPath;
use super::{Proxies, Via, Wanted};
use crate::error::{Error, Result};

/// The unix socket and the proxies that are set for a client or for one request. Empty if none is set. Behind one
/// pointer: keeps each request small, because few requests have such settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways(Option<Arc<Named>>);

#[derive(Clone, Debug, Default)]
struct Named {
    socket: Option<Arc<SocketPath>>,
    proxies: Option<Proxies>,
}

impl Ways {
    /// Neither a unix socket nor proxies.
    pub(crate) const NONE: Self = Self(None);

    /// Returns the ways of a client.
    pub(crate) fn new(socket: Option<Arc<SocketPath>>, proxies: Proxies) -> Self {
        let proxies = Some(proxies).filter(|proxies| !proxies.is_empty());
        if socket.is_none() && proxies.is_none() {
            Self::NONE
        } else {
            Self(Some(Arc::new(Named { socket, proxies })))
        }
    }

    /// Whether neither a unix socket nor proxies are set.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Sets the unix socket.
    #[cfg(unix)]
    pub(crate) fn set_socket(&mut self, path: SocketPath) {
        Arc::make_mut(self.0.get_or_insert_default()).socket = Some(Arc::new(path));
    }

    /// Sets the proxies. An empty value switches the proxies of the client off.
    #[cfg(feature = "proxy")]
    pub(crate) fn set_proxies(&mut self, proxies: Proxies) {
        Arc::make_mut(self.0.get_or_insert_default()).proxies = Some(proxies);
    }

    /// Whether there is at least one proxy.
    pub(crate) fn has_proxies(&self) -> bool {
        self.proxies().is_some_and(|proxies| !proxies.is_empty())
    }

    fn socket(&self) -> Option<&Arc<SocketPath>> {
        self.0.as_ref()?.socket.as_ref()
    }

    fn proxies(&self) -> Option<&Proxies> {
        self.0.as_ref()?.proxies.as_ref()
    }

    /// Returns the way of a request. `own` are the ways of the request, and `client` those of its client.
    ///
    /// # Errors
    ///
    /// If the request has both a unix socket and a proxy, or if its proxy cannot be chosen.
    #[cold]
    pub(crate) fn choose(own: &Self, client: &Self, wanted: Wanted<'_>) -> Result<Via> {
        if let Some(path) = own.socket().or_else(|| client.socket()) {
            if own.has_proxies() {
                return Err(Error::request(format!(
                    "the request has both a proxy and the unix socket {path}: leave one of them out, because no proxy is used for a unix socket"
                )));
            }
            return Ok(Via::Unix(path.clone()));
        }
        own.proxies().or_else(|| client.proxies()).map_or(Ok(Via::Direct), |proxies| proxies.choose(wanted))
    }
}
