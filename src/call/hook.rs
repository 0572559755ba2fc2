//! The caller's function that sees the head of each attempt before it is sent, and the spelling of the head.
//!
//! This module does no I/O. Invariant: the changes of the function apply to one attempt. The next attempt, and the next
//! hop after a redirect, begin with the fields of the request.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::attempt::Attempts;
use super::auth;
use super::head::binds_connection;
use super::proxy;
use crate::codec::RequestHead;
use crate::error::Result;
use crate::exchange::Exchange;

/// Function of the caller that gets the head of each attempt and the attempt's number.
#[derive(Clone)]
pub(crate) struct OnRequest(pub(crate) Arc<Hook>);

type Hook = dyn Fn(&mut Parts, u32) + Send + Sync;

impl Attempts<'_> {
    /// Encodes the request head of a client that changes heads, or of a request that goes through a proxy.
    ///
    /// # Errors
    ///
    /// If the request cannot be sent.
    #[cold]
    pub(super) fn prepare_shaped(&mut self, exchange: &mut Exchange) -> Result<()> {
        let config = &self.call.env.request;
        let mut own = config.on_request.as_ref().map(|hook| self.ask(hook, exchange));
        let (is_asked, via) = (own.is_some(), self.route.by_proxy());
        if let Some(via) = via {
            let fields = own.get_or_insert_with(|| Box::new(self.call.headers.clone()));
            proxy::complete(via, self.call.method, fields).map_err(|error| exchange.error(error))?;
        }
        let headers = own.as_deref().unwrap_or(self.call.headers);
        if let Some(pinned) = &self.call.settings.pinned {
            pinned.note_credentials(headers);
        }
        let is_shared = self.call.settings.pinned.is_none();
        let binds = || is_shared && self.call.settings.isolation.is_none() && binds_connection(headers);
        let host = self.names.host();
        let target = proxy::target(via, self.names.target(), self.call.uri);
        let mut head = RequestHead::new(self.call.method, target, Some(host.as_bytes()), headers);
        head.spelling = config.spelling.as_deref();
        head.close = self.closes || is_asked && binds();
        exchange.prepare(head).map_err(|error| exchange.error(error))
    }

    /// Calls the function of the client within the span of the attempt, and returns the fields of the attempt.
    fn ask(&mut self, hook: &OnRequest, exchange: &mut Exchange) -> Box<HeaderMap> {
        self.call.tried = self.call.tried.saturating_add(1);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.call.method.clone();
        parts.uri = self.call.uri.clone();
        parts.headers = self.call.headers.clone();
        auth::mark_secrets(&mut parts.headers);
        exchange.trace().entered(|| hook.0(&mut parts, self.call.tried));
        Box::new(parts.headers)
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRequest")
    }
}
