//! The caller's function that sees the head of each attempt before it is sent.
//!
//! This module does no I/O. Invariant: what the function changes applies to one attempt. The next attempt, and the next hop
//! after a redirect, begin with the fields of the request.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::attempt::Attempts;
use crate::exchange::Exchange;

/// Function of the caller that gets the head of each attempt and the attempt's number.
#[derive(Clone)]
pub(crate) struct OnRequest(pub(crate) Arc<Hook>);

type Hook = dyn Fn(&mut Parts, u32) + Send + Sync;

impl Attempts<'_> {
    /// Calls the function of the client within the span of the attempt, and returns the fields of the attempt.
    #[cold]
    pub(super) fn ask(&mut self, hook: &OnRequest, exchange: &mut Exchange) -> Box<HeaderMap> {
        self.call.tried = self.call.tried.saturating_add(1);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.call.method.clone();
        parts.uri = self.call.uri.clone();
        parts.headers = self.call.headers.clone();
        exchange.trace().entered(|| hook.0(&mut parts, self.call.tried));
        Box::new(parts.headers)
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRequest")
    }
}
