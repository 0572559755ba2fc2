//! The environment variables that name proxies.
//!
//! This file reads no environment itself: the caller gives a function that looks a variable up. Invariant: a variable that
//! a header field of a CGI request can set is never used.

/// The values of the variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// Proxy for http URLs, and the name of its variable.
    pub(super) http: Option<(&'static str, String)>,
    /// Proxy for https URLs, and the name of its variable.
    pub(super) https: Option<(&'static str, String)>,
    /// Hosts without a proxy.
    pub(super) no_proxy: Option<String>,
}

/// Reads the variables. The name in lower case takes precedence, as in curl. An empty variable counts as unset.
/// `ignores_case` tells whether the platform ignores the letter case of a variable's name, as Windows does.
pub(super) fn read(get: impl Fn(&str) -> Option<String>, ignores_case: bool) -> Variables {
    let set = |name: &'static str| Some((name, get(name).filter(|value| !value.trim_ascii().is_empty())?));
    // A CGI server turns the header field `Proxy` into `HTTP_PROXY`: <https://httpoxy.org>. The server always sets
    // REQUEST_METHOD, <https://www.rfc-editor.org/rfc/rfc3875#section-4.1.12>. No header field can set the other
    // variables, because a CGI server puts `HTTP_` before the name of each field.
    let is_cgi = get("REQUEST_METHOD").is_some();
    let in_lower_case = if is_cgi && ignores_case { None } else { set("http_proxy") };
    let for_http = || if is_cgi { None } else { set("HTTP_PROXY") };
    let for_all = || set("all_proxy").or_else(|| set("ALL_PROXY"));
    Variables {
        http: in_lower_case.or_else(for_http).or_else(for_all),
        https: set("https_proxy").or_else(|| set("HTTPS_PROXY")).or_else(for_all),
        no_proxy: no_proxy(get),
    }
}

/// Reads the list of hosts without a proxy.
pub(super) fn no_proxy(get: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name| get(name).filter(|value| !value.trim_ascii().is_empty());
    set("no_proxy").or_else(|| set("NO_PROXY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(set: &[(&str, &str)], ignores_case: bool) -> [Option<String>; 3] {
        let get = |name: &str| {
            let is_equal = |known: &str| known == name || (ignores_case && known.eq_ignore_ascii_case(name));
            let value = set.iter().find(|(known, _)| is_equal(known));
            value.map(|(_, value)| (*value).to_owned())
        };
        let Variables { http, https, no_proxy } = read(get, ignores_case);
        [http.map(|(_, value)| value), https.map(|(_, value)| value), no_proxy]
    }

    /// The rows say where curl (its manual page, section ENVIRONMENT) and Go (`golang.org/x/net/http/httpproxy`) differ.
    #[test]
    fn a_61_each_variable_is_read_by_the_table() {
        let none = [None, None, None];
        for (set, expected) in [
            (&[][..], none),
            (
                &[("http_proxy", "a"), ("https_proxy", "b"), ("no_proxy", "c")],
                [Some("a"), Some("b"), Some("c")],
            ),
            // In curl, HTTP_PROXY is never read. Go reads it, except in CGI.
            (
                &[("HTTP_PROXY", "a"), ("HTTPS_PROXY", "b"), ("NO_PROXY", "c")],
                [Some("a"), Some("b"), Some("c")],
            ),
            // In Go, the name in upper case takes precedence.
            (&[("http_proxy", "a"), ("HTTP_PROXY", "b")], [Some("a"), None, None]),
            (&[("HTTPS_PROXY", "b"), ("https_proxy", "a")], [None, Some("a"), None]),
            (&[("NO_PROXY", "b"), ("no_proxy", "a")], [None, None, Some("a")]),
            // Go does not read ALL_PROXY.
            (&[("all_proxy", "a")], [Some("a"), Some("a"), None]),
            (&[("ALL_PROXY", "a")], [Some("a"), Some("a"), None]),
            (&[("ALL_PROXY", "b"), ("all_proxy", "a")], [Some("a"), Some("a"), None]),
            (&[("ALL_PROXY", "a"), ("https_proxy", "b")], [Some("a"), Some("b"), None]),
            (&[("ALL_PROXY", "a"), ("HTTP_PROXY", "b")], [Some("b"), Some("a"), None]),
            // An empty variable counts as unset, as in curl and Go.
            (&[("http_proxy", ""), ("HTTP_PROXY", "b"), ("no_proxy", " ")], [Some("b"), None, None]),
            (&[("https_proxy", " "), ("ALL_PROXY", "a")], [Some("a"), Some("a"), None]),
            // In CGI, a header field may have set HTTP_PROXY. In Go, every http request that would use a proxy of the
            // environment fails, even if `http_proxy` names the proxy, and an empty REQUEST_METHOD does not count.
            (&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "a")], none),
            (&[("REQUEST_METHOD", ""), ("HTTP_PROXY", "a")], none),
            (
                &[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "a"), ("ALL_PROXY", "b")],
                [Some("b"), Some("b"), None],
            ),
            (
                &[("REQUEST_METHOD", "GET"), ("http_proxy", "a"), ("HTTPS_PROXY", "b")],
                [Some("a"), Some("b"), None],
            ),
            (&[("Http_Proxy", "a"), ("HTTP_PROXY_X", "b")], none),
        ] {
            let expected = expected.map(|value: Option<&str>| value.map(str::to_owned));
            assert_eq!(variables(set, false), expected, "A-61 {set:?}");
        }
    }

    /// On Windows, a name in lower case finds the variable that a header field of a CGI request has set.
    #[test]
    fn a_61_no_spelling_of_http_proxy_is_read_in_cgi_where_names_have_no_case() {
        for (set, http, https) in [
            (&[("HTTP_PROXY", "a")][..], Some("a"), None),
            (&[("HTTP_PROXY", "a"), ("REQUEST_METHOD", "GET")], None, None),
            (&[("http_proxy", "a"), ("Request_Method", "GET")], None, None),
            (&[("Http_Proxy", "a"), ("REQUEST_METHOD", "GET"), ("All_Proxy", "b")], Some("b"), Some("b")),
            (&[("HTTPS_PROXY", "b"), ("REQUEST_METHOD", "GET")], None, Some("b")),
        ] {
            let expected = [http, https, None].map(|value: Option<&str>| value.map(str::to_owned));
            assert_eq!(variables(set, true), expected, "A-61 {set:?}");
        }
    }
}
