//! The step from one hop of a call to the next: asks `redirect.rs`, and prepares the next request.
//!
//! Without the feature `url`, no response leads to another hop. Invariant: the connection of a redirect is given back,
//! drained within the bounds of a drain, or closed before the next hop asks for a connection.

#[cfg(feature = "url")]
use http::Method;

use super::Call;
use super::attempt::{Attempts, Finished};
#[cfg(feature = "url")]
use super::auth;
#[cfg(feature = "url")]
use super::redirect::{self, Decision, Refusal};
use crate::codec::ResponseHead;
use crate::exchange::Exchange;
#[cfg(feature = "url")]
use crate::{
    body::Body,
    call::RequestTarget,
    error::{Error, ErrorKind, Phase},
    pool::key::RouteRef,
    redirect::Hop,
    time,
};

#[cfg(feature = "url")]
pub(super) type Next = Box<redirect::Next>;
#[cfg(not(feature = "url"))]
pub(super) type Next = std::convert::Infallible;

#[cfg(feature = "url")]
impl Attempts<'_> {
    /// Decides what follows a response whose status is 3xx.
    #[cold]
    pub(super) fn redirect(&mut self, head: ResponseHead, exchange: &mut Exchange) -> Finished {
        self.drop_stored_cookies();
        let settings = &self.call.env.request.redirects;
        let policy = self.call.settings.redirect.policy().unwrap_or(&settings.policy);
        let is_usual = matches!(self.call.settings.target, None | Some(RequestTarget::Origin));
        let is_asked = !matches!(policy.rule, crate::redirect::Rule::None)
            && redirect::is_redirect(head.status)
            && is_usual
            && *self.call.method != Method::CONNECT
            && head.headers().contains_key(http::header::LOCATION);
        let url = if is_asked { url::Url::parse(&self.call.uri.to_string()).ok() } else { None };
        // A request on a reserved connection never moves to another connection. If the content of the redirect might not
        // end soon, the caller decides whether to read it or to lose the connection.
        let is_pinned = self.call.settings.pinned.is_some();
        let ends = !is_pinned || (!exchange.closes() && exchange.ends_soon());
        let url = url.filter(|url| ends && (!is_pinned || !redirect::leaves_origin(url, head.headers())));
        let Some(url) = url else { return self.answer(head, exchange) };
        let (method, status, headers) = (self.call.method.clone(), head.status, head.headers().clone());
        let history = &mut *self.call.history;
        history.push(Hop { method, url, status, headers });
        let is_replayable = exchange.has_replayable_body();
        // A custom policy may print the fields of the next request.
        auth::mark_secrets(self.call.headers);
        let (hops, fragment) = (history.hops(), history.fragment());
        match redirect::decide(settings, policy, hops, fragment, self.call.headers, is_replayable) {
            Decision::Stop => {
                history.pop();
                self.answer(head, exchange)
            }
            Decision::Follow(next) => match RouteRef::of(&next.uri) {
                Ok(_) => {
                    history.set_fragment(next.fragment.as_deref());
                    Finished::Redirected(next)
                }
                Err(error) => failed(Refusal::BadLocation(error.into()), exchange),
            },
            Decision::Fail(refusal) => failed(refusal, exchange),
        }
    }
}

/// Ends the call, because the redirect cannot be followed. Dropping the exchange gives the connection back or closes it.
#[cfg(feature = "url")]
fn failed(refusal: Refusal, exchange: &mut Exchange) -> Finished {
    let error = Error::new(ErrorKind::Redirect, refusal.to_string()).in_phase(Phase::Receive);
    let error = match refusal {
        Refusal::BadLocation(source) | Refusal::ByPolicy(source) => error.because(source),
        _ => error,
    };
    Finished::Failed(exchange.error(error))
}

#[cfg(not(feature = "url"))]
impl Attempts<'_> {
    /// Returns the response, because no redirect is followed.
    #[cold]
    pub(super) fn redirect(&mut self, head: ResponseHead, exchange: &mut Exchange) -> Finished {
        self.answer(head, exchange)
    }
}

impl Call<'_> {
    /// Ends the hop that a redirect has answered, and makes the call and its exchange ready for the next hop. If the
    /// next hop goes to the same origin, reads a small rest of the redirect, so that the next hop can use the same
    /// connection.
    #[cfg(feature = "url")]
    pub(super) async fn go_on(&mut self, next: Next, exchange: &mut Exchange) {
        let status = self.history.hops().last().map(Hop::status);
        exchange.end_hop(self.method, self.uri, status);
        if next.is_same_origin {
            exchange.drain_here(self.settings.pinned.is_some()).await;
        }
        (*self.method, *self.uri) = (next.method, next.uri);
        let port = RouteRef::of(self.uri).map_or(0, |route| route.port());
        let trace = exchange.trace().next_attempt(&self.sending(port), time::now());
        let body = (!next.keeps_content).then(Body::empty);
        exchange.next_hop(body, trace).abandon();
    }

    #[cfg(not(feature = "url"))]
    #[allow(clippy::unused_async, reason = "as with the feature url")]
    pub(super) async fn go_on(&mut self, next: Next, _: &mut Exchange) {
        match next {}
    }
}
