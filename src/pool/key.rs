//! The route: the scheme, the host, the port, the isolation tag, and the proxy or unix socket. The route is the pool's
//! key, because a route decides which server a connection reaches, what TLS verified about that server, and which
//! requests share the connection.
//!
//! A [`Route`] is built once for each host and then shared. A request borrows its route from its URI
//! ([`RouteRef`]) and is compared without an allocation. Invariant: two requests share a connection only if their
//! routes are equal.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::Uri;

use crate::connect::Via;
use crate::error::Error;

/// Scheme, host (lower case), port, isolation tag, and proxy or unix socket. If a proxy forwards the requests, the host
/// and the port are those of the proxy, and the scheme is http.
///
/// A final dot is part of the host: a name with a final dot is absolute, so that the resolver may find another server
/// for it than for the name without the dot.
#[derive(Debug)]
pub(crate) struct Route {
    host_field: Box<str>,
    /// Length of the host in the Host field. A URI is shorter than 64 KiB.
    host: u16,
    port: u16,
    https: bool,
    /// Isolation tag. Requests with different tags share no connection.
    tag: Option<Arc<str>>,
    via: Via,
}

/// A route as the pool's table stores it. A short host without a tag, a proxy or a unix socket is copied into the key,
/// so that most comparisons do not follow the pointer: 48 instructions fewer per warm GET.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Key {
    host: [u8; SHORT],
    /// Length of the copied host, or 0 if only the route has the host.
    length: u8,
    https: bool,
    port: u16,
    pub(super) route: Arc<Route>,
}

/// The route of a request, borrowed from its URI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteRef<'a> {
    https: bool,
    host: &'a str,
    /// Whether the host has capital letters.
    has_upper: bool,
    /// Whether the URI has a user or a password.
    has_user: bool,
    port: u16,
    /// Host and port as written, without user and password.
    authority: &'a str,
    tag: Option<&'a Arc<str>>,
    /// The proxy or the unix socket, or `None` for a direct connection.
    via: Option<&'a Via>,
}

impl<'a> RouteRef<'a> {
    /// Returns the route to a URI's origin.
    pub(crate) fn of(uri: &'a Uri) -> Result<Self, Error> {
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => {
                return Err(Error::request(format!(
                    "the URL's scheme is {other:?}: only http and https can be fetched"
                )));
            }
            None => return Err(Error::no_scheme()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if let Some((start, colon, port)) = split_at_port(authority) {
            let host = &authority[start..colon];
            if !is_empty(host) {
                return Ok(Self::new(https, host, port, &authority[start..], start > 0));
            }
        }
        let length = authority.len();
        let (authority, colon) = split(authority);
        let host = &authority[..colon];
        if is_empty(host) {
            return Err(Error::request("the URL has no host: give a name or an IP address"));
        }
        if host.starts_with('[') && host.contains('%') {
            return Err(Error::zone());
        }
        let port = match authority.get(colon + 1..).unwrap_or_default() {
            "" if https => 443,
            "" => 80,
            // For a port that is too large, the `http` crate returns no port.
            text => match text.parse() {
                Ok(port) if port > 0 && text.bytes().all(|digit| digit.is_ascii_digit()) => port,
                _ => {
                    return Err(Error::request(format!(
                        "the URL's port {text:?} is not a number from 1 to 65535"
                    )));
                }
            },
        };
        Ok(Self::new(https, host, port, authority, authority.len() < length))
    }

    fn new(https: bool, host: &'a str, port: u16, authority: &'a str, has_user: bool) -> Self {
        // The loop has no early exit, so that the compiler checks many bytes at a time.
        let has_upper = host.bytes().fold(false, |has, byte| has | byte.is_ascii_uppercase());
        Self { https, host, has_upper, has_user, port, authority, tag: None, via: None }
    }

    /// Returns the route with an isolation tag. Only requests with the same tag share the connections of this route.
    pub(crate) fn isolated(self, tag: Option<&'a Arc<str>>) -> Self {
        Self { tag, ..self }
    }

    /// Returns the route for `via`. If a proxy forwards requests, all origins that are reached through the proxy have
    /// one route.
    #[inline]
    pub(crate) fn by(self, via: &'a Via) -> Self {
        match via {
            Via::Direct => self,
            via => self.through(via),
        }
    }

    #[cold]
    fn through(self, via: &'a Via) -> Self {
        match via {
            Via::Forward(proxy) => Self {
                tag: self.tag,
                via: Some(via),
                ..Self::new(false, proxy.host(), proxy.port(), proxy.authority(), false)
            },
            _ => Self { via: Some(via), ..self },
        }
    }

    /// Returns how a proxy is used, or `None` for a connection without a proxy.
    #[inline]
    pub(crate) fn by_proxy(&self) -> Option<&'a Via> {
        self.via.filter(|via| !matches!(via, Via::Unix(_)))
    }

