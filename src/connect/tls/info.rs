//! Parameters that the TLS handshake of a connection negotiated.
//!
//! This file is compiled without the feature `rustls` too, so that the pool needs no `cfg`. This file uses no type of
//! rustls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Version of TLS.
///
/// ```
/// use handclasp::tls::Version;
///
/// assert!(Version::TLS_1_2 < Version::TLS_1_3);
/// assert_eq!(Version::TLS_1_3.to_string(), "1.3");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Minor);

/// Minor version. TLS 1.0 and TLS 1.1 are missing, because rustls does not implement these versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Minor {
    Two,
    Three,
}

impl Version {
    /// TLS 1.2 (<https://www.rfc-editor.org/rfc/rfc5246>).
    pub const TLS_1_2: Self = Self(Minor::Two);
    /// TLS 1.3 (<https://www.rfc-editor.org/rfc/rfc8446>).
    pub const TLS_1_3: Self = Self(Minor::Three);

    /// Returns the version as text: "1.2" or "1.3".
    pub(crate) fn as_str(self) -> &'static str {
        match self.0 {
            Minor::Two => "1.2",
            Minor::Three => "1.3",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS {self}")
    }
}

/// Certificates that a server presented, in DER. The first is the server's own certificate.
pub(super) type Chain = [Box<[u8]>];

/// Parameters that the TLS handshake of a connection negotiated: see
/// [`ConnectionInfo::tls`](crate::ConnectionInfo::tls).
///
/// ```no_run
/// # async fn run() -> handclasp::Result<()> {
/// let response = handclasp::get("https://example.org/").await?;
/// if let Some(tls) = response.connection().tls() {
///     println!("TLS {} with {}, resumed: {}", tls.version(), tls.cipher_suite(), tls.is_resumed());
/// }
/// # Ok(())
/// # }
/// ```
pub struct TlsInfo {
    pub(super) version: Version,
    pub(super) suite: &'static str,
    pub(super) group: Option<&'static str>,
    pub(super) is_resumed: bool,
    pub(super) has_alpn: bool,
    /// Generation of the client's identity: see [`Generation`].
    pub(super) generation: u64,
    pub(super) chain: Arc<Chain>,
}

impl TlsInfo {
    /// Returns the version of TLS.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the name that IANA gives to the cipher suite, such as `TLS_AES_256_GCM_SHA384`. The name is `unknown` if
    /// a crypto provider of the caller has a suite that rustls does not know.
    pub fn cipher_suite(&self) -> &str {
        self.suite
    }

    /// Returns the name of the group of the key exchange, such as `X25519` or `X25519MLKEM768`. `None` if the handshake
    /// resumed a session of TLS 1.2, which needs no key exchange.
    pub fn key_exchange_group(&self) -> Option<&str> {
        self.group
    }

    /// Whether the handshake resumed the session of an earlier connection. In a resumed handshake the server shows no
    /// certificate, because the server proved its identity on the earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Returns the protocol that the server chose by ALPN: `http/1.1`, or `None` if the server did not choose
    /// (<https://www.rfc-editor.org/rfc/rfc7301>).
    pub fn alpn(&self) -> Option<&str> {
        self.has_alpn.then_some("http/1.1")
    }

    /// Returns the server's own certificate in DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.chain.first().map(|der| &**der)
    }

    /// Returns the certificates that the server presented, in DER. The first is the server's own certificate.
    pub fn peer_certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.chain.iter().map(|der| &**der)
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version)
            .field("cipher_suite", &self.suite)
            .field("key_exchange_group", &self.group)
            .field("is_resumed", &self.is_resumed)
            .field("alpn", &self.alpn())
            .field("peer_certificates", &self.chain.len())
            .finish()
    }
}

/// Counter of the client's identities. An identity that differs from the identity before it begins a new generation. A
/// connection of an earlier generation is not used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation(Arc<AtomicU64>);

impl Generation {
    /// Begins the next generation, and returns its number.
    #[cfg(feature = "rustls")]
    pub(super) fn begin(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether the identity has changed since the connection was made.
    pub(crate) fn has_passed(&self, tls: &TlsInfo) -> bool {
        tls.generation < self.0.load(Ordering::Acquire)
    }
}
