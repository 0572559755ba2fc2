//! The chunked transfer coding: a decoder, and the line that an encoder writes before each chunk.
//!
//! This module knows neither heads nor connections, and copies no data. Invariants: every byte of framing is checked
//! exactly once, however the input is split. Nothing is allocated for a size that the server only announced.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::error::ProtocolError;
use super::grammar::{hex_digit, is_token_byte};
use super::head::{Scan, parse_trailers};
use super::limits::{Leniency, Limits};

/// The decoder of one body. Its state says what the next byte must be:
///
/// ```text
///          +--------------------------------------------------------------+
///          v                                                              |
///   Size --+--> AfterSize --> Extension --> SizeLf --> Data --> DataCr --> DataLf
///          |                     ^            |
///          +---------------------+            +--> Trailers --> Done   (size 0)
/// ```
#[derive(Clone, Debug)]
pub(super) struct ChunkDecoder {
    state: State,
    /// Number of bytes on the current chunk-size line, apart from the first sixteen digits of the size.
    line: u32,
    /// Number of bytes that `line` has counted over all chunk-size lines so far, minus the number of content bytes
    /// received.
    extensions: i64,
    /// Whether the decoder has accepted a departure from the grammar.
    lenient: bool,
}

#[derive(Clone, Debug)]
enum State {
    /// The digits of a chunk size are being read. `digits` counts up to [`MAX_SIZE_DIGITS`], leading zeros included.
    Size {
        digits: u8,
        size: u64,
    },
    /// Whitespace after the size is being read. Unless an extension follows, the whitespace departs from the grammar.
    AfterSize {
        size: u64,
    },
    Extension {
        size: u64,
        part: Part,
    },
    SizeLf {
        size: u64,
    },
    /// `remaining > 0`
    Data {
        remaining: u64,
    },
    DataCr,
    DataLf,
    Trailers(Scan),
    Done,
}

/// The part of a chunk extension to which the last byte belongs. A gap is whitespace after a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Semicolon,
    SemicolonGap,
    Name,
    NameGap,
    Equals,
    EqualsGap,
    Value,
    /// The last byte is within quotes.
    Quoted,
    /// The last byte is a backslash within quotes.
    Escape,
    /// The last byte is the closing quote.
    Quote,
    ValueGap,
}

/// A piece of a chunked body.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The end of the body, with the trailers that have allowed names, or `None` if there are no such trailers.
    End(Option<HeaderMap>),
}

impl ChunkDecoder {
    pub(super) fn new() -> Self {
        Self { state: State::START, line: 0, extensions: 0, lenient: false }
    }