    /// Whether the connection goes neither through a proxy nor over a unix socket.
    #[cfg_attr(not(feature = "fast-open"), allow(dead_code, reason = "only TCP Fast Open asks"))]
    pub(crate) fn is_direct(&self) -> bool {
        self.via.is_none()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Returns the host as in a URI.
    pub(crate) fn host(&self) -> &'a str {
        self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the URI from which the route was made has a user or a password.
    #[inline]
    pub(crate) fn has_user(&self) -> bool {
        self.has_user
    }

    /// Returns host and port. The port is written even if the port is the scheme's default:
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3>.
    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host.to_ascii_lowercase(), self.port)
    }

    /// Returns the hash under which the route is found.
    pub(crate) fn hash(&self, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write_u32(u32::from(self.port) << 1 | u32::from(self.https));
        if self.has_upper {
            hasher.write(self.host.to_ascii_lowercase().as_bytes());
        } else {
            hasher.write(self.host.as_bytes());
        }
        if self.tag.is_some() | self.via.is_some() {
            self.hash_rest(&mut hasher);
        }
        hasher.finish()
    }

    /// Adds to a hash what most routes do not have.
    #[cold]
    fn hash_rest(&self, hasher: &mut impl Hasher) {
        if let Some(tag) = self.tag {
            hasher.write(tag.as_bytes());
        }
        if let Some(via) = self.via {
            via.hash(hasher);
        }
    }

    /// Whether the key belongs to this route.
    pub(crate) fn is(&self, key: &Key) -> bool {
        let host = match usize::from(key.length) {
            0 if self.tag != key.route.tag.as_ref() || self.via != key.route.indirect() => return false,
            0 => key.route.host().as_bytes(),
            _ if self.tag.is_some() | self.via.is_some() => return false,
            length => &key.host[..length],
        };
        let is_host = || self.host.as_bytes() == host || self.host.as_bytes().eq_ignore_ascii_case(host);
        self.port == key.port && self.https == key.https && is_host()
    }

    pub(crate) fn to_route(self) -> Route {
        Route {
            host_field: self.host_field().into(),
            host: self.host.len() as u16,
            port: self.port,
            https: self.https,
            tag: self.tag.cloned(),
            via: self.via.cloned().unwrap_or(Via::Direct),
        }
    }

    pub(super) fn to_key(self) -> Key {
        Key::new(Arc::new(self.to_route()))
    }

    /// Returns the value of the Host field: lower case, without the default port of the scheme. The value is
    /// borrowed if the URI contains the value in this form.
    pub(crate) fn host_field(&self) -> Cow<'a, str> {
        let is_default_port = self.port == if self.https { 443 } else { 80 };
        if self.has_upper {
            let host = self.host.to_ascii_lowercase();
            return if is_default_port { host.into() } else { format!("{host}:{}", self.port).into() };
        }
        match self.authority.get(self.host.len()..) {
            _ if is_default_port => self.host.into(),
            Some(rest) if rest.strip_prefix(':').is_some_and(|port| !port.starts_with('0')) => {
                self.authority.into()
            }
            _ => format!("{}:{}", self.host, self.port).into(),
        }
    }
}

impl Key {
    fn new(route: Arc<Route>) -> Self {
        let mut host = [0; SHORT];
        let length = match host.get_mut(..usize::from(route.host)) {
            Some(short) if route.tag.is_none() && route.indirect().is_none() => {
                short.copy_from_slice(route.host().as_bytes());
                route.host as u8
            }
            _ => 0,
        };
        Self { host, length, https: route.https, port: route.port, route }
    }
}

impl Route {
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Returns the host in the form of a URI, in which an IPv6 address is in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host_field[..usize::from(self.host)]
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
    }

    /// Returns how the host is reached.
    pub(crate) fn via(&self) -> &Via {
        &self.via
    }

    /// Returns the proxy or the unix socket, or `None` for a direct connection.
    fn indirect(&self) -> Option<&Via> {
        if self.via == Via::Direct { None } else { Some(&self.via) }
    }
}

/// Writes the scheme, the host and the port. If the connection goes through a proxy or over a unix socket, the proxy or
/// the path of the socket follows after `via`. A proxy that forwards requests serves all hosts, which are written as
/// `*`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.via {
            Via::Direct => write!(f, "{}://{}", self.scheme(), self.host_field),
            Via::Forward(proxy) => write!(f, "http://* via {proxy}"),
            Via::Tunnel(proxy) => write!(f, "{}://{} via {proxy}", self.scheme(), self.host_field),
            Via::Unix(path) => write!(f, "{}://{} via unix:{path}", self.scheme(), self.host_field),
        }
    }
}

