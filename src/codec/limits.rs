//! The amount of data that the codec accepts from a server, and the departures from the grammar that the codec allows.
//!
//! These types are plain data and know no parser and no buffer. Invariant: every limit counts bytes or lines that have
//! arrived, and never a number that the server only announced, so that the outcome does not depend on how the bytes are
//! split.

/// The limits of one exchange. The documentation of each field names the default.
///
/// The page on [attacks](crate::manual::attacks) says what the limits protect from, and the page on
/// [limits](crate::manual::limits) says how the limits of a client act together.
///
/// ```
/// let mut limits = handclasp::codec::Limits::default();
/// limits.fields = 256;
/// limits.leniency.bare_lf_in_head = false;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Size of one response head in bytes, from `HTTP/` to the end of the empty line. Default: 64 KiB, twice the size
    /// that common servers can be made to send.
    pub head: usize,
    /// Number of field lines in one head, and in one trailer section. Default: 128. Values above 4096 act as 4096.
    pub fields: usize,
    /// Number of interim (1xx) responses before the final response. Default: 100, because a server that reports progress
    /// for minutes sends dozens of interim responses.
    pub informational: usize,
    /// Size of all interim heads of one exchange together, in bytes. Default: 64 KiB.
    pub informational_bytes: usize,
    /// Size of one chunk-size line in bytes, without the first sixteen digits of the chunk size. The size counts
    /// further leading zeros, blanks and the extension. Default: 4 KiB.
    pub chunk_line: usize,
    /// Size of all chunk-size lines of one body together, in bytes. The bytes of each line are counted as for
    /// [`chunk_line`](Self::chunk_line). Each byte of content received raises this limit by one byte, so that a stream
    /// of signed chunks may have any length. Default: 16 KiB.
    pub chunk_extensions: usize,
    /// Size of one trailer section without its empty line, in bytes. Default: 16 KiB.
    pub trailers: usize,
    /// Departures from the grammar that are allowed.
    pub leniency: Leniency,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            fields: 128,
            informational: 100,
            informational_bytes: 64 * 1024,
            chunk_line: 4 * 1024,
            chunk_extensions: 16 * 1024,
            trailers: 16 * 1024,
            leniency: Leniency::default(),
        }
    }
}

/// Departures from the grammar that can be allowed.
///
/// If a departure could affect the framing of a response, the connection is closed after that response, with
/// [`CloseReason::Lenient`](super::CloseReason::Lenient).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leniency {
    /// Whether a line of the head may end in LF without CR. Lines of the chunked coding and of trailers must always end
    /// in CRLF. Default: true, because <https://www.rfc-editor.org/rfc/rfc9112#section-2.2> allows a client to accept a
    /// bare LF, and hand-written servers send bare LFs.
    pub bare_lf_in_head: bool,
    /// Whether a field line may be continued on the next line (obs-fold). The codec reads the fold as spaces. Default:
    /// true, because <https://www.rfc-editor.org/rfc/rfc9112#section-5.2> requires a user agent to replace folds by
    /// spaces.
    pub obs_fold: bool,
    /// Whether a response may have both Content-Length and Transfer-Encoding. If both are allowed, Transfer-Encoding
    /// decides. Default: false, because such responses are used for smuggling.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    pub length_with_transfer_encoding: bool,
    /// Whether a chunk extension may lack its name, its value after `=`, or both (`5;`, `5;;a`, `5;a=`, `5;=b`).
    /// Default: true, because other clients skip these extensions too, and because these extensions cannot hide a
    /// line end. The connection is closed after the response. <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>
    pub empty_chunk_extensions: bool,
    /// Whether spaces and tabs may stand between a chunk size and the end of its line. Default: true, because some
    /// servers pad the size, and the end of the line is certain. The connection is closed after the response.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>
    pub blanks_after_chunk_size: bool,
    /// Whether spaces and tabs may stand between the name of a header field and its colon. Default: false, because
    /// readers disagree about such a line. The connection is closed after the response, with
    /// [`CloseReason::LenientField`](super::CloseReason::LenientField).
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-5.1>
    ///
    /// A line that could be Content-Length or Transfer-Encoding is an error in any case. The leniency does not apply to
    /// trailers.
    pub blanks_before_colon: bool,
    /// Whether a line of the head that is not a field is ignored: a line without a colon or a name, or with a byte that
    /// its name or value cannot have. Default: false, because the caller may need a field that is ignored. The connection
    /// is closed after the response, with [`CloseReason::LenientField`](super::CloseReason::LenientField).
    ///
    /// The line counts against the limits, and folds of the line are ignored with the line. A line that could be
    /// Content-Length or Transfer-Encoding, and a line with a NUL or with a CR before its end, are an error in any case. The
    /// leniency does not apply to the status line or to trailers.
    pub invalid_lines: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self {
            bare_lf_in_head: true,
            obs_fold: true,
            length_with_transfer_encoding: false,
            empty_chunk_extensions: true,
            blanks_after_chunk_size: true,
            blanks_before_colon: false,
            invalid_lines: false,
        }
    }
}
