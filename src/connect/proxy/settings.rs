//! The settings of proxies, and the choice of a proxy for a request.
//!
//! This file does no I/O. Invariants: the first rule that applies decides. A proxy that cannot be used fails the
//! request: the request never goes without a proxy instead. A proxy that looks names up is chosen only if the address
//! filter allows the host of the request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Uri};

use super::environment::{self, Variables};
use super::no_proxy::NoProxy;
use super::server::ProxyServer;
#[cfg(feature = "system-proxy")]
use super::system::System;
use crate::connect::destination::{Destination, Via};
use crate::connect::filter::AddressFilter;
use crate::error::{Error, ErrorKind, Phase, Result};

/// A proxy, and the requests that go through the proxy.
///
/// The scheme of the proxy's URL names the protocol:
///
/// | scheme | protocol | names are looked up by | default port |
/// |---|---|---|---|
/// | `http`, or no scheme | HTTP | the proxy | 80 |
/// | `https` | HTTP over TLS | the proxy | 443 |
/// | `socks5` | SOCKS5 (RFC 1928) | the client | 1080 |
/// | `socks5h`, `socks` | SOCKS5 | the proxy | 1080 |
/// | `socks4` | SOCKS4, IPv4 only | the client | 1080 |
/// | `socks4a` | SOCKS4a | the proxy | 1080 |
///
/// An HTTP proxy forwards requests to http URLs. The proxy can read these requests, and one connection to the proxy
/// serves all origins. For https URLs, the proxy opens a tunnel by CONNECT
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>). The client makes the TLS handshake with the origin inside
/// the tunnel, and the tunnel is reused for that origin only. SOCKS proxies open a connection for each origin.
/// [`tunnel`](Self::tunnel) asks for tunnels to http URLs too.
///
/// If the client looks names up, the client asks the proxy for up to six addresses of a name, one after another, until
/// the proxy opens a connection. Each address needs a new connection to the proxy. IPv4 and IPv6 addresses take turns.
/// The next address is tried only if the reply may depend on the address, for example because the host cannot be
/// reached or refuses the connection.
///
/// The user and the password of the proxy's URL are sent to the proxy: as Basic to HTTP proxies, by RFC 1929 to SOCKS5
/// proxies, and the user alone to SOCKS4 proxies. The client sends the user and the password to that proxy only, never
/// to an origin, and never prints them. Characters that end a part of a URL, such as `/`, `#` and `@`, have to be
/// percent-encoded in a password.
///
/// A client takes its proxies from the environment unless [`ClientBuilder::proxy`](crate::ClientBuilder::proxy) or
/// [`ClientBuilder::no_proxy`](crate::ClientBuilder::no_proxy) is called.
///
/// ```
/// use handclasp::Proxy;
///
/// # fn main() -> handclasp::Result<()> {
/// let client = handclasp::Client::builder()
///     .proxy(Proxy::https("http://user:password@proxy.example:3128")?)
///     .proxy(Proxy::http("socks5h://127.0.0.1:9050")?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Proxy {
    intercepts: Intercepts,
    to: To,
    login: Option<(String, String)>,
    /// Fields for an HTTP proxy, one map for each call. The fields include the credentials of `custom_http_auth`. At
    /// most one of `login` and `fields` has credentials.
    fields: Vec<HeaderMap>,
    no_proxy: Option<NoProxy>,
    tunnels: bool,
    filters_addresses: bool,
}

/// The schemes of the URLs that go through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intercepts {
    Http,
    Https,
    All,
}

/// Source of the proxy.
#[derive(Clone)]
enum To {
    Server(ProxyServer),
    Custom(Arc<Custom>),
}

type Custom = dyn Fn(&Uri) -> Option<Result<ProxyServer>> + Send + Sync;

impl Proxy {
    /// Returns a proxy for requests to http URLs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if the text is not the URL of a proxy. The error shows no part of
    /// the text.
    pub fn http(url: impl AsRef<str>) -> Result<Self> {
        Self::new(Intercepts::Http, url.as_ref())
    }