/// Whether a URL's authority has no host, or the name of the DNS root only.
fn is_empty(host: &str) -> bool {
    host.is_empty() || host == "."
}

/// Length of the longest host that is copied into a key.
const SHORT: usize = 36;

/// Reads an authority from its end. Returns the start and the end of the host, and the port. Returns `None` if the
/// authority does not end with a port that is a number.
fn split_at_port(authority: &str) -> Option<(usize, usize, u16)> {
    let bytes = authority.as_bytes();
    let (mut port, mut scale) = (0, 1);
    for (colon, &byte) in bytes.iter().enumerate().rev().take(6) {
        match byte {
            b'0'..=b'9' => {
                port += u32::from(byte - b'0') * scale;
                scale *= 10;
            }
            b':' if colon > 0 => {
                let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
                // The loop has no early exit, so that the compiler checks many bytes at a time. Most authorities have
                // no `@`.
                let start = match bytes[..colon].iter().fold(false, |has, byte| has | (*byte == b'@')) {
                    true => bytes[..colon].iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1),
                    false => 0,
                };
                // An address in brackets contains colons and may contain a zone.
                let is_cut = bytes.get(start) == Some(&b'[')
                    && (bytes[colon - 1] != b']' || bytes[start..colon].contains(&b'%'));
                return (!is_cut).then_some((start, colon, port));
            }
            _ => return None,
        }
    }
    None
}

