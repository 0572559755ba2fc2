//! The settings of proxies.

use std::time::Duration;

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
    /// - `HTTP_PROXY` is not read if `REQUEST_METHOD` is set, because a header field of a CGI request can set
    ///   `HTTP_PROXY`. On Windows, `http_proxy` is not read in this case either, because the names of variables have no
    ///   case there.
    /// - Requests to `localhost` and to loopback addresses never go through a proxy of the environment.
    /// - If a variable is not the URL of a proxy, the requests that would use this proxy fail with
    ///   [`ErrorKind::Proxy`](crate::ErrorKind::Proxy).
    /// - The environment is read once, when the client is built.
    ///
    /// Other programs read the variables differently:
    ///
    /// | | this crate | curl | Go |
    /// |---|---|---|---|
    /// | `http_proxy` and `HTTP_PROXY` | lower case first | lower case only | upper case first |
    /// | the other variables, in both cases | lower case first | lower case first | upper case first |
    /// | `ALL_PROXY` | if no other variable applies | the same | never |
    /// | in CGI | `HTTP_PROXY` is not read | the same | an http request that would use a proxy fails |
    /// | `localhost`, loopback addresses | never by a proxy | by the proxy | never by a proxy. Names below `localhost` go by the proxy |
    /// | an empty variable | counts as not set | the same | the same |
    /// | a value without a scheme | an HTTP proxy | the same | the same |
    /// | a value without a port | 80, 443 or 1080, by the scheme | 1080, and 443 for https | 80, 443 or 1080, by the scheme |
    /// | a value that is not the URL of a proxy | the request fails | the request fails | the request may go without a proxy |
    /// | the scheme `socks5` | the client looks names up | the same | the proxy looks names up |
    ///
    /// With the feature `system-proxy`, the settings of macOS and Windows are read too, when the client is built. If
    /// the environment names no proxy for a scheme, the proxy of these settings is used. The exceptions in these
    /// settings apply to the proxies of these settings. If `no_proxy` or `NO_PROXY` is set, the variable replaces the
    /// exceptions and applies to all proxies. A name in the exceptions matches as a whole. `*` may stand anywhere in
    /// the name, and `<local>` matches every name without a dot. Scripts that choose a proxy (PAC, WPAD) are not run.
    ///
    /// The route of a connection contains the proxy and its credentials. Requests through different proxies, or with
    /// different credentials, never share a connection. The [connect timeout](Self::connect_timeout) covers the dialog
    /// with the proxy. TLS with an https proxy uses the client's TLS settings, including the client certificate, and
    /// resumes no session. A TLS session with an origin is resumed only through the same proxy with the same
    /// credentials. CONNECT carries the client's [`User-Agent`](Self::user_agent), unless [`Proxy::headers`] has this
    /// field. A [`connector`](Self::connector) uses no proxies.
    ///
    /// If a client with proxies sends a request to its origin directly, the client removes the `Proxy-Authorization`
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

    /// Sets how long the dialog with a proxy may take. The dialog includes the TLS handshake with an https proxy.
    /// `None` by default: only the [`connect_timeout`](Self::connect_timeout) applies, which limits the whole dial in
    /// any case.
    ///
    /// The time begins when the proxy has accepted the TCP connection, and ends when the proxy has opened a connection
    /// to the destination. After this time the requests that waited for the dial fail with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) in [`Phase::Proxy`](crate::Phase::Proxy). A proxy that
    /// forwards http requests has no dialog after TCP and TLS. The [`response_timeout`](Self::response_timeout) limits
    /// the wait for the answer to a forwarded request.
    pub fn proxy_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.steps.proxy = timeout.into();
        self
    }

    /// Removes all proxies. The client then takes no proxies from the environment.
    pub fn no_proxy(mut self) -> Self {
        self.proxies = Some(Proxies::NONE);
        self
    }
}
