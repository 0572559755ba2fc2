//! Where a connection leads.

use std::fmt;
use std::sync::Arc;

/// Where a connection should lead: what a custom connector is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    is_https: bool,
    host: Arc<str>,
    port: u16,
}

impl Destination {
    /// `host` as in a URI.
    pub(crate) fn new(https: bool, host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { is_https: https, host: bare.to_ascii_lowercase().into(), port }
    }

    /// Whether the connection is secured by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        if self.is_https { "https" } else { "http" }
    }

    /// The host's name in lower case, or its address; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, whether the URL named it or not.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Host and port, as in a URI.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
