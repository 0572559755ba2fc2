//! How much a peer may send before the codec gives up, and which old sins it forgives.
//!
//! Plain data: it knows no parser and no buffer. Invariant: every limit counts bytes or lines that have really
//! arrived, never a number the peer merely announced, so that the answer is the same however the bytes are split.

/// The limits of one exchange; see the fields for what each counts and why it has its default.
///
/// ```
/// let mut limits = handclasp::codec::Limits::default();
/// limits.fields = 256;
/// limits.leniency.bare_lf_in_head = false;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of one response head, from `HTTP/` to the end of the empty line. 64 KiB: twice what common servers
    /// can be made to send, and cheap to hold.
    pub head: usize,
    /// The field lines of one head, and of one trailer section. 128; more than 4096 count as 4096.
    pub fields: usize,
    /// The number of interim (1xx) responses before the final one. 100: a server that reports progress for minutes
    /// sends dozens.
    pub informational: usize,
    /// The bytes of all interim heads of one exchange together. 64 KiB.
    pub informational_bytes: usize,
    /// The bytes of one chunk-size line besides the first sixteen digits of the size: further leading zeros, blanks and
    /// the extension. 4 KiB.
    pub chunk_line: usize,
    /// The bytes of all chunk-size lines of one body together, counted as for [`chunk_line`](Self::chunk_line), beyond
    /// one byte for each byte of content that was received. 16 KiB. A stream of signed chunks may so be of any length.
    pub chunk_extensions: usize,
    /// The bytes of one trailer section, its empty line not counted. 16 KiB.
    pub trailers: usize,
    /// What is forgiven.
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

/// Departures from the grammar that can be forgiven. One that was exercised where it could touch the framing keeps
/// the connection from being reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leniency {
    /// A line of the head may end in LF without CR. On: <https://www.rfc-editor.org/rfc/rfc9112#section-2.2> allows
    /// it and hand-written servers do it. Chunk framing and trailers never may.
    pub bare_lf_in_head: bool,
    /// A field line may be continued on the next line (obs-fold); the fold is read as spaces. On:
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-5.2> demands it of a user agent.
    pub obs_fold: bool,
    /// A response may carry both Content-Length and Transfer-Encoding; the latter then decides. Off: it is how
    /// responses are smuggled. <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    pub length_with_transfer_encoding: bool,
    /// A chunk extension may lack its name, or its value behind `=`, or both (`5;`, `5;;a`, `5;a=`, `5;=b`). On: such
    /// ones are commonly skipped, and hide no line end. The connection is not reused all the same.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>
    pub empty_chunk_extensions: bool,
    /// Spaces and tabs may stand between a chunk size and the end of its line, without an extension. On: servers that
    /// pad the size do it, and the line's end is beyond doubt. The connection is not reused all the same.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>
    pub blanks_after_chunk_size: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self {
            bare_lf_in_head: true,
            obs_fold: true,
            length_with_transfer_encoding: false,
            empty_chunk_extensions: true,
            blanks_after_chunk_size: true,
        }
    }
}
