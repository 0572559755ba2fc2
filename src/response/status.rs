//! Errors for the status of a response.
//!
//! Invariant: an error holds at most as much of the content as the caller has asked for, and its `Display` and `Debug`
//! show no byte of the content.

use bytes::BytesMut;

use super::Response;
use crate::error::{Error, ErrorKind, Result};

impl Response {
    /// Returns the response, or an error if its status is 4xx or 5xx.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`] if the status is 4xx or 5xx. [`Error::status`](crate::Error::status) returns the status. The
    /// response is dropped in this case, without reading its content.
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// let text = handclasp::get("http://example.org/").await?.error_for_status()?.text().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn error_for_status(mut self) -> Result<Self> {
        match self.status_error() {
            Some(error) => Err(self.refuse(error)),
            None => Ok(self),
        }
    }

    /// Returns a reference to the response, or an error if its status is 4xx or 5xx. The response stays usable.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`] if the status is 4xx or 5xx.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let response = handclasp::Response::from(http::Response::builder().status(404).body("no such page").unwrap());
    /// // `response` is a 404.
    /// let error = response.error_for_status_ref().unwrap_err();
    /// assert_eq!(error.status().unwrap(), 404);
    /// assert_eq!(response.text().await.unwrap(), "no such page");
    /// # });
    /// ```
    pub fn error_for_status_ref(&self) -> Result<&Self> {
        match self.status_error() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Returns the response, or an error that has the start of the content if the status is 4xx or 5xx.
    ///
    /// The error has at most `limit` bytes of the content, and at most
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body). [`Error::body`](crate::Error::body) and
    /// [`Error::body_text`](crate::Error::body_text) return these bytes, and [`Error::chain`](crate::Error::chain)
    /// shows at most 200 of them. `Display` and `Debug` show none of these bytes, because the content may be a secret.
    /// A response with any other status is returned at once, and its content is not read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`] if the status is 4xx or 5xx. If the content cannot be read, the error has the bytes that were
    /// read before, and the reason as its source.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let made = http::Response::builder().status(422).body("the name is too long").unwrap();
    /// # let response = handclasp::Response::from(made);
    /// // `response` is a 422 whose content says what is wrong.
    /// let error = response.error_for_status_with_body(4096).await.unwrap_err();
    /// assert_eq!(error.message(), "the server answered 422 Unprocessable Entity");
    /// assert_eq!(error.body_text().unwrap(), "the name is too long");
    /// assert!(error.chain().to_string().ends_with("the content is the name is too long"));
    /// # });
    /// ```
    pub async fn error_for_status_with_body(mut self, limit: usize) -> Result<Self> {
        let Some(mut error) = self.status_error() else { return Ok(self) };
        let limit = limit.min(self.head.max_collected);
        let mut body = BytesMut::new();
        while body.len() < limit {
            match self.chunk().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece[..piece.len().min(limit - body.len())]),
                Ok(None) => break,
                Err(cause) => {
                    // The text of the status error names the origin already.
                    error = error.because(cause.without_url());
                    break;
                }
            }
        }
        Err(self.refuse(error).with_body(body.freeze()))
    }

    /// Ends the exchange, because the caller makes `error` of the response. Returns the error with the final timings.
    #[cold]
    pub(super) fn refuse(&mut self, error: Error) -> Error {
        let error = self.body.refuse(error);
        self.add_timings_to(error)
    }

    /// Returns an error if the status is 4xx or 5xx.
    fn status_error(&self) -> Option<Error> {
        let status = self.status();
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let error = self.error(ErrorKind::Status, format!("the server answered {status}"));
        Some(error.with_status(status))
    }
}