    /// Returns a proxy for requests to https URLs.
    ///
    /// # Errors
    ///
    /// See [`http`](Self::http).
    pub fn https(url: impl AsRef<str>) -> Result<Self> {
        Self::new(Intercepts::Https, url.as_ref())
    }

    /// Returns a proxy for all requests.
    ///
    /// # Errors
    ///
    /// See [`http`](Self::http).
    pub fn all(url: impl AsRef<str>) -> Result<Self> {
        Self::new(Intercepts::All, url.as_ref())
    }

    /// Returns a setting whose proxy a function chooses for each request. The function gets the URI of a request, and
    /// returns the URL of the proxy for this request. If the function returns `None`, the next proxy of the client is
    /// considered.
    ///
    /// The function is called for each request, each redirect, and each call of [`Client::warm`](crate::Client::warm)
    /// and [`Client::min_idle`](crate::Client::min_idle). The function runs within the request's future and must not
    /// block. If the function returns a text that is not the URL of a proxy, the request fails.
    ///
    /// ```
    /// use handclasp::Proxy;
    ///
    /// let proxy = Proxy::custom(|uri| (uri.host() == Some("api.example")).then_some("http://proxy.example:3128"));
    /// let client = handclasp::Client::builder().proxy(proxy).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn custom<F, U>(choose: F) -> Self
    where
        F: Fn(&Uri) -> Option<U> + Send + Sync + 'static,
        U: AsRef<str>,
    {
        let choose = move |uri: &Uri| choose(uri).map(|url| ProxyServer::parse(url.as_ref()));
        Self::of(Intercepts::All, To::Custom(Arc::new(choose)))
    }

    fn new(intercepts: Intercepts, url: &str) -> Result<Self> {
        Ok(Self::of(intercepts, To::Server(ProxyServer::parse(url)?)))
    }

    fn of(intercepts: Intercepts, to: To) -> Self {
        Self {
            intercepts,
            to,
            login: None,
            fields: Vec::new(),
            no_proxy: None,
            tunnels: false,
            filters_addresses: false,
        }
    }

    /// Sets the user and the password for the proxy. Replaces the user and the password of the proxy's URL. For
    /// [`custom`](Self::custom), the user and the password apply to URLs without a user. The last call of this method
    /// or of [`custom_http_auth`](Self::custom_http_auth) decides.
    ///
    /// The client or the request that gets the proxy reports an error if the user has a colon, or if the user or the
    /// password has a control character.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.fields.iter_mut().for_each(|fields| drop(fields.remove(PROXY_AUTHORIZATION)));
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sets the value of `Proxy-Authorization` for an HTTP proxy. For a SOCKS proxy, the client or the request that
    /// gets the proxy reports an error.
    pub fn custom_http_auth(self, value: HeaderValue) -> Self {
        self.headers(HeaderMap::from_iter([(PROXY_AUTHORIZATION, value)]))
    }