/// Returns host and port without user and password, and the position at which the host ends.
///
/// This function reads every authority that [`split_at_port`] rejects, in one pass.
fn split(authority: &str) -> (&str, usize) {
    let (mut start, mut colon) = (0, None);
    for (at, byte) in authority.bytes().enumerate() {
        match byte {
            b'@' => (start, colon) = (at + 1, None),
            b':' => colon = Some(at),
            // The colons before this bracket belong to an address.
            b']' => colon = None,
            _ => {}
        }
    }
    (&authority[start..], colon.unwrap_or(authority.len()) - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str) -> Route {
        RouteRef::of(&uri.parse().unwrap()).unwrap().to_route()
    }

    fn is_same(a: &str, b: &str) -> bool {
        let state = RandomState::default();
        let uri: Uri = a.parse().unwrap();
        let a = RouteRef::of(&uri).unwrap();
        let other: Uri = b.parse().unwrap();
        let b = RouteRef::of(&other).unwrap();
        let same = a.is(&b.to_key());
        assert!(!same || a.hash(&state) == b.hash(&state), "equal routes have equal hashes");
        same
    }

    /// [`split_at_port`] and [`split`] find the same host and port.
    #[test]
    fn both_ways_to_split_an_authority_agree() {
        for authority in [
            "h:1",
            "h:00080",
            "u:p@h:80",
            "u@[::1]:65535",
            "[::1]:8",
            "a.b.:443",
            "u@v@h:8",
            "127.0.0.1:8080",
        ] {
            let (rest, colon) = split(authority);
            let (start, end, port) = split_at_port(authority).unwrap();
            let host = &authority[start..end];
            assert_eq!((&authority[start..], host), (rest, &rest[..colon]), "{authority}");
            assert_eq!(rest[colon + 1..].parse(), Ok(port), "{authority}");
        }
        for authority in
            ["", "h", "h:", "[::1]", "[::1", "h:0", "h:65536", "h:000080", "h:8x", "h:+8", "12345", "u:8@h"]
        {
            assert_eq!(split_at_port(authority), None, "{authority}");
        }
    }

    /// A-69 of the list of attacks.
    #[test]
    fn spellings_of_one_origin_are_one_route() {
        for other in ["http://h:80/x", "http://H/", "http://user:pass@h/", "http://h?q"] {
            assert!(is_same("http://h/", other), "R-9110-4.2.3-1: {other}");
        }
    }

    #[test]
    fn another_scheme_host_or_port_is_another_route() {
        for other in ["https://h/", "https://h:80/", "http://h:81/", "http://g/", "http://h.h/", "http://h./"]
        {
            assert!(!is_same("http://h/", other), "R-9110-4.2.3-1: {other}");
        }
    }

    /// The cases are hosts that are copied into the key, and hosts that are too long for the copy.
    #[test]
    fn rule_01_hosts_of_any_length_are_told_apart() {
        for length in [1, SHORT - 1, SHORT, SHORT + 1, 200] {
            let url = |host: &str| format!("http://{host}:8080/");
            let host = "h".repeat(length);
            let last = format!("{}i", &host[1..]);
            assert!(is_same(&url(&host), &url(&host.to_ascii_uppercase())), "{length}");
            assert!(is_same(&url(&host.to_ascii_uppercase()), &url(&host)), "{length}");
            for other in [last, host.clone() + "h", host[1..].to_owned() + ".h"] {
                assert!(!is_same(&url(&host), &url(&other)), "{length}: {other}");
                assert!(!is_same(&url(&other), &url(&host)), "{length}: {other}");
            }
            assert!(!is_same(&url(&host), &format!("https://{host}:8080/")), "{length}");
            assert!(!is_same(&url(&host), &format!("http://{host}:8081/")), "{length}");
        }
    }

    #[test]
    fn rule_01_another_tag_is_another_route() {
        let state = RandomState::default();
        let uri: Uri = "http://h/".parse().unwrap();
        let tags: Vec<Arc<str>> = ["", "a", "b", "a"].map(Into::into).into();
        let route = |tag: Option<usize>| RouteRef::of(&uri).unwrap().isolated(tag.map(|at| &tags[at]));
        for (one, other, is_same) in [
            (None, None, true),
            (None, Some(0), false),
            (Some(0), Some(1), false),
            (Some(1), Some(2), false),
            (Some(1), Some(3), true),
            (Some(1), None, false),
        ] {
            let (one, other) = (route(one), route(other));
            assert_eq!(one.is(&other.to_key()), is_same, "{one:?} {other:?}");
            assert!(!is_same || one.hash(&state) == other.hash(&state), "{one:?} {other:?}");
        }
    }

    /// Compares the routes of requests through each proxy of the list, and without a proxy.
    #[cfg(feature = "proxy")]
    #[test]
    fn rule_01_another_proxy_is_another_route() {
        use crate::connect::{Proxies, Proxy, Wanted};

        let proxies = [
            "http://p.test:80",
            "https://p.test:80",
            "http://p.test:81",
            "http://q.test:80",
            "http://u:p@p.test:80",
            "http://u:q@p.test:80",
            "http://v:p@p.test:80",
            "socks5://p.test:80",
            "socks5h://p.test:80",
            "socks4://p.test:80",
            "socks4a://p.test:80",
            "socks5://u:p@p.test:80",
        ];
        // The host of the last URL is that of a proxy.
        let urls =
            ["http://h.test/", "https://h.test/", "http://h.test:81/", "http://g.test/", "http://p.test/"];
        let urls = urls.map(|url| url.parse::<Uri>().unwrap());
        let tags: [Arc<str>; 1] = ["a".into()];
        let way = |url: &Uri, proxies: &Proxies| {
            let route = RouteRef::of(url).unwrap();
            let (is_https, host, port) = (route.is_https(), route.host(), route.port());
            proxies
                .choose(Wanted { method: &http::Method::GET, uri: url, is_https, host, port, filter: None })
                .unwrap()
        };
        let mut ways: Vec<(&Uri, Option<usize>, bool, Via)> =
            urls.iter().map(|url| (url, None, false, Via::Direct)).collect();
        for (at, proxy) in proxies.iter().enumerate() {
            for is_tunnel in [false, true] {
                let set = Proxies::NONE.and(Proxy::all(proxy).unwrap().tunnel(is_tunnel)).unwrap();
                ways.extend(urls.iter().map(|url| (url, Some(at), is_tunnel, way(url, &set))));
            }
        }
        let (state, mut same) = (RandomState::default(), 0);
        for (one_url, one_proxy, _, one) in &ways {
            for (other_url, other_proxy, _, other) in &ways {
                for (one_tag, other_tag) in
                    [(None, None), (Some(&tags[0]), None), (Some(&tags[0]), Some(&tags[0]))]
                {
                    let [one_route, other_route] = [(one_url, one, one_tag), (other_url, other, other_tag)]
                        .map(|(url, via, tag)| RouteRef::of(url).unwrap().isolated(tag).by(via));
                    // Only requests that a proxy forwards share connections beyond their origin.
                    let is_forwarded = matches!((one, other), (Via::Forward(_), Via::Forward(_)));
                    let is_same_way = std::mem::discriminant(one) == std::mem::discriminant(other);
                    let is_same = one_tag == other_tag
                        && one_proxy == other_proxy
                        && is_same_way
                        && (one_url == other_url || is_forwarded);
                    assert_eq!(
                        one_route.is(&other_route.to_key()),
                        is_same,
                        "A-53 {one_route:?} {other_route:?}"
                    );
                    if is_same {
                        same += 1;
                        assert_eq!(one_route.hash(&state), other_route.hash(&state));
                    }
                }
            }
        }
        assert!(same > 100, "{same}");
    }

    /// The ledger and the events print the text of a route.
    #[cfg(feature = "proxy")]
    #[test]
    fn the_text_of_a_route_names_the_proxy_and_no_credentials() {
        use crate::connect::{Proxies, Proxy, Wanted};

        let set = Proxies::NONE.and(Proxy::all("http://user:secret@P.test:3128").unwrap()).unwrap();
        for (url, text) in [
            ("http://h.test:81/x", "http://* via http://p.test:3128"),
            ("https://h.test/x", "https://h.test via http://p.test:3128"),
        ] {
            let uri: Uri = url.parse().unwrap();
            let route = RouteRef::of(&uri).unwrap();
            let (is_https, host, port) = (route.is_https(), route.host(), route.port());
            let wanted = Wanted { method: &http::Method::GET, uri: &uri, is_https, host, port, filter: None };
            let via = set.choose(wanted).unwrap();
            let route = route.by(&via).to_route();
            assert_eq!(route.to_string(), text);
            assert!(!format!("{route:?}").contains("secret"), "A-60 {route:?}");
            // The Host field of a request is made from its URL, and not from its route.
            assert_eq!(route.host(), if is_https { "h.test" } else { "p.test" });
        }
    }

    #[cfg(unix)]
    #[test]
    fn rule_01_another_path_is_another_route() {
        use crate::connect::SocketPath;

        let state = RandomState::default();
        let of = |path: &str| Via::Unix(Arc::new(SocketPath::new(path.as_ref()).unwrap()));
        let ways = [Via::Direct, of("/run/a"), of("/run/b"), of("/run/a")];
        let uris = ["http://h/", "https://h/", "http://g/"].map(|uri| uri.parse::<Uri>().unwrap());
        let routes = || uris.iter().flat_map(|uri| ways.iter().map(move |way| (uri, way)));
        for (one_uri, one_way) in routes() {
            for (other_uri, other_way) in routes() {
                let one = RouteRef::of(one_uri).unwrap().by(one_way);
                let other = RouteRef::of(other_uri).unwrap().by(other_way);
                let is_same = one_uri == other_uri && one_way == other_way;
                assert_eq!(one.is(&other.to_key()), is_same, "{one:?} {other:?}");
                assert!(!is_same || one.hash(&state) == other.hash(&state), "{one:?} {other:?}");
                assert!(one.by_proxy().is_none());
            }
        }
        let route = RouteRef::of(&uris[1]).unwrap().by(&ways[1]).to_route();
        assert_eq!(route.to_string(), "https://h via unix:/run/a");
    }

    /// The pool copies and compares a key for each request. A larger key makes the copy and the comparison slower.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_key_and_a_borrowed_route_keep_their_sizes() {
        assert_eq!((size_of::<Key>(), size_of::<RouteRef<'_>>()), (48, 56));
    }

    #[test]
    fn the_host_field_names_the_port_only_where_it_must() {
        assert_eq!(&*route("http://Example.org:80/").host_field, "example.org");
        assert_eq!(&*route("https://example.org:80/").host_field, "example.org:80");
        assert_eq!(&*route("https://user@[::1]:8443/").host_field, "[::1]:8443");
        assert_eq!(&*route("http://H.:8080/").host_field, "h.:8080");
        assert_eq!(&*route("http://h.:80/").host_field, "h.");
        assert_eq!(&*route("http://h:0080/").host_field, "h");
        assert_eq!(route("http://[::1]/").to_string(), "http://[::1]");
    }

    #[test]
    fn a_uri_that_cannot_be_fetched_says_why() {
        for (uri, message) in [
            ("ftp://h/", "the URL's scheme is \"ftp\": only http and https can be fetched"),
            ("/path", "the URL has no scheme: give http:// or https://"),
            ("http://h:70000/", "the URL's port \"70000\" is not a number from 1 to 65535"),
            ("http://h:+80/", "the URL's port \"+80\" is not a number from 1 to 65535"),
            ("http://h:0/", "the URL's port \"0\" is not a number from 1 to 65535"),
            ("http://./", "the URL has no host: give a name or an IP address"),
            ("http://.:81/", "the URL has no host: give a name or an IP address"),
        ] {
            let Ok(uri) = uri.parse::<Uri>() else { continue };
            assert_eq!(RouteRef::of(&uri).unwrap_err().to_string(), message);
        }
    }
}
