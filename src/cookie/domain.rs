//! Hosts and paths of cookies, which decide whether a cookie belongs to a URL.
//!
//! This module does no I/O, and is the only module that knows the public suffix list. Invariant: a public suffix never
//! matches as the domain of a cookie, in any spelling.

use std::net::Ipv4Addr;

use psl::{List, Psl};

/// Whether a host matches the domain of a cookie. The host and the domain are in lower case, and the host is a name.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.1.3>.
pub(super) fn domain_matches(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether a path matches the path of a cookie.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.1.4>.
pub(super) fn path_matches(path: &str, of_cookie: &str) -> bool {
    path.strip_prefix(of_cookie)
        .is_some_and(|rest| rest.is_empty() || of_cookie.ends_with('/') || rest.starts_with('/'))
}

/// Returns the path of a cookie that has no path of its own: the path of the URL up to its last slash.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.1.4>.
pub(super) fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 && path.starts_with('/') => &path[..at],
        _ => "/",
    }
}

/// Whether a domain is a public suffix, such as `com` or `co.uk`. If the list has no entry for a name, the last label
/// of the name counts as a public suffix. A final dot makes no difference.
pub(super) fn is_public_suffix(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    List.suffix(domain.as_bytes()).is_none_or(|suffix| suffix.as_bytes().len() >= domain.len())
}

/// Returns the part of a host that its owner has registered: the public suffix and one more label, and a final dot if the
/// host has one. Returns the host itself if it is a public suffix or an address.
pub(super) fn registrable(host: &str) -> &str {
    if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
        return host;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let length = List.domain(name.as_bytes()).map_or(name.len(), |domain| domain.as_bytes().len());
    &host[name.len().saturating_sub(length)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_match_at_dots_and_paths_at_slashes() {
        for (host, domain, expected) in [
            ("example.com", "example.com", true),
            ("www.example.com", "example.com", true),
            ("badexample.com", "example.com", false),
            ("example.com", "www.example.com", false),
            ("example.com.", "example.com", false),
            ("example.com", "example.com.", false),
        ] {
            assert_eq!(domain_matches(host, domain), expected, "R-6265b-5.1.3-1 CK-05 A-42: {host} {domain}");
        }
        for (path, of_cookie, expected) in [
            ("/foo", "/foo", true),
            ("/foo/", "/foo", true),
            ("/foo/bar", "/foo/", true),
            ("/foobar", "/foo", false),
            ("/foo", "/foo/", false),
            ("/Foo", "/foo", false),
            ("/foo/../bar", "/foo", true),
            ("/any", "/", true),
        ] {
            assert_eq!(path_matches(path, of_cookie), expected, "R-6265b-5.1.4-2 A-48: {path} {of_cookie}");
        }
        for (path, expected) in
            [("/", "/"), ("/a", "/"), ("/a/", "/a"), ("/a/b/c", "/a/b"), ("", "/"), ("a/b", "/")]
        {
            assert_eq!(default_path(path), expected, "R-6265b-5.1.4-1: {path}");
        }
    }

    #[test]
    fn public_suffixes_are_known_in_every_spelling() {
        for suffix in ["com", "co.uk", "com.", "github.io", "local", "b.ck", "xn--p1ai", "city.kawasaki.jp.x"]
        {
            let is_suffix = !suffix.starts_with("city");
            assert_eq!(is_public_suffix(suffix), is_suffix, "A-43 CK-01 CK-05: {suffix}");
        }
        for (host, expected) in [
            ("www.example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("a.b.example.co.uk.", "example.co.uk."),
            ("me.github.io", "me.github.io"),
            ("com", "com"),
            ("1.2.3.4", "1.2.3.4"),
            ("[::1]", "[::1]"),
            ("localhost", "localhost"),
            ("a.localhost", "a.localhost"),
        ] {
            assert_eq!(registrable(host), expected, "A-43 CK-05: {host}");
        }
    }

    /// Checks that a cookie and the hosts to which it is sent have the same site, whatever the labels of a host are.
    #[test]
    fn a_43_every_name_below_a_site_belongs_to_that_site() {
        const LABELS: [&str; 16] = [
            "a", "b", "com", "co", "uk", "github", "io", "ck", "www", "kawasaki", "jp", "city", "xn--p1ai",
            "", "1", "compute",
        ];
        let mut random = crate::random::generator();
        for _ in 0..50_000 {
            let labels: Vec<_> = (0..1 + random(5)).map(|_| LABELS[random(LABELS.len())]).collect();
            let host = labels.join(".");
            let site = registrable(&host);
            assert_eq!(registrable(site), site, "A-43: {host}");
            assert!(domain_matches(&host, site), "A-43: {host} {site}");
            for (at, _) in host.match_indices('.') {
                let domain = &host[at + 1..];
                if domain.len() >= site.len() {
                    assert_eq!(registrable(domain), site, "A-43: {host} {domain}");
                }
            }
        }
    }
}
