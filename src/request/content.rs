//! Values of the caller's types as content or as a query: JSON, forms, and pairs.
//!
//! This module does no I/O. Invariant: if a value cannot be written, the request stays unchanged and keeps the error.

use serde::Serialize;

use super::RequestBuilder;
#[cfg(any(feature = "json", feature = "form"))]
use crate::body::Body;
use crate::error::Error;

impl RequestBuilder {
    /// Sets the content to `value` in JSON, and `Content-Type` to `application/json`, unless the request has this field
    /// already (<https://www.rfc-editor.org/rfc/rfc8259>).
    ///
    /// A value that cannot be written as JSON, such as a map whose keys are not text, is reported by [`send`](Self::send)
    /// with [`ErrorKind::Request`](crate::ErrorKind::Request).
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// #[derive(serde::Serialize)]
    /// struct Note<'a> {
    ///     text: &'a str,
    /// }
    /// let request = client.post("http://example.org/notes").json(&Note { text: "one handshake" }).build().unwrap();
    /// assert_eq!(request.headers()["content-type"], "application/json");
    /// assert_eq!(request.body().as_bytes(), Some(&br#"{"text":"one handshake"}"#[..]));
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let json = serde_json::to_vec(value);
        let json = json.map_err(|error| Error::request("the value cannot be written as JSON").because(error));
        self.content(json, "application/json")
    }

    /// Sets the content to `value` in the encoding of HTML forms, and `Content-Type` to
    /// `application/x-www-form-urlencoded`, unless the request has this field already
    /// (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>).
    ///
    /// `value` may be a struct, a map, or a sequence of pairs. A field that is `None` is left out. A value of another shape,
    /// such as a struct within a struct, is reported by [`send`](Self::send) with
    /// [`ErrorKind::Request`](crate::ErrorKind::Request).
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// let request = client.post("http://example.org/login").form(&[("user", "me & you")]).build().unwrap();
    /// assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    /// assert_eq!(request.body().as_bytes(), Some(&b"user=me+%26+you"[..]));
    /// ```
    #[cfg(feature = "form")]
    pub fn form<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let form = serde_urlencoded::to_string(value);
        let form =
            form.map_err(|error| Error::request("the value cannot be written as a form").because(error));
        self.content(form, "application/x-www-form-urlencoded")
    }

    /// Appends pairs to the URL's query, in the encoding of HTML forms: a space becomes `+`.
    ///
    /// `pairs` may be a sequence of pairs, such as `&[("a", "b")]` or a `Vec` of pairs, a map, or a struct. A value that is
    /// `None` is left out together with its name. Values of another shape, such as a struct within a struct, are reported
    /// by [`send`](Self::send) with [`ErrorKind::Request`](crate::ErrorKind::Request).
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// #[derive(serde::Serialize)]
    /// struct Page {
    ///     size: u32,
    ///     after: Option<String>,
    /// }
    /// let page = Page { size: 50, after: None };
    /// let request = client.get("http://example.org/?a=1").query(&[("q", "one two")]).query(&page).build().unwrap();
    /// assert_eq!(request.uri(), "http://example.org/?a=1&q=one+two&size=50");
    /// ```
    #[cfg(feature = "query")]
    #[allow(clippy::needless_pass_by_value, reason = "takes values and references")]
    pub fn query(mut self, pairs: impl Serialize) -> Self {
        let appended = match serde_urlencoded::to_string(&pairs) {
            Ok(pairs) => self.append_query(&pairs),
            Err(error) => Err(Error::request("the value cannot be written as a query").because(error)),
        };
        if let Err(error) = appended {
            self.fail(error);
        }
        self
    }

    #[cfg(feature = "query")]
    fn append_query(&mut self, pairs: &str) -> crate::error::Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let separator = match target.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let target = format!("{target}{separator}{pairs}");
        let invalid = "the URL is invalid, or its query makes it too long";
        if self.uri.authority().is_some() && self.uri.scheme().is_none() {
            return Err(Error::no_scheme());
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().map_err(|error| invalid_query(invalid, error))?);
        self.uri = http::Uri::from_parts(parts).map_err(|error| invalid_query(invalid, error))?;
        Ok(())
    }

    /// Sets the content, and its type unless the request has one.
    #[cfg(any(feature = "json", feature = "form"))]
    fn content(mut self, content: crate::error::Result<impl Into<Body>>, content_type: &'static str) -> Self {
        match content {
            Ok(content) => {
                self.body = content.into();
                let field = self.headers.entry(http::header::CONTENT_TYPE);
                field.or_insert(http::HeaderValue::from_static(content_type));
            }
            Err(error) => self.fail(error),
        }
        self
    }
}

#[cfg(feature = "query")]
fn invalid_query(message: &'static str, error: impl Into<crate::error::BoxError>) -> Error {
    Error::request(message).because(error)
}
