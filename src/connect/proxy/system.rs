//! The proxies in the settings of Windows and macOS.
//!
//! This file does no I/O: `system/windows.rs` and `system/macos.rs` read the settings, each on its own system, and this
//! file is compiled on all systems. Invariant: a proxy is taken only from a setting that is switched on.

#[cfg(target_os = "macos")]
mod macos;
#[cfg_attr(not(target_os = "macos"), allow(dead_code, reason = "the settings of another system"))]
mod plist;
#[cfg(windows)]
mod windows;

use super::no_proxy::NoProxy;

/// The proxies that the settings of the system name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct System {
    /// URL of the proxy for http URLs.
    pub(super) http: Option<String>,
    /// URL of the proxy for https URLs.
    pub(super) https: Option<String>,
    /// Hosts without a proxy.
    pub(super) exceptions: Option<NoProxy>,
}

/// Reads the settings of the system. Names no proxy on other systems than macOS and Windows.
pub(super) fn read() -> System {
    #[cfg(target_os = "macos")]
    return macos::read().unwrap_or_default();
    #[cfg(windows)]
    return windows::read().unwrap_or_default();
    #[cfg(not(any(target_os = "macos", windows)))]
    System::default()
}

impl System {
    /// Returns the proxies that the values `ProxyServer` and `ProxyOverride` of Windows name.
    ///
    /// `ProxyServer` is one proxy for all URLs, such as `host:port`, or has one proxy for each scheme, such as
    /// `http=host:port;https=host:port;socks=host:port`. The proxy for `socks` serves the schemes without a proxy of
    /// their own. Windows uses SOCKS4 with this proxy. `ProxyOverride` has patterns of hosts, and `<local>` for names
    /// without a dot.
    #[cfg_attr(not(windows), allow(dead_code, reason = "the settings of another system"))]
    pub(super) fn of_windows(server: &str, exceptions: &str) -> Self {
        let is_between = |char: char| char == ';' || char.is_ascii_whitespace();
        let entries = || server.split(is_between).filter(|entry| !entry.is_empty());
        let of_scheme = |scheme: &str| {
            let own = entries().filter_map(|entry| entry.split_once('='));
            let mut own = own.filter(|(name, _)| name.eq_ignore_ascii_case(scheme));
            own.next().map(|(_, url)| url.to_owned()).filter(|url| !url.is_empty())
        };
        let for_all = || entries().find(|entry| !entry.contains('=')).map(str::to_owned);
        let socks = || {
            let url = of_scheme("socks")?;
            Some(if url.contains("://") { url } else { format!("socks4://{url}") })
        };
        let find = |scheme| of_scheme(scheme).or_else(for_all).or_else(socks);
        let patterns = exceptions.split(is_between);
        let spares_simple = patterns.clone().any(|pattern| pattern.eq_ignore_ascii_case("<local>"));
        let exceptions = NoProxy::of_patterns(patterns, spares_simple);
        Self { http: find("http"), https: find("https"), exceptions }
    }

    /// Returns the proxies that the dictionary of macOS names. The dictionary is a property list in XML.
    ///
    /// The keys are those of `SCSchemaDefinitions.h`. A SOCKS proxy serves the schemes without a proxy of their own,
    /// and looks names up as an HTTP proxy does.
    #[cfg_attr(not(target_os = "macos"), allow(dead_code, reason = "the settings of another system"))]
    fn of_macos(dictionary: &str) -> Self {
        let values = plist::read(dictionary);
        let text =
            |key: &str| values.get(key)?.first().map(|text| text.trim()).filter(|text| !text.is_empty());
        let is_on = |key: &str| text(key) == Some("1");
        let proxy = |name: &str, scheme: &str| {
            let host = text(&format!("{name}Proxy")).filter(|_| is_on(&format!("{name}Enable")))?;
            let host = match host.contains(':') && !host.starts_with('[') {
                true => format!("[{host}]"),
                false => host.to_owned(),
            };
            Some(match text(&format!("{name}Port")) {
                Some(port) => format!("{scheme}{host}:{port}"),
                None => format!("{scheme}{host}"),
            })
        };
        let socks = || proxy("SOCKS", "socks5h://");
        let patterns = values.get("ExceptionsList").map(Vec::as_slice).unwrap_or_default();
        let patterns = patterns.iter().map(String::as_str);
        Self {
            http: proxy("HTTP", "http://").or_else(socks),
            https: proxy("HTTPS", "http://").or_else(socks),
            exceptions: NoProxy::of_patterns(patterns, is_on("ExcludeSimpleHostnames")),
        }
    }
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
