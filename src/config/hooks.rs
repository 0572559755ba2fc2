//! The settings of functions that see what a client sends.

use std::sync::Arc;

use super::ClientBuilder;
use crate::call::OnRequest;

/// # Hooks
impl ClientBuilder {
    /// Sets a function that is called before each attempt to send a request, and that may change the attempt's header fields.
    ///
    /// The function gets the head of the attempt and the number of the attempt, which counts from 1 and includes resends and
    /// redirects. It is called with the span `http.request` of the attempt entered, so that the current span is the parent of
    /// what the server does: a propagator can write `traceparent` from it. The changes apply to this attempt alone. Changes of
    /// anything but the fields have no effect. A later call of this method replaces the function.
    ///
    /// The function runs within the request's future and must not block. A field that it adds is sent to every host that a
    /// redirect leads to, so that a function that adds a secret should look at the URI.
    ///
    /// ```
    /// let client = handclasp::Client::builder().on_request(|request, attempt| {
    ///     // With OpenTelemetry: propagator.inject_context(&Span::current().context(), &mut HeaderInjector(..))
    ///     request.headers.insert("x-attempt", attempt.into());
    /// });
    /// ```
    pub fn on_request(
        mut self,
        hook: impl Fn(&mut http::request::Parts, u32) + Send + Sync + 'static,
    ) -> Self {
        self.request.on_request = Some(OnRequest(Arc::new(hook)));
        self
    }
}