    /// Whether the decoder has accepted a departure from the grammar.
    pub(super) fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// Whether the body ends within `bytes`, which were not decoded.
    #[cfg(feature = "url")]
    pub(super) fn ends_within(&self, bytes: &[u8], limits: &Limits) -> bool {
        let (mut ahead, mut bytes) = (self.clone(), BytesMut::from(bytes));
        loop {
            match ahead.decode(&mut bytes, limits) {
                Ok(Some(Piece::Data(_))) => {}
                Ok(Some(Piece::End(_))) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Returns the next piece, or `None` if the decoder needs more bytes. Removes from `buf` the framing that was read.
    pub(super) fn decode(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Piece>, ProtocolError> {
        let used = self.skip_framing(buf, limits)?;
        buf.advance(used);
        match &mut self.state {
            State::Data { remaining } if !buf.is_empty() => {
                let data = take(buf, remaining);
                if *remaining == 0 {
                    self.state = State::DataCr;
                }
                self.extensions = self.extensions.saturating_sub_unsigned(data.len() as u64);
                Ok(Some(Piece::Data(data)))
            }
            State::Trailers(scan) => {
                let Some(end) = scan.find_end(buf, limits)? else { return Ok(None) };
                let section = buf.split_to(end).freeze();
                let trailers = parse_trailers(&section, scan)?;
                self.state = State::Done;
                Ok(Some(Piece::End(trailers)))
            }
            _ => Ok(None),
        }
    }

    /// Checks the undecoded bytes in `buf`, after the server has closed the connection.
    pub(super) fn check(&self, buf: &[u8], leniency: Leniency) -> Result<(), ProtocolError> {
        match &self.state {
            State::Trailers(scan) => scan.check(buf, leniency),
            _ => Ok(()),
        }
    }

    /// Reads framing until data, trailers or the end of the input. Returns the number of bytes that were read.
    fn skip_framing(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, ProtocolError> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.state = match self.state {
                // > chunk-size = 1*HEXDIG
                // > recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due
                // > to integer conversion overflows or precision loss
                // <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>. Any number of leading zeros is valid, so that
                // digits after the sixteenth count against the limit of the line.
                State::Size { digits, size } => match (hex_digit(byte), byte) {
                    (Some(_), _) if size >> (u64::BITS - 4) != 0 => {
                        return Err(ProtocolError::ChunkSizeTooLarge);
                    }
                    (Some(digit), _) => {
                        let size = size << 4 | u64::from(digit);
                        if digits == MAX_SIZE_DIGITS {
                            self.extend(State::Size { digits, size }, limits)?
                        } else {
                            State::Size { digits: digits + 1, size }
                        }
                    }
                    (None, _) if digits == 0 => return Err(ProtocolError::BadChunkSize),
                    (None, b'\r') => State::SizeLf { size },
                    (None, b';') => self.extend(State::extension(size), limits)?,
                    (None, b' ' | b'\t') => self.extend(State::AfterSize { size }, limits)?,
                    (None, b'\n') => return Err(ProtocolError::BadChunkLine),
                    (None, _) => return Err(ProtocolError::BadChunkSize),
                },
                // > chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
                // <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>
                State::AfterSize { size } => match byte {
                    b';' => self.extend(State::extension(size), limits)?,
                    b' ' | b'\t' => self.extend(State::AfterSize { size }, limits)?,
                    b'\r' if limits.leniency.blanks_after_chunk_size => {
                        self.lenient = true;
                        State::SizeLf { size }
                    }
                    b'\r' | b'\n' => return Err(ProtocolError::BadChunkLine),
                    _ => return Err(ProtocolError::BadChunkSize),
                },
                // > A recipient MUST ignore unrecognized chunk extensions. [...] ought to limit the total length of
                // > chunk extensions received
                State::Extension { size, part } => {
                    if part.is_empty_before(byte) {
                        self.accept_empty(limits)?;
                    }
                    match (byte, part.next(byte)) {
                        (b'\r', _) if part.may_be_last() => State::SizeLf { size },
                        (b'\n', _) => return Err(ProtocolError::BadChunkLine),
                        (_, Some(part)) => self.extend(State::Extension { size, part }, limits)?,
                        (_, None) => return Err(ProtocolError::BadChunkExtension),
                    }
                }
                // A bare CR or LF never ends a line here, because a proxy that treats the bare byte in another way
                // would see other chunks.
                State::SizeLf { .. } if byte != b'\n' => return Err(ProtocolError::BadChunkLine),
                State::SizeLf { size: 0 } => State::Trailers(Scan::trailers()),
                State::SizeLf { size } => State::Data { remaining: size },
                State::DataCr if byte == b'\r' => State::DataLf,
                State::DataLf if byte == b'\n' => {
                    self.line = 0;
                    State::START
                }
                State::DataCr | State::DataLf => return Err(ProtocolError::BadChunkEnd),
                State::Data { .. } | State::Trailers(_) | State::Done => return Ok(index),
            };
        }
        Ok(bytes.len())
    }

    /// Counts one byte against the limits of chunk-size lines. Returns `next`, or an error if a limit is reached.
    fn extend(&mut self, next: State, limits: &Limits) -> Result<State, ProtocolError> {
        // Each byte of content allows one more byte of extensions, because a server that signs its chunks sends an
        // extension with each chunk.
        let most = i64::try_from(limits.chunk_extensions).unwrap_or(i64::MAX);
        if self.line as usize >= limits.chunk_line || self.extensions >= most {
            return Err(ProtocolError::ChunkExtensionsTooLarge);
        }
        self.line = self.line.saturating_add(1);
        self.extensions += 1;
        Ok(next)
    }

    /// Accepts an extension without name or value, unless the limits forbid it.
    fn accept_empty(&mut self, limits: &Limits) -> Result<(), ProtocolError> {
        if !limits.leniency.empty_chunk_extensions {
            return Err(ProtocolError::BadChunkExtension);
        }
        self.lenient = true;
        Ok(())
    }
}

impl State {
    const START: Self = Self::Size { digits: 0, size: 0 };

    fn extension(size: u64) -> Self {
        Self::Extension { size, part: Part::Semicolon }
    }
}

impl Part {
    /// Returns the part to which the next byte belongs, or `None` if the grammar does not allow the byte at this point.
    ///
    /// > chunk-ext-name = token, chunk-ext-val = token / quoted-string
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>. This method accepts a missing name or value, because an
    /// absent name or value cannot hide other bytes. The caller checks whether the limits allow the gap. The decoder
    /// refuses quotes that do not close, and whitespace at the end of the line, because these two could hide other bytes.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, b'\\') => Self::Escape,
            (Self::Quoted | Self::Escape, b'\t' | b' '..=b'~' | 0x80..) => Self::Quoted,
            (Self::Quoted | Self::Escape, _) => return None,
            (_, b';') => Self::Semicolon,
            (Self::Semicolon | Self::SemicolonGap, b' ' | b'\t') => Self::SemicolonGap,
            (Self::Name | Self::NameGap, b' ' | b'\t') => Self::NameGap,
            (Self::Equals | Self::EqualsGap, b' ' | b'\t') => Self::EqualsGap,
            (Self::Value | Self::Quote | Self::ValueGap, b' ' | b'\t') => Self::ValueGap,
            (Self::Semicolon | Self::SemicolonGap | Self::Name | Self::NameGap, b'=') => Self::Equals,
            (Self::Equals | Self::EqualsGap, b'"') => Self::Quoted,
            (Self::Semicolon | Self::SemicolonGap | Self::Name, _) if is_token_byte(byte) => Self::Name,
            (Self::Equals | Self::EqualsGap | Self::Value, _) if is_token_byte(byte) => Self::Value,
            _ => return None,
        })
    }

