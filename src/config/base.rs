//! The setting of the URL to which relative URLs are joined.

use super::ClientBuilder;
use crate::url::{Base, IntoUrl};

/// # Base URL
impl ClientBuilder {
    /// Sets the URL to which the URLs of requests are joined, and refuses requests to any other origin. By default,
    /// a client has no base URL.
    ///
    /// A URL is joined as a browser joins a link on a page (<https://url.spec.whatwg.org/#url-parsing>). The part of the
    /// base's path after its last slash is dropped, so that the path of a base usually ends with a slash. A URL that begins
    /// with a slash replaces the whole path. A URL without a host has the user and the password of the base.
    ///
    /// | base | URL | request |
    /// |---|---|---|
    /// | `https://api.example.org/v1/` | `users?page=2` | `https://api.example.org/v1/users?page=2` |
    /// | `https://api.example.org/v1` | `users` | `https://api.example.org/users` |
    /// | `https://api.example.org/v1/` | `/status` | `https://api.example.org/status` |
    /// | `https://api.example.org/v1/` | `../v2/users` | `https://api.example.org/v2/users` |
    /// | `https://api.example.org/v1/` | `https://api.example.org/x` | `https://api.example.org/x` |
    /// | `https://api.example.org/v1/` | `//evil.example/x` | refused |
    ///
    /// An absolute URL is allowed if its scheme, host and port are those of the base. A request to any other origin fails
    /// with [`ErrorKind::Request`](crate::ErrorKind::Request) before the client takes a connection, however the URL is
    /// spelled. Text from an untrusted source within a URL can therefore not send the default fields of the client to
    /// another server. The text can still choose any path and query of the origin, unless the caller percent-encodes the
    /// text.
    ///
    /// The base applies to [`Client::get`](crate::Client::get) and the methods of the other verbs, to
    /// [`Client::execute`](crate::Client::execute), [`RequestBuilder::from_parts`](crate::RequestBuilder::from_parts),
    /// [`Client::warm`](crate::Client::warm) and [`Client::min_idle`](crate::Client::min_idle). Redirects follow the
    /// [redirect policy](Self::redirect), which may lead to other origins.
    ///
    /// [`build`](Self::build) refuses a base that is not an absolute URL with the scheme http or https.
    ///
    /// ```
    /// # fn main() -> handclasp::Result<()> {
    /// let client = handclasp::Client::builder().base_url("https://api.example.org/v1/").build()?;
    /// let request = client.get("users?page=2").build()?;
    /// assert_eq!(request.uri(), "https://api.example.org/v1/users?page=2");
    /// assert!(client.get("//evil.example/users").build().unwrap_err().is_request());
    /// # Ok(())
    /// # }
    /// ```
    pub fn base_url(mut self, url: impl IntoUrl) -> Self {
        match Base::new(url) {
            Ok(base) => self.request.base = base,
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }
}
