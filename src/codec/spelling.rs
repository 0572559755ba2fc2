//! The spelling of the names of request fields, for servers that compare names by their letter case.
//!
//! Names have no letter case in HTTP (<https://www.rfc-editor.org/rfc/rfc9110#section-5.1>), and the codec writes them
//! in lower case. This module rewrites the names of a head after the head was encoded. Invariant: only the letter case
//! of names changes.

use super::grammar::find_lf;

/// The spelling of the names of request fields. By default, names are in lower case.
///
/// ```
/// use handclasp::codec::Spelling;
///
/// // `Host`, `Content-Length` and `X-API-Key`.
/// let spelling = Spelling::new(true, ["X-API-Key"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    title_case: bool,
    names: Vec<Box<str>>,
}

impl Spelling {
    /// Creates a spelling. The fields in `names` are spelled as in `names`. With `title_case`, each word of all other
    /// names begins with an upper-case letter.
    pub fn new<N: Into<String>>(title_case: bool, names: impl IntoIterator<Item = N>) -> Self {
        Self { title_case, names: names.into_iter().map(|name| name.into().into_boxed_str()).collect() }
    }

    /// Whether all names are in title case, apart from the names that are listed.
    #[must_use]
    pub fn is_title_case(&self) -> bool {
        self.title_case
    }

    /// Spells the names of a head, which begins with its request line.
    #[cold]
    pub(super) fn spell(&self, head: &mut [u8]) {
        let mut rest = head;
        let mut is_request_line = true;
        while let Some(end) = find_lf(rest) {
            let (line, after) = rest.split_at_mut(end + 1);
            rest = after;
            if let Some(colon) = line.iter().position(|byte| *byte == b':')
                && !is_request_line
            {
                self.spell_name(&mut line[..colon]);
            }
            is_request_line = false;
        }
    }

    fn spell_name(&self, name: &mut [u8]) {
        if let Some(spelled) = self.names.iter().find(|it| it.as_bytes().eq_ignore_ascii_case(name)) {
            name.copy_from_slice(spelled.as_bytes());
        } else if self.title_case {
            let mut is_first = true;
            for byte in name {
                if is_first {
                    byte.make_ascii_uppercase();
                }
                is_first = *byte == b'-';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_letter_case_of_names_changes() {
        let written = "GET http://a.test/x-y:z HTTP/1.1\r\nhost: a.test\r\nx-api-key: x-api-key: 1\r\nte: trailers\r\n\r\n";
        for (spelling, expected) in [
            (Spelling::default(), written.to_owned()),
            (
                Spelling::new(true, [] as [&str; 0]),
                written
                    .replace("host:", "Host:")
                    .replace("\r\nx-api-key", "\r\nX-Api-Key")
                    .replace("te:", "Te:"),
            ),
            (
                Spelling::new(false, ["X-API-Key", "TE", "other"]),
                written.replace("\r\nx-api-key", "\r\nX-API-Key").replace("te:", "TE:"),
            ),
        ] {
            let mut head = written.as_bytes().to_vec();
            spelling.spell(&mut head);
            assert_eq!(String::from_utf8(head).unwrap(), expected);
        }
    }
}