    /// Sets fields that an HTTP proxy gets with each request that it forwards, and with each CONNECT. An origin gets
    /// these fields only if the proxy forwards them. A later field replaces earlier fields of the same name.
    ///
    /// For a SOCKS proxy, the client or the request that gets the proxy reports an error. The error of fields that
    /// belong to one message or one connection, such as `Host` and `Content-Length`, is reported in the same way.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if headers.contains_key(PROXY_AUTHORIZATION) {
            self.login = None;
        }
        self.fields.push(headers);
        self
    }

    /// Sets the hosts to which requests go without this proxy. With `None`, which is the default, there are no such hosts.
    pub fn no_proxy(mut self, hosts: Option<NoProxy>) -> Self {
        self.no_proxy = hosts;
        self
    }

    /// Sets whether an HTTP proxy opens a tunnel for requests to http URLs too, instead of forwarding them. `false` by
    /// default. Many proxies allow tunnels to port 443 only.
    ///
    /// WebSocket and other protocols that begin with `Upgrade` need a tunnel.
    pub fn tunnel(mut self, tunnel: bool) -> Self {
        self.tunnels = tunnel;
        self
    }

    /// States whether the proxy itself refuses to connect to the addresses that this client's
    /// [address filter](crate::ClientBuilder::address_filter) would refuse. `false` by default.
    ///
    /// A proxy that looks names up (see the [table](Self)) decides alone which address of a name it connects to. The
    /// filter of the client does not see this address. So if the client has a filter, a request for a name through such
    /// a proxy fails with [`ErrorKind::AddressRefused`](crate::ErrorKind::AddressRefused). With `true`, the client
    /// trusts the proxy with names, and the request is sent. Without a filter, the setting changes nothing.
    ///
    /// The filter still checks the address of the proxy, the addresses in URLs, and the addresses that the client looks
    /// up for `socks5` and `socks4`.
    ///
    /// ```
    /// use handclasp::{AddressFilter, Client, Proxy};
    ///
    /// # fn main() -> handclasp::Result<()> {
    /// // A proxy that lets requests out to public addresses only.
    /// let proxy = Proxy::all("http://10.0.7.20:3128")?.filters_addresses(true);
    /// let filter = AddressFilter::public_only().allow(["10.0.7.20"])?;
    /// let client = Client::builder().proxy(proxy).address_filter(filter).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn filters_addresses(mut self, filters: bool) -> Self {
        self.filters_addresses = filters;
        self
    }

    /// Checks the settings, and returns them as a rule.
    ///
    /// # Errors
    ///
    /// If the proxy's protocol cannot carry the credentials or the fields.
    fn into_rule(self) -> Result<Rule> {
        let Self { intercepts, to, login, fields, no_proxy, tunnels, filters_addresses } = self;
        let complete = move |server: ProxyServer, keeps_login: bool| -> Result<ProxyServer> {
            let keeps_login = keeps_login && server.has_login();
            let mut server = server;
            if let Some((user, password)) = login.as_ref().filter(|_| !keeps_login) {
                server = server.with_login(user.as_bytes(), password.as_bytes())?;
            }
            for fields in fields.iter().filter(|fields| !fields.is_empty()) {
                let mut fields = fields.clone();
                if keeps_login {
                    fields.remove(PROXY_AUTHORIZATION);
                }
                server = server.with_fields(fields)?;
            }
            Ok(server)
        };
        let server = match to {
            To::Server(server) => Server::Known(Arc::new(complete(server, false)?)),
            To::Custom(choose) => Server::Chosen(Arc::new(move |uri: &Uri| {
                Some(choose(uri)?.and_then(|server| complete(server, true)))
            })),
        };
        Ok(Rule { intercepts, server, no_proxy, tunnels, filters_addresses, is_of_environment: false })
    }
}

impl NoProxy {
    /// Reads the environment variable `no_proxy` or, if it is not set, `NO_PROXY`. Returns `None` if neither has a valid
    /// entry.
    pub fn from_env() -> Option<Self> {
        Self::from_string(&environment::no_proxy(variable)?)
    }
}

/// Looks an environment variable up.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| text(value.as_encoded_bytes()))
}

/// Returns the text of a variable. Bytes that are not UTF-8 are percent-encoded, so that a password keeps its bytes,
/// and a host with such bytes is invalid.
fn text(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let [high, low] =
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            text.extend(['%', high, low]);
        }
    }
    text
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Proxy");
        out.field("intercepts", &self.intercepts);
        match &self.to {
            To::Server(server) => out.field("server", server),
            To::Custom(_) => out.field("server", &"chosen by a function"),
        };
        out.field("no_proxy", &self.no_proxy)
            .field("tunnels", &self.tunnels)
            .field("filters_addresses", &self.filters_addresses)
            .finish_non_exhaustive()
    }
}

/// Proxies of a client or of a request. If the list is empty, every request goes to its origin directly.
#[derive(Clone, Default)]
pub(crate) struct Proxies(Option<Arc<[Rule]>>);

#[derive(Clone)]
struct Rule {
    intercepts: Intercepts,
    server: Server,
    no_proxy: Option<NoProxy>,
    tunnels: bool,
    /// Whether the proxy may be asked for names although the client has an address filter.
    filters_addresses: bool,
    /// Whether the rule comes from the environment or from the system's settings. Such a rule does not apply to hosts
    /// of this machine.
    is_of_environment: bool,
}