    /// Whether a name or a value is missing between this part and the next byte.
    fn is_empty_before(self, byte: u8) -> bool {
        match self {
            Self::Semicolon | Self::SemicolonGap => matches!(byte, b';' | b'=' | b'\r'),
            Self::Equals | Self::EqualsGap => matches!(byte, b';' | b'\r'),
            _ => false,
        }
    }

    /// Whether the line may end after this part.
    fn may_be_last(self) -> bool {
        matches!(self, Self::Semicolon | Self::Name | Self::Equals | Self::Value | Self::Quote)
    }
}

/// Takes up to `remaining` bytes from `buf` without copying, and subtracts their number from `remaining`. `buf` must
/// not be empty, and `remaining` must be above zero.
pub(super) fn take(buf: &mut BytesMut, remaining: &mut u64) -> Bytes {
    let available = buf.len();
    let length = usize::try_from(*remaining).map_or(available, |wanted| wanted.min(available));
    *remaining -= length as u64;
    buf.split_to(length).freeze()
}

/// Appends the line that stands before a chunk's data. The caller must write CRLF after the data. `len` must be above
/// zero, because a chunk of zero bytes ends the body.
pub(super) fn encode_chunk_start(len: usize, dst: &mut BytesMut) {
    let mut line = [0; usize::BITS as usize / 4 + 2];
    let mut start = line.len() - 2;
    line[start..].copy_from_slice(b"\r\n");
    let mut rest = len;
    loop {
        start -= 1;
        line[start] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    dst.extend_from_slice(&line[start..]);
}

/// Number of hexadecimal digits of the largest size.
const MAX_SIZE_DIGITS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers once the body has ended, and the bytes that were not decoded.
    type Decoded = (Vec<u8>, Option<Option<HeaderMap>>, Vec<u8>);

    /// Passes `wire` to a decoder, at most `step` bytes at a time, and returns the decoded parts.
    fn run(wire: &[u8], step: usize, limits: &Limits) -> Result<Decoded, ProtocolError> {
        let (mut decoder, mut buf, mut data, mut end) =
            (ChunkDecoder::new(), BytesMut::new(), Vec::new(), None);
        for piece in wire.chunks(step) {
            buf.extend_from_slice(piece);
            while let Some(piece) = decoder.decode(&mut buf, limits)? {
                match piece {
                    Piece::Data(bytes) => {
                        assert!(!bytes.is_empty());
                        data.extend_from_slice(&bytes);
                    }
                    Piece::End(trailers) => end = Some(trailers),
                }
            }
        }
        Ok((data, end, buf.to_vec()))
    }

    #[test]
    fn chunks_have_the_same_outcome_in_every_split() {
        use ProtocolError::*;
        let limits = Limits::default();
        for (wire, expected) in [
            ("5\r\nhello\r\n0\r\n\r\nSURPLUS", Ok("hello")),
            ("2\r\nhe\r\n003\r\nllo\r\n0000\r\n\r\n", Ok("hello")),
            ("A\r\n0123456789\r\n0\r\n\r\n", Ok("0123456789")),
            ("0000000000000005\r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", Ok("abcdefghijklmnopqrstuvwxyz")),
            ("5;a=\"b;c\";d \t; e = f\r\nhello\r\n0;x\r\n\r\n", Ok("hello")),
            ("5 \t;a\r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("5;a = \"\\\"\\;\t\u{e9}\" ; !#$%&'*+-.^_`|~=0\r\nhello\r\n0;x=\"\"\r\n\r\n", Ok("hello")),
            ("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", Ok("\r\n0\r\n\r\n")),
            ("0\r\nX: a\r\n b\r\n\r\n", Ok("")),
            ("00000000000000005\r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("0000000000000000000000000000000000005;a\r\nhello\r\n00000000000000000000\r\n\r\n", Ok("hello")),
            ("00000000000000000000000000000000000a\r\n0123456789\r\n0\r\n\r\n", Ok("0123456789")),
            ("0000000000000000010000000000000000\r\nhello\r\n0\r\n\r\n", Err(ChunkSizeTooLarge)),
            ("10000000000000005\r\nhello\r\n0\r\n\r\n", Err(ChunkSizeTooLarge)),
            ("\r\n", Err(BadChunkSize)),
            (" 5\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("+5\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("-5\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("0x5\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("5h\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("5_0\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            (";a\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("5 5\r\nhello\r\n0\r\n\r\n", Err(BadChunkSize)),
            ("5 \r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("5\t \t\r\nhello\r\n0 \r\n\r\n", Ok("hello")),
            ("5 \nhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5 \rhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5\nhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5\rhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5;a\nhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5;a\rb\r\nhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", Err(BadChunkLine)),
            ("5;a\0\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a\x7f\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5; \r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a \r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\t\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=b \r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\"b\" \r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\"b\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\"b\\\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=b\"c\"\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;\"a\"\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a b\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=b c\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=b=c\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=b,c=d\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5;a=\u{e9}\r\nhello\r\n0\r\n\r\n", Err(BadChunkExtension)),
            ("5\r\nhelloX\r\n0\r\n\r\n", Err(BadChunkEnd)),
            ("5\r\nhello\n0\r\n\r\n", Err(BadChunkEnd)),
            ("5\r\nhello\r0\r\n\r\n", Err(BadChunkEnd)),
            ("5\r\nhello0\r\n\r\n", Err(BadChunkEnd)),
            ("5\r\nhello!\n0\r\n\r\n", Err(BadChunkEnd)),
            ("0\r\n\n", Err(BareLineFeed)),
            ("0\r\nX: a\n\r\n", Err(BareLineFeed)),
            ("0\r\n\rX", Err(BareCarriageReturn)),
            ("0\r\n X: a\r\n\r\n", Err(LeadingWhitespace)),
            ("0\r\nno colon\r\n\r\n", Err(BadFieldName)),
            ("0\r\nX: a\rb\r\n\r\n", Err(BadFieldValue)),
        ] {
            for step in 1..=wire.len() {
                let outcome = run(wire.as_bytes(), step, &limits);
                let outcome = outcome.map(|(data, end, rest)| {
                    assert!(end.is_some(), "{wire:?} ends");
                    assert!(matches!(&rest[..], b"" | b"S" | b"SURPLUS") || wire.contains("SURPLUS"));
                    String::from_utf8(data).unwrap()
                });
                assert_eq!(outcome.as_deref(), expected.as_ref().map(|data| *data), "{wire:?} by {step}");
            }
        }
    }

    #[test]
    fn empty_extensions_are_accepted_and_noted_unless_switched_off() {
        let mut strict = Limits::default();
        strict.leniency.empty_chunk_extensions = false;
        for (line, is_empty) in [
            ("5;", true),
            ("5;;a", true),
            ("5; \t;a", true),
            ("5;a;", true),
            ("5;a=", true),
            ("5;a=;b", true),
            ("5;a= ;b", true),
            ("5;=b", true),
            ("5; =b", true),
            ("5;=", true),
            ("5;a=\"\";=\"\"", true),
            ("5;a", false),
            ("5; a = b ; c", false),
            ("5;a=\"\"", false),
            ("5;a=\";=;\";b", false),
        ] {
            for (limits, expected) in
                [(Limits::default(), None), (strict, Some(ProtocolError::BadChunkExtension))]
            {
                let expected = expected.filter(|_| is_empty);
                for wire in [format!("{line}\r\nhello\r\n0\r\n\r\n"), format!("0{}\r\n\r\n", &line[1..])] {
                    for step in 1..=wire.len() {
                        let outcome = run(wire.as_bytes(), step, &limits);
                        let outcome = outcome.map(|(_, end, _)| assert!(end.is_some()));
                        assert_eq!(outcome.err(), expected, "{wire:?} by {step}");
                    }
                    let mut decoder = ChunkDecoder::new();
                    let mut buf = BytesMut::from(&wire[..]);
                    while let Ok(Some(_)) = decoder.decode(&mut buf, &limits) {}
                    assert_eq!(decoder.is_lenient(), is_empty && expected.is_none(), "{wire:?}");
                }
            }
        }
    }

    #[test]
    fn blanks_after_a_chunk_size_are_accepted_and_noted_unless_switched_off() {
        let mut strict = Limits::default();
        strict.leniency.blanks_after_chunk_size = false;
        for (line, is_forgiven) in
            [("5 ", true), ("5\t", true), ("5 \t  ", true), ("5 \t;a", false), ("5", false)]
        {
            for wire in [format!("{line}\r\nhello\r\n0\r\n\r\n"), format!("0{}\r\n\r\n", &line[1..])] {
                for (limits, expected) in
                    [(Limits::default(), None), (strict, Some(ProtocolError::BadChunkLine))]
                {
                    let expected = expected.filter(|_| is_forgiven);
                    for step in 1..=wire.len() {
                        let outcome = run(wire.as_bytes(), step, &limits);
                        let outcome = outcome.map(|(_, end, _)| assert!(end.is_some()));
                        assert_eq!(outcome.err(), expected, "{wire:?} by {step}");
                    }
                    let mut decoder = ChunkDecoder::new();
                    let mut buf = BytesMut::from(&wire[..]);
                    while let Ok(Some(_)) = decoder.decode(&mut buf, &limits) {}
                    assert_eq!(decoder.is_lenient(), is_forgiven && expected.is_none(), "{wire:?}");
                }
            }
        }
    }

    #[test]
    fn trailers_are_returned_and_surplus_is_left() {
        let wire = b"1\r\nx\r\n0\r\nX-A:\t1 \r\nX-B: a\r\n\tb\r\nx-a: 2\r\n\r\nHTTP/1.1";
        for step in 1..=wire.len() {
            let (data, end, rest) = run(wire, step, &Limits::default()).unwrap();
            let trailers = end.unwrap().unwrap();
            assert_eq!((&data[..], &rest[..]), (&b"x"[..], &b"HTTP/1.1"[..]));
            assert!(trailers.get_all("x-a").iter().eq(["1", "2"]));
            assert_eq!(trailers["x-b"], "a   b");
        }
        assert!(run(b"0\r\n\r\n", 1, &Limits::default()).unwrap().1.unwrap().is_none());
    }

    #[test]
    fn limits_hold_at_their_exact_boundary_and_at_every_step() {
        let limits =
            Limits { chunk_extensions: 6, chunk_line: 5, trailers: 12, fields: 2, ..Limits::default() };
        for (wire, expected) in [
            // The limit is six bytes, plus one byte for the content received. The first line takes three bytes, so that
            // the second line may take four bytes.
            ("1;ab\r\nx\r\n0;abc\r\n\r\n", None),
            ("1;ab\r\nx\r\n0;abcd\r\n\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            ("3;abc\r\nxyz\r\n0;abcd\r\n\r\n", None),
            ("3;abc\r\nxyz\r\n1;abcd\r\nx\r\n0;\r\n\r\n", None),
            // Content that was only announced allows no extension bytes.
            ("3;abcd\r\nxyz\r\nff;abc\r\n", None),
            ("3;abcd\r\nxyz\r\nff;abcd\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            // Five bytes are allowed on one line.
            ("1 \t;ab\r\nx\r\n0\r\n\r\n", None),
            ("1;abcde\r\nx\r\n0\r\n\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            ("1     ;\r\nx\r\n0\r\n\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            ("9\r\nninebytes\r\n1;abcde\r\nx\r\n0\r\n\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            ("000000000000000000001\r\nx\r\n0\r\n\r\n", None),
            ("0000000000000000000001\r\nx\r\n0\r\n\r\n", Some(ProtocolError::ChunkExtensionsTooLarge)),
            ("0\r\na: b\r\nc: d\r\n\r\n", None),
            ("0\r\na: b\r\nc: de\r\n\r\n", Some(ProtocolError::TrailersTooLarge)),
            ("0\r\na:\r\nb:\r\n\r\n", None),
            ("0\r\na:\r\nb:\r\nc:\r\n\r\n", Some(ProtocolError::TooManyFields)),
        ] {
            for step in 1..=wire.len() {
                let got = run(wire.as_bytes(), step, &limits).err();
                assert_eq!(got, expected, "R-9112-7.1.1-3: {wire:?} by {step}");
            }
        }
    }

    #[test]
    fn digits_of_either_case_make_a_size() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16);
            assert_eq!(hex_digit(byte).map(u32::from), expected, "{byte:#x}");
        }
    }

    #[test]
    fn chunk_lines_are_written() {
        let longest = "ff".repeat(size_of::<usize>()) + "\r\n";
        for (len, expected) in [
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (0xdead_beef, "deadbeef\r\n"),
            (usize::MAX, &longest),
        ] {
            let mut dst = BytesMut::new();
            encode_chunk_start(len, &mut dst);
            assert_eq!(dst, expected);
        }
    }
}
