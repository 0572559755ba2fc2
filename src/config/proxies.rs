//! The settings of proxies.

use super::ClientBuilder;
use crate::connect::{Proxies, Proxy};

/// # Proxies
impl ClientBuilder {
    /// Adds a proxy. The first proxy that applies to a request is used, in the order of these calls. A request to which no
    /// proxy applies goes to its origin directly.
    ///
    /// Without a call of this method or of [`no_proxy`](Self::no_proxy), the proxies come from the environment variables
    /// `http_proxy` and `HTTP_PROXY`, `https_proxy` and `HTTPS_PROXY`, `all_proxy` and `ALL_PROXY`, and the hosts without a
    /// proxy from `no_proxy` and `NO_PROXY` (see [`NoProxy`](crate::NoProxy)). These rules apply to the variables:
    ///
    /// - The name in lower case takes precedence. An empty variable counts as unset.
    /// - `HTTP_PROXY` is not read if `REQUEST_METHOD` is set, because a header field of a CGI request can set `HTTP_PROXY`.
    ///   On Windows, `http_proxy` is not read either then, because the names of variables have no case.
    /// - Requests to `localhost` and to loopback addresses never go through a proxy of the environment.
    /// - If a variable is not the URL of a proxy, the requests that would use this proxy fail with
    ///   [`ErrorKind::Proxy`](crate::ErrorKind::Proxy).
    /// - The environment is read once, when the client is built.
    ///
    /// The route of a connection contains the proxy and its credentials. Requests through different proxies, or with
    /// different credentials, never share a connection. The [connect timeout](Self::connect_timeout) covers the dialog
    /// with the proxy. TLS with an https proxy uses the client's TLS settings, including the client certificate, and
    /// resumes no session. A TLS session with an origin is resumed only through the same proxy with the same credentials.
    /// CONNECT carries the client's [`User-Agent`](Self::user_agent), unless [`Proxy::headers`] has this field. A
    /// [`connector`](Self::connector) uses no proxies.
    ///
    /// If the client has proxies, but a request goes to its origin directly, the request loses the `Proxy-Authorization`
    /// that the caller has set, because this field is meant for a proxy.
    ///
    /// [`build`](Self::build) reports credentials that the proxy's protocol cannot carry.
    /// [`RequestBuilder::proxy`](crate::RequestBuilder::proxy) sets the proxy of one request.
    ///
    /// ```
    /// use handclasp::{NoProxy, Proxy};
    ///
    /// # fn main() -> handclasp::Result<()> {
    /// let proxy = Proxy::all("http://proxy.example:3128")?.basic_auth("user", "password");
    /// let proxy = proxy.no_proxy(NoProxy::from_string("localhost, .internal.example"));
    /// let client = handclasp::Client::builder().proxy(proxy).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        match self.proxies.take().unwrap_or_default().and(proxy) {
            Ok(proxies) => self.proxies = Some(proxies),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Removes all proxies. The client then takes no proxies from the environment.
    pub fn no_proxy(mut self) -> Self {
        self.proxies = Some(Proxies::NONE);
        self
    }
}