#[derive(Clone)]
enum Server {
    Known(Arc<ProxyServer>),
    Chosen(Arc<Custom>),
    /// The value of this environment variable or setting is not the URL of a proxy, for this reason.
    Invalid(Arc<str>, Arc<Error>),
}

/// Facts of a request on which the choice of a proxy depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) is_https: bool,
    /// Host as in a URI.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Filter of the addresses to which connections may lead. `None` allows all addresses.
    pub(crate) filter: Option<&'a AddressFilter>,
}

impl Wanted<'_> {
    /// Checks with the address filter that the proxy may be asked for the host.
    ///
    /// # Errors
    ///
    /// If the host is an address that the filter refuses, or a name whose addresses the filter cannot see.
    fn check(self, proxy: &ProxyServer, rule: &Rule) -> Result<()> {
        // The dial checks the addresses that the client looks up.
        let Some(filter) = self.filter.filter(|_| proxy.resolves_names()) else { return Ok(()) };
        let to = Destination::new(self.is_https, self.host, self.port);
        let message = match to.host().parse() {
            Ok(address) if filter.allows_address(&to, SocketAddr::new(address, self.port)) => return Ok(()),
            Ok(_) => format!("the address filter refuses the address of {:?}", to.host()),
            Err(_) if rule.filters_addresses => return Ok(()),
            Err(_) => {
                let advice = match rule.is_of_environment {
                    true => {
                        "call ClientBuilder::no_proxy, or give the proxy with ClientBuilder::proxy and call Proxy::filters_addresses if the proxy refuses addresses itself"
                    }
                    false => "call Proxy::filters_addresses if the proxy refuses addresses itself",
                };
                let host = to.host();
                format!(
                    "the address filter cannot see the addresses of {host:?}, because the proxy {proxy} looks the name up: {advice}"
                )
            }
        };
        Err(Error::new(ErrorKind::AddressRefused, message).in_phase(Phase::Proxy))
    }
}

impl Proxies {
    /// No proxies.
    pub(crate) const NONE: Self = Self(None);

    /// Returns the proxies that the environment names, and with the feature `system-proxy` those of the system's
    /// settings.
    pub(crate) fn of_environment() -> Self {
        let variables = environment::read(variable, cfg!(windows));
        #[cfg(feature = "system-proxy")]
        return Self::of_system(variables, super::system::read());
        #[cfg(not(feature = "system-proxy"))]
        Self::of_variables(variables)
    }

    /// Returns the proxies that the environment names. If the environment names no proxy for a scheme, returns the
    /// proxy of the system's settings for this scheme. If the environment lists hosts without a proxy, the list in the
    /// settings is ignored.
    #[cfg(feature = "system-proxy")]
    fn of_system(variables: Variables, system: System) -> Self {
        let listed = variables.no_proxy.as_deref().and_then(NoProxy::from_string);
        let no_proxy = listed.or(system.exceptions);
        let of_environment = Self::of_variables(variables).0;
        let mut rules: Vec<_> = of_environment.iter().flat_map(|rules| rules.iter().cloned()).collect();
        for (intercepts, url) in [(Intercepts::Http, system.http), (Intercepts::Https, system.https)] {
            if let Some(url) = url
                && rules.iter().all(|rule| rule.intercepts != intercepts)
            {
                let name = "the proxy in the settings of the system";
                rules.push(Rule::found(intercepts, &url, name, no_proxy.clone()));
            }
        }
        if rules.is_empty() { Self::NONE } else { Self(Some(rules.into())) }
    }

    fn of_variables(variables: Variables) -> Self {
        let Variables { http, https, no_proxy } = variables;
        let no_proxy = no_proxy.and_then(|list| NoProxy::from_string(&list));
        let rule = |intercepts, named: Option<(&'static str, String)>| {
            let (name, url) = named?;
            Some(Rule::found(intercepts, &url, &format!("the environment variable {name}"), no_proxy.clone()))
        };
        let rules = [rule(Intercepts::Http, http), rule(Intercepts::Https, https)];
        let rules: Vec<_> = rules.into_iter().flatten().collect();
        if rules.is_empty() { Self::NONE } else { Self(Some(rules.into())) }
    }

