//! The TLS settings.

use super::ClientBuilder;
use crate::connect::{
    Backend, Certificate, CertificateRevocationList, ClientIdentity, Identity, IdentityProvider, Trust,
    Version,
};
use crate::error::BoxError;

/// # TLS: which servers are trusted
impl ClientBuilder {
    /// Adds a certificate authority to the authorities that the client trusts. Each call adds one authority.
    pub fn add_root_certificate(self, certificate: Certificate) -> Self {
        self.tls_certs_merge([certificate])
    }

    /// Adds certificate authorities to the authorities that the platform trusts. On Android, [`build`](Self::build)
    /// fails, because the verifier of Android accepts no further authorities: use
    /// [`tls_certs_only`](Self::tls_certs_only).
    ///
    /// ```no_run
    /// use handclasp::{Certificate, Client};
    ///
    /// # fn main() -> Result<(), handclasp::BoxError> {
    /// let ours = Certificate::from_pem_bundle(std::fs::read("our-authorities.pem")?)?;
    /// let client = Client::builder().tls_certs_merge(ours).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls_certs_merge(mut self, certificates: impl IntoIterator<Item = Certificate>) -> Self {
        self.tls.roots.extend(certificates);
        self
    }

    /// Trusts only these certificate authorities and the authorities that other calls add, instead of the platform's
    /// authorities. The order of the calls does not matter. [`build`](Self::build) fails if there is no authority.
    pub fn tls_certs_only(mut self, certificates: impl IntoIterator<Item = Certificate>) -> Self {
        // Mozilla's authorities stay if the caller has added them.
        if self.tls.trust == Trust::Platform {
            self.tls.trust = Trust::Given;
        }
        self.tls_certs_merge(certificates)
    }

    /// Trusts Mozilla's certificate authorities, which the crate `webpki-roots` contains, instead of the platform's
    /// authorities. The authorities that other calls add are trusted too.
    ///
    /// Without this call, a client of a program with the feature `webpki-roots` trusts Mozilla's authorities only if
    /// the platform has none, as in an image without a CA bundle. The crate contains the list of its release date: a
    /// program that is not built again for a long time trusts an old list.
    #[cfg(feature = "webpki-roots")]
    pub fn tls_webpki_roots(mut self) -> Self {
        self.tls.trust = Trust::Mozilla;
        self
    }

    /// Refuses the certificates that these revocation lists name. Revocation lists need
    /// [`tls_certs_only`](Self::tls_certs_only) or the roots of `webpki-roots`, because the platform's verifier takes
    /// no lists. [`build`](Self::build) fails otherwise.
    ///
    /// Each certificate of a server's chain needs a list of the authority that issued the certificate. A certificate
    /// that no list covers is refused too. The client ignores the time of a list's next update.
    pub fn tls_crls_only(mut self, lists: impl IntoIterator<Item = CertificateRevocationList>) -> Self {
        self.tls.crls.extend(lists);
        self
    }

    /// Calls [`tls_crls_only`](Self::tls_crls_only) with one list.
    pub fn add_crl(self, list: CertificateRevocationList) -> Self {
        self.tls_crls_only([list])
    }

    /// Calls [`tls_crls_only`](Self::tls_crls_only). Earlier versions of reqwest use the name of this method.
    pub fn add_crls(self, lists: impl IntoIterator<Item = CertificateRevocationList>) -> Self {
        self.tls_crls_only(lists)
    }

    /// Sets whether the client accepts every certificate: for any name, from any authority, and at any time. `false` by
    /// default.
    ///
    /// <div class="warning">
    ///
    /// With `true`, an attacker between the client and the server can read and change everything. Instead, trust the
    /// server's own authority with [`add_root_certificate`](Self::add_root_certificate).
    ///
    /// </div>
    ///
    /// The server still has to prove that it holds the key of the certificate that it shows. So the caller can compare
    /// [`peer_certificate`](crate::tls::TlsInfo::peer_certificate) with a known certificate, but only after the
    /// response.
    pub fn tls_danger_accept_invalid_certs(mut self, accept: bool) -> Self {
        self.tls.accepts_invalid_certs = accept;
        self
    }

    /// Calls [`tls_danger_accept_invalid_certs`](Self::tls_danger_accept_invalid_certs). Earlier versions of reqwest
    /// use the name of this method.
    pub fn danger_accept_invalid_certs(self, accept: bool) -> Self {
        self.tls_danger_accept_invalid_certs(accept)
    }

    /// Sets whether a certificate of a trusted authority is accepted for any host. `false` by default.
    ///
    /// <div class="warning">
    ///
    /// With `true`, everyone who has any certificate of a trusted authority can impersonate any server. If a server has
    /// another name than the host of its URL, use [`tls_server_name`](Self::tls_server_name) instead.
    ///
    /// </div>
    ///
    /// On Android, macOS, iOS and Windows, [`build`](Self::build) fails unless the client also has
    /// [`tls_certs_only`](Self::tls_certs_only) or the roots of `webpki-roots`, because the verifiers of these
    /// platforms do not distinguish a wrong name from other faults.
    pub fn tls_danger_accept_invalid_hostnames(mut self, accept: bool) -> Self {
        self.tls.accepts_invalid_hostnames = accept;
        self
    }

    /// Calls [`tls_danger_accept_invalid_hostnames`](Self::tls_danger_accept_invalid_hostnames). Earlier versions of
    /// reqwest use the name of this method.
    pub fn danger_accept_invalid_hostnames(self, accept: bool) -> Self {
        self.tls_danger_accept_invalid_hostnames(accept)
    }
}

