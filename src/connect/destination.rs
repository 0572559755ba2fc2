//! Destinations of connections, and how a destination is reached: directly, through a proxy, or
//! over a unix socket.

use std::fmt;
use std::sync::Arc;

use super::ProxyServer;
use super::socket_path::SocketPath;

/// Destination of a connection: the scheme, host and port of a URL.
///
/// A custom connector ([`ClientBuilder::connector`](crate::ClientBuilder::connector)) gets a destination and returns a
/// connection to that destination. `Display` writes the host and the port, as in a URI.
///
/// # Examples
///
/// A connector that sends every host to one address:
///
/// ```
/// use handclasp::{BoxError, Client, Destination, Transport};
/// use tokio::net::TcpStream;
///
/// # fn main() -> handclasp::Result<()> {
/// let connector = |to: Destination| async move {
///     println!("connecting to {}://{to}", to.scheme());
///     let tcp = TcpStream::connect("127.0.0.1:8080").await?;
///     Ok::<_, BoxError>(Box::new(tcp) as Box<dyn Transport>)
/// };
/// let client = Client::builder().connector(connector).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    is_https: bool,
    host: Arc<str>,
    port: u16,
    via: Via,
}

/// How a destination is reached.
///
/// The dialer matches every variant, so that the compiler points at the code that a new variant needs. The pool's key
/// contains the variant, because two variants may reach different servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    /// TCP to an address of the host.
    Direct,
    /// A connection to an HTTP proxy that forwards requests. The destination is the proxy itself, so that requests to
    /// all origins share the connection.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "there are no proxies"))]
    Forward(Arc<ProxyServer>),
    /// A connection to the destination that a proxy has opened.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "there are no proxies"))]
    Tunnel(Arc<ProxyServer>),
    /// A unix socket. The host of the destination is not looked up.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no unix sockets"))]
    Unix(Arc<SocketPath>),
}

impl Destination {
    /// Returns the destination of a URL. `host` has the form that a host has in a URI.
    pub(crate) fn new(is_https: bool, host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { is_https, host: bare.to_ascii_lowercase().into(), port, via: Via::Direct }
    }

    /// Returns the destination, reached by `via`.
    pub(crate) fn by(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// Whether the connection is secured by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the way to the destination.
    pub(crate) fn via(&self) -> &Via {
        &self.via
    }

    /// Returns the scheme of the URL: `http` or `https`.
    pub fn scheme(&self) -> &str {
        if self.is_https { "https" } else { "http" }
    }

    /// Returns the host of the URL: a name in lower case, or an IP address. An IPv6 address has no brackets.
    ///
    /// A name with a final dot is absolute: a resolver does not add a search domain to it. TLS takes the name without
    /// the dot: <https://www.rfc-editor.org/rfc/rfc6066#section-3>.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port of the URL, or the default port of its scheme: 80 or 443.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Writes the host and the port, as in a URI.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
