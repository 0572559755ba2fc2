//! A bounded part of a content, as text for an error.
//!
//! This module is a leaf: the module imports nothing of the crate. Invariants: at most [`MOST`] bytes of the content
//! are shown, and no character is shown that changes a line or the direction of text.

use std::fmt;

/// A part of a content around one position. `Display` writes the part as one line.
#[derive(Debug)]
pub(crate) struct Excerpt<'a> {
    content: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Excerpt<'a> {
    /// Returns the first part of a content.
    pub(crate) fn first(content: &'a [u8]) -> Self {
        Self::near(content, 0)
    }

    /// Returns the part of a content around the byte `at`. Neither end of the part divides a character of UTF-8.
    pub(crate) fn near(content: &'a [u8], at: usize) -> Self {
        let mut start = at.saturating_sub(MOST / 2);
        let mut end = content.len().min(start.saturating_add(MOST));
        start = start.min(end.saturating_sub(MOST));
        let is_inside = |at: usize| content.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
        for _ in 0..3 {
            if start > 0 && start < end && is_inside(start) {
                start += 1;
            }
            if end > start && is_inside(end) {
                end -= 1;
            }
        }
        Self { content, start, end }
    }
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, start, end } = *self;
        if start > 0 {
            f.write_str("...")?;
        }
        for char in String::from_utf8_lossy(content.get(start..end).unwrap_or_default()).chars() {
            if is_hidden(char) {
                write!(f, "{}", char.escape_default())?;
            } else {
                write!(f, "{char}")?;
            }
        }
        if end < content.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// Whether a character controls a terminal, ends a line, or changes the direction of the text that follows.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Largest number of bytes of the content in an excerpt.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_content_is_shown_whole_and_on_one_line() {
        assert_eq!(Excerpt::first(b"").to_string(), "");
        assert_eq!(Excerpt::near(b"ab\r\nc\x1b[2J", 900).to_string(), r"ab\r\nc\u{1b}[2J");
        assert_eq!(Excerpt::near(b"\xff\xfe", 1).to_string(), "\u{fffd}\u{fffd}");
        assert_eq!(Excerpt::first("a\u{202e}b\u{2028}".as_bytes()).to_string(), r"a\u{202e}b\u{2028}");
    }

    #[test]
    fn the_excerpt_is_bounded_wherever_the_position_is() {
        for char in ["a", "ü", "語", "🤝"] {
            let content = char.repeat(1000);
            for at in
                [0, 1, 99, 100, 101, 500, content.len() - 100, content.len() - 1, content.len(), usize::MAX]
            {
                let shown = Excerpt::near(content.as_bytes(), at).to_string();
                let text = shown.trim_start_matches("...").trim_end_matches("...");
                assert!(text.len() <= MOST && text.len() > MOST - 8, "{char} {at}: {}", text.len());
                assert!(text.chars().all(|shown| char.contains(shown)), "{char} {at}: {shown}");
                assert!(shown.starts_with("...") || shown.ends_with("..."), "{char} {at}");
            }
        }
    }

    #[test]
    fn the_position_is_inside_the_excerpt() {
        let content: String = (0..1000).map(|nth| char::from(b'a' + (nth / 40) as u8)).collect();
        assert!(Excerpt::near(content.as_bytes(), 500).to_string().contains('m'));
        assert!(!Excerpt::near(content.as_bytes(), 500).to_string().contains('c'));
    }
}