/// # TLS: who the client is
impl ClientBuilder {
    /// Sets the certificate and the key with which the client authenticates to servers that ask for a client
    /// certificate. By default, the client has no certificate.
    ///
    /// Replaces [`identity_provider`](Self::identity_provider). [`build`](Self::build) fails if the key does not belong
    /// to the certificate. In TLS 1.3, a server refuses a client's certificate after the handshake. A request that
    /// fails with [`ErrorKind::Tls`](crate::ErrorKind::Tls) may therefore have been written.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.tls.identity = ClientIdentity::Fixed(identity);
        self
    }

    /// Sets a function that returns the identity for each TLS handshake, so that a certificate can be replaced without
    /// a new client. Replaces [`identity`](Self::identity).
    ///
    /// The function runs on a blocking thread at the start of each dial to an https URL or to an https proxy, and may
    /// read files. The function runs for one dial of a client at a time. The connect timeout covers the function too.
    /// If the function fails, or if the identity cannot be used, the dial fails with
    /// [`ErrorKind::Tls`](crate::ErrorKind::Tls). Connections with the latest usable identity stay in use.
    ///
    /// The dials of the client call the function one after another, and the connect timeout limits the wait of each
    /// dial. So the function must return. The function must not make an https request with the same client, because
    /// this request would wait for the end of the function.
    ///
    /// When the function returns another identity than before, the connections of earlier identities carry no further
    /// request, and no TLS session of an earlier identity is resumed. A request under way is not interrupted, and a
    /// dial under way may serve one request. The client calls the function only when it dials. To replace the identity
    /// of idle connections at once, call [`Pool::close_idle`](crate::Pool::close_idle) after the change.
    ///
    /// ```no_run
    /// use handclasp::{Client, Identity};
    ///
    /// # fn main() -> Result<(), handclasp::BoxError> {
    /// let client = Client::builder()
    ///     .identity_provider(|| Ok(Identity::from_pem(std::fs::read("/run/secrets/client.pem")?)?))
    ///     .build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn identity_provider(
        mut self,
        identity: impl Fn() -> Result<Identity, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.tls.identity = ClientIdentity::Asked(IdentityProvider::new(identity));
        self
    }
}

/// # TLS: the handshake
impl ClientBuilder {
    /// Sets whether the client tells the server the name of the host (SNI,
    /// <https://www.rfc-editor.org/rfc/rfc6066#section-3>). `true` by default. An IP address is never sent.
    ///
    /// Without the name, a server of several hosts cannot choose its certificate. The client verifies the certificate
    /// in any case.
    pub fn tls_sni(mut self, send: bool) -> Self {
        self.tls.hides_server_name = !send;
        self
    }

    /// Sets the name that replaces `host` in the TLS handshake. The client sends this name, and the server's
    /// certificate has to be valid for this name. A later call for the same host replaces the name.
    ///
    /// The name changes neither the address to which the client connects nor the `Host` field. [`build`](Self::build)
    /// fails if the name is not a valid name of a server.
    ///
    /// ```
    /// // The server at this address has a certificate for a name.
    /// let client = handclasp::Client::builder().tls_server_name("192.0.2.1", "internal.example.org").build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn tls_server_name(mut self, host: &str, name: &str) -> Self {
        self.tls.set_name(host, name);
        self
    }

    /// Sets the lowest version of TLS that the client accepts: [`Version::TLS_1_2`] by default, which is the lowest
    /// version that rustls supports.
    pub fn tls_version_min(mut self, version: Version) -> Self {
        self.tls.min = Some(version);
        self
    }

    /// Calls [`tls_version_min`](Self::tls_version_min). Earlier versions of reqwest use the name of this method.
    pub fn min_tls_version(self, version: Version) -> Self {
        self.tls_version_min(version)
    }

    /// Sets the highest version of TLS that the client accepts: [`Version::TLS_1_3`] by default. [`build`](Self::build)
    /// fails if the lowest version is above the highest version.
    pub fn tls_version_max(mut self, version: Version) -> Self {
        self.tls.max = Some(version);
        self
    }

    /// Calls [`tls_version_max`](Self::tls_version_max). Earlier versions of reqwest use the name of this method.
    pub fn max_tls_version(self, version: Version) -> Self {
        self.tls_version_max(version)
    }

    /// Sets whether the secrets of connections are written to the file that the environment variable `SSLKEYLOGFILE`
    /// names. `false` by default. Without the variable, nothing is written.
    ///
    /// Everyone who can read the file can decrypt a recording of the connections, for example with Wireshark. The
    /// variable is read and the file is opened when the first https connection is dialed.
    pub fn tls_sslkeylogfile(mut self, write: bool) -> Self {
        self.tls.logs_keys = write;
        self
    }

    /// Sets a part of TLS that the caller has configured with rustls: a whole configuration or a crypto provider. The
    /// functions of the module [`rustls_0_23`](crate::rustls_0_23) return such a backend.
    ///
    /// By default, the client uses the crypto provider ring, or aws-lc-rs if the feature `aws-lc-rs` is on.
    pub fn tls_backend(mut self, backend: Backend) -> Self {
        self.tls.backend = Some(backend);
        self
    }
}

#[cfg(all(test, feature = "webpki-roots"))]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_tls_certs_only_and_tls_webpki_roots_does_not_matter() {
        let builders = [
            ClientBuilder::new().tls_webpki_roots().tls_certs_only([]),
            ClientBuilder::new().tls_certs_only([]).tls_webpki_roots(),
        ];
        assert_eq!(builders.map(|builder| builder.tls.trust), [Trust::Mozilla; 2]);
        assert_eq!(ClientBuilder::new().tls_certs_only([]).tls.trust, Trust::Given);
    }
}