    /// Returns these proxies and one more, which is considered last.
    ///
    /// # Errors
    ///
    /// If a setting of the proxy is invalid.
    pub(crate) fn and(self, proxy: Proxy) -> Result<Self> {
        let rule = proxy.into_rule()?;
        let known = self.0.iter().flat_map(|rules| rules.iter().cloned());
        Ok(Self(Some(known.chain([rule]).collect())))
    }

    /// Whether no request goes through a proxy.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns how a request reaches its origin. The first rule that applies decides.
    ///
    /// # Errors
    ///
    /// If the proxy that the request should go through cannot be used, or if the address filter refuses the request.
    #[cold]
    pub(crate) fn choose(&self, wanted: Wanted<'_>) -> Result<Via> {
        for rule in self.0.iter().flat_map(|rules| rules.iter()) {
            if let Some(server) = rule.server_for(wanted)? {
                wanted.check(&server, rule)?;
                // The caller's CONNECT is for the URL's host, and not for the proxy.
                let is_tunnel = wanted.is_https
                    || rule.tunnels
                    || !server.kind().is_http()
                    || *wanted.method == Method::CONNECT;
                return Ok(if is_tunnel { Via::Tunnel(server) } else { Via::Forward(server) });
            }
        }
        Ok(Via::Direct)
    }
}

impl Rule {
    /// Returns the rule of a proxy that was found in the environment or in the system's settings. `name` says where.
    fn found(intercepts: Intercepts, url: &str, name: &str, no_proxy: Option<NoProxy>) -> Self {
        let server = match ProxyServer::parse(url) {
            Ok(server) => Server::Known(Arc::new(server)),
            Err(error) => Server::Invalid(name.into(), Arc::new(error)),
        };
        let (tunnels, filters_addresses) = (false, false);
        Self { intercepts, server, no_proxy, tunnels, filters_addresses, is_of_environment: true }
    }

    /// Returns the proxy for a request, or `None` if the rule does not apply.
    fn server_for(&self, wanted: Wanted<'_>) -> Result<Option<Arc<ProxyServer>>> {
        let is_of_scheme = match self.intercepts {
            Intercepts::Http => !wanted.is_https,
            Intercepts::Https => wanted.is_https,
            Intercepts::All => true,
        };
        let Wanted { host, port, .. } = wanted;
        // A final dot makes a name absolute, and does not change which host the name means.
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_spared = || {
            let is_listed = self.no_proxy.as_ref().is_some_and(|hosts| hosts.contains(host, port));
            is_listed || (self.is_of_environment && is_of_this_machine(host))
        };
        if !is_of_scheme || is_spared() {
            return Ok(None);
        }
        match &self.server {
            Server::Known(server) => Ok(Some(server.clone())),
            Server::Chosen(choose) => {
                choose(wanted.uri).transpose().map(|server| server.map(Arc::new)).map_err(|error| {
                    let message =
                        "the function of Proxy::custom returned a text that is not the URL of a usable proxy";
                    Error::new(ErrorKind::Proxy, message).in_phase(Phase::Proxy).because(error)
                })
            }
            Server::Invalid(name, error) => {
                let message = format!(
                    "{name} is not the URL of a proxy: correct the URL, or call ClientBuilder::no_proxy"
                );
                Err(Error::new(ErrorKind::Proxy, message).in_phase(Phase::Proxy).because(error.repeat()))
            }
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().flat_map(|rules| rules.iter())).finish()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.intercepts)?;
        match &self.server {
            Server::Known(server) => write!(f, "{server}"),
            Server::Chosen(_) => f.write_str("chosen by a function"),
            Server::Invalid(name, _) => f.write_str(name),
        }
    }
}

/// Whether a host is this machine. A proxy on another machine would connect to the proxy's machine instead. Go has such
/// a rule for `localhost` and loopback addresses.
fn is_of_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let start = host.len().saturating_sub("localhost".len());
            host.is_char_boundary(start)
                && host[start..].eq_ignore_ascii_case("localhost")
                && (start == 0 || host.as_bytes()[start - 1] == b'.')
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
