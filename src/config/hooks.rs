//! The settings of functions that see what a client sends, and of the spelling of fields.

use std::sync::Arc;

use super::ClientBuilder;
use crate::call::OnRequest;
use crate::codec::Spelling;
use crate::record::{ExchangeRecord, KnownMethods};

/// # Hooks
impl ClientBuilder {
    /// Sets a function that is called before each attempt to send a request, and that may change the attempt's header fields.
    ///
    /// The function gets the head of the attempt and the number of the attempt, which counts from 1 and includes
    /// resends and redirects. The function is called while the span `http.request` of the attempt is entered, so that a
    /// propagator can write `traceparent` from the current span. The changes apply to this attempt alone. Changes of
    /// anything but the fields have no effect. A later call of this method replaces the function.
    ///
    /// The function runs within the request's future and must not block. A field that the function adds is sent to
    /// every host that a redirect leads to. A function that adds a secret should therefore check the URI.
    ///
    /// ```
    /// use handclasp::HeaderValue;
    ///
    /// let mut key = HeaderValue::from_static("the key");
    /// key.set_sensitive(true);
    /// let client = handclasp::Client::builder().on_request(move |request, attempt| {
    ///     // With OpenTelemetry: propagator.inject_context(&Span::current().context(), &mut HeaderInjector(..))
    ///     request.headers.insert("x-attempt", attempt.into());
    ///     // Only one host gets the key.
    ///     if request.uri.host() == Some("api.example.org") {
    ///         request.headers.insert("x-api-key", key.clone());
    ///     }
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

/// # Records
impl ClientBuilder {
    /// Adds a function that gets the [record](crate::ExchangeRecord) of each attempt when the attempt ends: at the end
    /// of the response's content, at an error, and when the request or its response is dropped.
    ///
    /// A request that is sent again, and each request of a chain of redirects, is an attempt of its own. If this method
    /// is called several times, the functions run in the order in which they were added. A function runs in the task
    /// that ends the attempt, without any lock of the client, and must not block. After a complete response, the
    /// connection is already free for other requests. The panic hook reports a panic of the function, and the request
    /// goes on.
    ///
    /// A response that is dropped unread ends its attempt at that moment, even if the rest of the response is read in
    /// the background. A client without such a function makes no record.
    ///
    /// ```
    /// let client = handclasp::Client::builder().on_exchange(|record| {
    ///     let status = record.status().map_or(0, |status| status.as_u16());
    ///     println!("{} {} {status} {}", record.method(), record.redacted_url(), record.timings());
    /// });
    /// ```
    pub fn on_exchange(mut self, hook: impl Fn(&ExchangeRecord) + Send + Sync + 'static) -> Self {
        self.request.on_exchange.get_or_insert_default().add(hook);
        self
    }

    /// Sets the methods that spans and metrics show by their names. Every other method is shown as `_OTHER`, and its span
    /// is called `HTTP`, so that unknown methods do not add names.
    ///
    /// By default, these are the methods that OpenTelemetry's conventions know: the methods of RFC 9110, PATCH and QUERY.
    /// `methods` replaces the default and the list of an earlier call. Requests and [records](crate::ExchangeRecord) do
    /// not change.
    ///
    /// ```
    /// use handclasp::Method;
    ///
    /// // A client for WebDAV.
    /// let own = [Method::GET, Method::PUT, Method::DELETE, Method::from_bytes(b"PROPFIND")?];
    /// let client = handclasp::Client::builder().known_methods(own).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn known_methods(mut self, methods: impl IntoIterator<Item = http::Method>) -> Self {
        self.request.known_methods = KnownMethods::only(methods);
        self
    }
}

/// # Spelling
impl ClientBuilder {
    /// Sends the names of header fields in title case, such as `Content-Length`, for servers that compare names by their
    /// letter case. By default, names are in lower case.
    ///
    /// For names that title case does not fit, use [`header_spelling`](Self::header_spelling). Each of the two methods
    /// replaces the setting of the other.
    pub fn http1_title_case_headers(self) -> Self {
        self.header_spelling(true, [] as [&str; 0])
    }

    /// Sets the spelling of the names of header fields. A name in `names`, such as `X-API-Key`, is sent in the spelling
    /// of `names`. All other names are sent in title case if `title_case` is true, and in lower case if `title_case` is
    /// false. A later call replaces an earlier spelling.
    ///
    /// The order of fields needs no setting: after `Host`, the fields of a request are sent in the order in which they were
    /// added, then the client's default fields, and last the fields that frame the body.
    ///
    /// ```
    /// let client = handclasp::Client::builder().header_spelling(true, ["X-API-Key", "SOAPAction"]).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn header_spelling<N: Into<String>>(
        mut self,
        title_case: bool,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        self.request.spelling = Some(Box::new(Spelling::new(title_case, names)));
        self
    }
}
