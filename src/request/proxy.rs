//! The proxy of one request.

use super::RequestBuilder;
use crate::connect::{Proxies, Proxy};

/// # Proxies
impl RequestBuilder {
    /// Sets the proxy of this request. Replaces all proxies of the client. If the proxy does not apply to the URL, the
    /// request goes to its origin directly.
    ///
    /// Redirects of this request use the same proxy. [`send`](Self::send) reports credentials that the proxy's protocol
    /// cannot carry.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// use handclasp::Proxy;
    ///
    /// let tor = Proxy::all("socks5h://127.0.0.1:9050")?;
    /// let page = client.get("https://example.org/").proxy(tor).send().await?.text().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        match Proxies::NONE.and(proxy) {
            Ok(proxies) => self.settings.ways.set_proxies(proxies),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sends this request to its origin directly, without the proxies of the client.
    pub fn no_proxy(mut self) -> Self {
        self.settings.ways.set_proxies(Proxies::NONE);
        self
    }
}
