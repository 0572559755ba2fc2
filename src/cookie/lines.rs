//! A jar as text: one line for each cookie, in the Netscape format, which curl and browser extensions write.
//!
//! This module does no I/O. Invariant: a cookie that is read back is the cookie that was written.

use super::parse::{MOST_OF_ATTRIBUTE, SetCookie, is_control};
use super::store::{LONGEST, Stored};

/// Returns the lines of cookies. Two kinds of cookies have no line, and are left out: cookies with a tab, because a tab
/// separates the columns, and cookies of a host that begins with a dot, because this dot marks names below a domain.
pub(super) fn write<'a>(cookies: impl IntoIterator<Item = &'a Stored>) -> String {
    let mut text = String::from("# Netscape HTTP Cookie File\n");
    for cookie in cookies {
        let Stored { domain, path, name, value, .. } = cookie;
        if domain.starts_with('.') || [domain, path, name, value].iter().any(|column| column.contains('\t')) {
            continue;
        }
        let expires = cookie.expires.unwrap_or(0);
        let http_only = if cookie.is_http_only { HTTP_ONLY } else { "" };
        let dot = if cookie.is_host_only { "" } else { "." };
        let (below, secure) = (flag(!cookie.is_host_only), flag(cookie.is_secure));
        text.push_str(&format!(
            "{http_only}{dot}{domain}\t{below}\t{path}\t{secure}\t{expires}\t{name}\t{value}\n"
        ));
    }
    text
}

/// Reads all cookies of a text.
///
/// # Errors
///
/// Returns the number of the first line that is neither empty, a comment, nor a cookie.
pub(super) fn read(text: &str, now: i64) -> Result<Vec<Stored>, usize> {
    let mut cookies = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (line, is_http_only) = match line.strip_prefix(HTTP_ONLY) {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        if line.trim().is_empty() || !is_http_only && line.starts_with('#') {
            continue;
        }
        cookies.push(cookie(line, is_http_only, now).ok_or(at + 1)?);
    }
    Ok(cookies)
}

fn cookie(line: &str, is_http_only: bool, now: i64) -> Option<Stored> {
    let columns: Vec<_> = line.split('\t').collect();
    let [domain, below, path, secure, expires, name, value] = *columns else { return None };
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let is_host = !domain.is_empty() && !domain.bytes().any(|byte| byte.is_ascii_whitespace());
    let is_path = path.starts_with('/') && path.len() <= MOST_OF_ATTRIBUTE;
    let is_pair = !name.contains(['=', ';']) && !value.contains(';') && SetCookie::new(name, value).is_some();
    if !is_host || !is_path || !is_pair || line.bytes().any(is_control) {
        return None;
    }
    let latest = now.saturating_add(LONGEST);
    Some(Stored {
        name: name.into(),
        value: value.into(),
        domain: domain.to_ascii_lowercase().into(),
        is_host_only: !is_set(below)?,
        path: path.into(),
        is_secure: is_set(secure)?,
        is_http_only,
        expires: match expires.parse::<i64>().ok()? {
            0 => None,
            expires => Some(expires.min(latest)),
        },
        created: 0,
        used: 0,
    })
}

fn flag(is_set: bool) -> &'static str {
    if is_set { "TRUE" } else { "FALSE" }
}

fn is_set(column: &str) -> Option<bool> {
    match column {
        "TRUE" => Some(true),
        "FALSE" => Some(false),
        _ => None,
    }
}

/// Beginning of the line of a cookie with `HttpOnly`. Older readers take the line for a comment.
const HTTP_ONLY: &str = "#HttpOnly_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = "# Netscape HTTP Cookie File\n\
                    a.test\tFALSE\t/\tFALSE\t0\tx\t1=2\n\
                    #HttpOnly_.a.test\tTRUE\t/p\tTRUE\t1700000009\t\tnameless\n";
        let cookies = read(text, 1_700_000_000).unwrap();
        assert_eq!(cookies.len(), 2);
        assert!(cookies[1].is_http_only && cookies[1].is_secure && !cookies[1].is_host_only);
        assert_eq!(write(&cookies), text);
        let far = read("a.test\tFALSE\t/\tFALSE\t99999999999\tx\t1\r\n\r\n# z", 0).unwrap();
        assert_eq!(far[0].expires, Some(LONGEST), "R-6265b-5.5-1");
        let mut tab = cookies[0].clone();
        tab.value = "1\t2".into();
        assert_eq!(read(&write([&tab]), 0).unwrap().len(), 0);
    }

    #[test]
    fn a_47_other_lines_are_refused_by_their_number() {
        for line in [
            "x",
            "a.test\tFALSE\t/\tFALSE\t0\tx",
            "a.test\tFALSE\t/\tFALSE\t0\tx\t1\t2",
            "a.test\tno\t/\tFALSE\t0\tx\t1",
            "a.test\tFALSE\tp\tFALSE\t0\tx\t1",
            "a.test\tFALSE\t/\tFALSE\tsoon\tx\t1",
            "a.test\tFALSE\t/\tFALSE\t0\tx=y\t1",
            "a.test\tFALSE\t/\tFALSE\t0\tx\t1; y=2",
            "a.test\tFALSE\t/\tFALSE\t0\tx\t1\u{1}",
            "a.test\tFALSE\t/\tFALSE\t0\t\t",
            "\tFALSE\t/\tFALSE\t0\tx\t1",
        ] {
            assert_eq!(read(&format!("# comment\n\n{line}\n"), 0).err(), Some(3), "A-47: {line:?}");
        }
    }
}
