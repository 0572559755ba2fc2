//! The content of a response as JSON.
//!
//! This module reads a content that is complete. Invariant: an error shows at most a bounded part of the content.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{Collected, Response};
use crate::error::{Error, ErrorKind, Excerpt, Result};

impl Response {
    /// Reads the content to its end and converts it from JSON to a value (<https://www.rfc-editor.org/rfc/rfc8259>).
    ///
    /// The content is read as UTF-8, whatever `Content-Type` says. The status is not checked: call
    /// [`error_for_status`](Self::error_for_status) first, if the content of a failed request has another form.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes), and [`ErrorKind::Decode`] if the content is not JSON of this type. The
    /// text of this error has the status, the line and column, and at most 200 bytes of the content around this
    /// position. If the caller's type refuses a value without a position, the text has the start of the content.
    /// [`Error::source`](std::error::Error::source) is the error of `serde_json`, which is shortened if it repeats more
    /// than 200 bytes of the content.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Note {
    ///     text: String,
    /// }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let response = || handclasp::Response::from(http::Response::new(r#"{"text": "one handshake"}"#));
    /// // `response` has the content {"text": "one handshake"}.
    /// let note: Note = response().error_for_status()?.json().await?;
    /// assert_eq!(note.text, "one handshake");
    ///
    /// // An error says where the content is not as expected.
    /// let error = response().json::<std::collections::HashMap<String, u32>>().await.unwrap_err();
    /// let text = "the content of the response (200 OK) is not the expected JSON at line 1, column 24, \
    ///             near `{\"text\": \"one handshake\"}`";
    /// assert_eq!(error.message(), text);
    /// # Ok::<(), handclasp::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T> {
        let status = self.status();
        let content = self.read().await?;
        parse(&content).map_err(|failed| {
            let error = self.error(ErrorKind::Decode, failed.message(status, &content));
            error.with_status(status).because(failed.0)
        })
    }
}

impl Collected {
    /// Converts the content from JSON to a value. See [`Response::json`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if the content is not JSON of this type.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let whole = client.get("http://example.org/numbers").send().await?.collect().await?;
    /// let numbers: Vec<u32> = whole.json()?;
    /// println!("{numbers:?} in {:?}", whole.timings.total);
    /// # Ok(())
    /// # }
    /// ```
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.body).map_err(|failed| {
            let error = Error::new(ErrorKind::Decode, failed.message(self.status, &self.body));
            self.request
                .add_to(error)
                .with_written(crate::error::Written::All)
                .with_timings(self.timings)
                .with_earlier(&self.earlier_attempts)
                .with_status(self.status)
                .because(failed.0)
        })
    }
}

struct Failed(serde_json::Error);

impl Failed {
    fn message(&self, status: StatusCode, content: &Bytes) -> String {
        if content.is_empty() {
            return format!("the response ({status}) has no content, but JSON was expected");
        }
        let (content, line, column) = (without_mark(content), self.0.line(), self.0.column());
        let excerpt = Excerpt::near(content, offset(content, line, column));
        // Lines count from 1. The line 0 stands for an error without a position.
        let position = if line == 0 { String::new() } else { format!(" at line {line}, column {column}") };
        format!("the content of the response ({status}) is not the expected JSON{position}, near `{excerpt}`")
    }
}

/// Converts JSON to a value. A byte order mark before the JSON is skipped.
fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(without_mark(content)).map_err(|error| Failed(shortened(error)))
}

/// Returns the content without a byte order mark at its start, which a parser may ignore
/// (<https://www.rfc-editor.org/rfc/rfc8259#section-8.1>).
fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Returns the error. If the error is long, or would change how the following text is shown, returns the start of the
/// error. The error for a wrong type repeats the value, and the error for an unknown field repeats the name, as the
/// server sent them.
fn shortened(error: serde_json::Error) -> serde_json::Error {
    let (text, line, column) = (error.to_string(), error.line(), error.column());
    // The text of an error with a position ends with the position. `custom` reads the position from the end of its text.
    let position = if line == 0 { String::new() } else { format!(" at line {line} column {column}") };
    let words = text.strip_suffix(&position).unwrap_or(&text);
    let shown = Excerpt::first(words.as_bytes()).to_string();
    if !error.is_data() || shown == words {
        return error;
    }
    serde::de::Error::custom(format_args!("{shown}{position}"))
}

/// Returns the position of a line and column, which both count from 1. A column counts bytes.
fn offset(content: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        content.split_inclusive(|&byte| byte == b'\n').take(line.max(1) - 1).map(<[u8]>::len).sum();
    before.saturating_add(column.saturating_sub(1)).min(content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_found_by_line_and_column() {
        let content = b"ab\ncd\n\ne";
        for (line, column, expected) in
            [(1, 1, 0), (1, 2, 1), (2, 1, 3), (2, 0, 3), (3, 0, 6), (4, 1, 7), (0, 0, 0), (9, 9, 8)]
        {
            assert_eq!(offset(content, line, column), expected, "{line}:{column}");
        }
    }
}
