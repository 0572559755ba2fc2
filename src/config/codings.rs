//! The settings of content codings.

use super::ClientBuilder;
use crate::call::Coding;

/// # Content codings
///
/// Content that a server compressed is decoded while it is read. Each coding has a feature of the crate, and is on if
/// its feature is on. A request names the codings that are on in `Accept-Encoding`, unless the request or
/// [`default_headers`](Self::default_headers) set `Accept-Encoding` or `Range`. Content is decoded even if the request
/// named no coding: [`RequestBuilder::decompress`](crate::RequestBuilder::decompress) has the rules, and switches
/// decoding off for one request.
///
/// Content that is damaged, ends early, or is followed by other bytes fails with
/// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it is read. Pieces that were decoded before the error may have
/// been returned already. The error does not close the connection: the framing of the response decides whether the
/// connection is kept.
impl ClientBuilder {
    /// Sets whether gzip is asked for and decoded: `true` by default. Several members are one content
    /// (<https://www.rfc-editor.org/rfc/rfc1952#section-2.2>). Other bytes after a member are an error.
    ///
    /// ```
    /// let client = handclasp::Client::builder().gzip(false).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self, decode: bool) -> Self {
        self.request.codings.set(Coding::Gzip, decode);
        self
    }

    /// Sets whether deflate is asked for and decoded: `true` by default. The coding is the zlib format. Deflate without
    /// the zlib format is decoded too, because many servers send this form
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.2>).
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, decode: bool) -> Self {
        self.request.codings.set(Coding::Deflate, decode);
        self
    }

    /// Sets whether brotli, the coding `br`, is asked for and decoded: `true` by default. A window of more than 16 MiB is
    /// an error (<https://www.rfc-editor.org/rfc/rfc7932#section-9.1>).
    #[cfg(feature = "brotli")]
    pub fn brotli(mut self, decode: bool) -> Self {
        self.request.codings.set(Coding::Brotli, decode);
        self
    }

    /// Sets whether zstd is asked for and decoded: `true` by default. Several frames are one content. A window of more
    /// than 8 MiB is an error (<https://www.rfc-editor.org/rfc/rfc9659#section-3>).
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self, decode: bool) -> Self {
        self.request.codings.set(Coding::Zstd, decode);
        self
    }

    /// Switches gzip off. This method exists without the feature `gzip` too, so that a library can call the method
    /// whatever features other crates switch on.
    pub fn no_gzip(mut self) -> Self {
        self.request.codings.set(Coding::Gzip, false);
        self
    }

    /// Switches deflate off. This method exists without the feature `deflate` too, so that a library can call the
    /// method whatever features other crates switch on.
    pub fn no_deflate(mut self) -> Self {
        self.request.codings.set(Coding::Deflate, false);
        self
    }

    /// Switches brotli off. This method exists without the feature `brotli` too, so that a library can call the method
    /// whatever features other crates switch on.
    pub fn no_brotli(mut self) -> Self {
        self.request.codings.set(Coding::Brotli, false);
        self
    }

    /// Switches zstd off. This method exists without the feature `zstd` too, so that a library can call the method
    /// whatever features other crates switch on.
    pub fn no_zstd(mut self) -> Self {
        self.request.codings.set(Coding::Zstd, false);
        self
    }
}
