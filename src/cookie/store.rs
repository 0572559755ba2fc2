//! The cookies of a jar, and the rules by which they are stored, sent and removed.
//!
//! The rules are those of RFC 6265bis, sections 5.7 and 5.8. This module does no I/O, and the time is an argument, in seconds
//! from the beginning of 1970. Invariants: the number of cookies is limited, in total and for each site. A site is a
//! registrable domain, such as `example.co.uk`. All cookies of one site are in one list, so that a request looks at no
//! other cookies.

use std::collections::HashMap;

use super::domain::{default_path, domain_matches, is_public_suffix, path_matches, registrable};
use super::parse::{MOST_OF_ATTRIBUTE, SameSite, SetCookie};

/// The URL to which a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Host in its canonical form.
    pub(super) host: &'a str,
    /// Whether the host is a name, not an address.
    pub(super) is_name: bool,
    pub(super) path: &'a str,
    /// Whether the connection is secure: the scheme is https.
    pub(super) is_secure: bool,
}

/// A cookie of the jar.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) name: Box<str>,
    pub(super) value: Box<str>,
    pub(super) domain: Box<str>,
    /// Whether the cookie belongs to its domain alone, and not to names below the domain.
    pub(super) is_host_only: bool,
    pub(super) path: Box<str>,
    pub(super) is_secure: bool,
    pub(super) is_http_only: bool,
    /// Time at which the cookie ends, or `None` if it ends with the session.
    pub(super) expires: Option<i64>,
    /// Position in the order in which cookies were created.
    pub(super) created: u64,
    /// Position in the order in which cookies were last used.
    pub(super) used: u64,
}

/// Reason for which a cookie was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The host of the URL is not within the domain of the cookie.
    OtherDomain,
    PublicSuffix,
    /// The cookie has `Secure`, and the connection is not secure.
    Insecure,
    /// The cookie would replace or hide a cookie with `Secure`, and the connection is not secure.
    HidesSecure,
    /// The name has a prefix whose demands the cookie does not meet.
    Prefix,
    /// `SameSite=None` without `Secure`.
    SameSite,
    /// The host or the path of the URL is too long to be stored.
    TooLong,
}

/// The cookies of a jar.
#[derive(Default)]
pub(super) struct Store {
    sites: HashMap<Box<str>, Vec<Stored>>,
    length: usize,
    /// Number of times that cookies were stored or used.
    turn: u64,
}

impl Store {
    /// Stores a cookie that came with a response. If the new cookie has ended, only removes the earlier cookie.
    pub(super) fn set(&mut self, place: &Place<'_>, cookie: &SetCookie<'_>, now: i64) -> Result<(), Refused> {
        let (domain, is_host_only) = scope(place, cookie.domain)?;
        if cookie.is_secure && !place.is_secure {
            return Err(Refused::Insecure);
        }
        if !keeps_prefix(cookie, is_host_only) {
            return Err(Refused::Prefix);
        }
        if cookie.same_site == SameSite::None && !cookie.is_secure {
            return Err(Refused::SameSite);
        }
        let cookie = Stored {
            name: cookie.name.into(),
            value: cookie.value.into(),
            path: cookie.path.unwrap_or_else(|| default_path(place.path)).into(),
            domain: domain.into(),
            is_host_only,
            is_secure: cookie.is_secure,
            is_http_only: cookie.is_http_only,
            expires: end(cookie, now),
            created: 0,
            used: 0,
        };
        // The parser limits the attributes. This check limits the host and the path that come from the URL.
        if cookie.domain.len().max(cookie.path.len()) > MOST_OF_ATTRIBUTE {
            return Err(Refused::TooLong);
        }
        if !place.is_secure && !cookie.is_secure && self.hides_secure(&cookie, now) {
            return Err(Refused::HidesSecure);
        }
        self.insert(cookie, now);
        Ok(())
    }

    /// Whether a cookie would replace a cookie with `Secure`, or would be sent next to a cookie with `Secure` of the
    /// same name.
    fn hides_secure(&self, new: &Stored, now: i64) -> bool {
        self.sites.get(registrable(&new.domain)).into_iter().flatten().any(|old| {
            let is_related =
                domain_matches(&old.domain, &new.domain) || domain_matches(&new.domain, &old.domain);
            let is_hidden = old.name == new.name && is_related && path_matches(&new.path, &old.path);
            old.is_secure && is_hidden && !old.has_ended(now)
        })
    }

    /// Puts a cookie in the place of the cookie with the same name, domain and path. A cookie that has ended only removes
    /// that cookie.
    pub(super) fn insert(&mut self, mut new: Stored, now: i64) {
        self.turn += 1;
        (new.created, new.used) = (self.turn, self.turn);
        let site = registrable(&new.domain).to_owned();
        let cookies = self.sites.entry(site.as_str().into()).or_default();
        let old = cookies.iter().position(|old| {
            old.name == new.name
                && old.domain == new.domain
                && old.is_host_only == new.is_host_only
                && old.path == new.path
        });
        if let Some(at) = old {
            new.created = cookies.remove(at).created;
            self.length -= 1;
        }
        if !new.has_ended(now) {
            cookies.push(new);
            self.length += 1;
        }
        self.make_room(&site, now);
    }

    /// Removes cookies if there are too many. Cookies that have ended are removed first, and then the cookies that have
    /// not been used for longest. If one site has too many cookies, its cookies without `Secure` are removed before its
    /// cookies with `Secure`.
    fn make_room(&mut self, site: &str, now: i64) {
        if self.sites.get(site).is_some_and(|cookies| cookies.len() > MOST_PER_SITE) {
            self.retain(site, |cookie| !cookie.has_ended(now));
        }
        while let Some(cookies) = self.sites.get(site)
            && cookies.len() > MOST_PER_SITE
            && let Some(least) = cookies.iter().map(|cookie| (cookie.is_secure, cookie.used)).min()
        {
            self.retain(site, |cookie| (cookie.is_secure, cookie.used) != least);
        }
        if self.length > MOST {
            self.retain_everywhere(|cookie| !cookie.has_ended(now));
        }
        if self.length > MOST {
            // Many cookies are removed at once, so that the next cookies need no look at all other cookies.
            let mut uses: Vec<_> = self.sites.values().flatten().map(|cookie| cookie.used).collect();
            let (_, last, _) = uses.select_nth_unstable(REMOVED - 1);
            let last = *last;
            self.retain_everywhere(|cookie| cookie.used > last);
        }
        self.retain(site, |_| true);
    }

    /// Removes cookies of a site, and the site if no cookie remains.
    fn retain(&mut self, site: &str, is_kept: impl FnMut(&Stored) -> bool) {
        if let Some(cookies) = self.sites.get_mut(site) {
            self.length -= cookies.len();
            cookies.retain(is_kept);
            self.length += cookies.len();
            if cookies.is_empty() {
                self.sites.remove(site);
            }
        }
    }

    fn retain_everywhere(&mut self, is_kept: impl Fn(&Stored) -> bool) {
        self.sites.retain(|_, cookies| {
            cookies.retain(&is_kept);
            !cookies.is_empty()
        });
        self.length = self.sites.values().map(Vec::len).sum();
    }

    /// Returns the value of the `Cookie` field of a request, or `None` if no cookie belongs to the request. Removes cookies
    /// of the site that have ended.
    pub(super) fn field(&mut self, place: &Place<'_>, now: i64) -> Option<String> {
        let site = registrable(place.host);
        if self.sites.get(site)?.iter().any(|cookie| cookie.has_ended(now)) {
            self.retain(site, |cookie| !cookie.has_ended(now));
        }
        self.turn += 1;
        let turn = self.turn;
        let mut found: Vec<_> =
            self.sites.get_mut(site)?.iter_mut().filter(|cookie| cookie.belongs_to(place)).collect();
        found.sort_by_key(|cookie| (usize::MAX - cookie.path.len(), cookie.created));
        let mut field = String::new();
        for cookie in found {
            let equals = if cookie.name.is_empty() { "" } else { "=" };
            let separator = if field.is_empty() { "" } else { "; " };
            let size = separator.len() + cookie.name.len() + equals.len() + cookie.value.len();
            if field.len() + size > MOST_OF_FIELD {
                break;
            }
            cookie.used = turn;
            [separator, &cookie.name, equals, &cookie.value].iter().for_each(|part| field.push_str(part));
        }
        (!field.is_empty()).then_some(field)
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Returns all cookies that have not ended, in the order in which they were created.
    pub(super) fn in_order(&self, now: i64) -> Vec<&Stored> {
        let mut all: Vec<_> = self.sites.values().flatten().filter(|cookie| !cookie.has_ended(now)).collect();
        all.sort_by_key(|cookie| cookie.created);
        all
    }
}

impl Stored {
    fn has_ended(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether the cookie is sent with a request.
    fn belongs_to(&self, place: &Place<'_>) -> bool {
        let is_in_domain = *self.domain == *place.host
            || !self.is_host_only && place.is_name && domain_matches(place.host, &self.domain);
        is_in_domain && path_matches(place.path, &self.path) && (place.is_secure || !self.is_secure)
    }

    /// Whether the rules for the domain and the name of a cookie allow the cookie. These rules do not depend on the
    /// connection.
    pub(super) fn is_allowed(&self, is_name: bool) -> bool {
        let place = Place { host: &self.domain, is_name, path: "/", is_secure: true };
        let domain = (!self.is_host_only).then_some(&*self.domain);
        let pair = SetCookie {
            path: Some(&self.path),
            is_secure: self.is_secure,
            ..SetCookie { name: &self.name, value: &self.value, ..SetCookie::default() }
        };
        scope(&place, domain).is_ok_and(|(_, is_host_only)| {
            is_host_only == self.is_host_only && keeps_prefix(&pair, is_host_only)
        })
    }
}

/// Returns the domain of a cookie, and whether the cookie belongs to this domain alone.
fn scope(place: &Place<'_>, domain: Option<&str>) -> Result<(String, bool), Refused> {
    let domain = domain.unwrap_or_default().to_ascii_lowercase();
    if domain.is_empty() {
        return Ok((place.host.to_owned(), true));
    }
    // An address has no subdomains: https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.1.3.
    if !place.is_name || domain.starts_with('.') || !domain_matches(place.host, &domain) {
        return Err(Refused::OtherDomain);
    }
    if is_public_suffix(&domain) || registrable(place.host) != registrable(&domain) {
        return if domain == place.host { Ok((domain, true)) } else { Err(Refused::PublicSuffix) };
    }
    Ok((domain, false))
}

/// Whether a cookie meets the demands of the prefix of its name. A cookie without a name must not imitate a prefix.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.4>. Whitespace before a prefix makes no
/// difference, because some servers remove whitespace of any kind.
fn keeps_prefix(cookie: &SetCookie<'_>, is_host_only: bool) -> bool {
    let has = |text: &str, prefix: &str| {
        let start = text.trim_start().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if cookie.name.is_empty() {
        return !has(cookie.value, "__Secure-") && !has(cookie.value, "__Host-");
    }
    if has(cookie.name, "__Host-") {
        return cookie.is_secure && is_host_only && cookie.domain.is_none() && cookie.path == Some("/");
    }
    !has(cookie.name, "__Secure-") || cookie.is_secure
}

/// Returns the time at which a cookie ends, at most 400 days from now.
fn end(cookie: &SetCookie<'_>, now: i64) -> Option<i64> {
    let latest = now.saturating_add(LONGEST);
    match cookie.max_age {
        Some(seconds) if seconds <= 0 => Some(i64::MIN),
        Some(seconds) => Some(now.saturating_add(seconds).min(latest)),
        None => cookie.expires.map(|expires| expires.min(latest)),
    }
}

/// Largest number of cookies in a jar.
const MOST: usize = 3_300;

/// Number of cookies that are removed when a jar has too many.
const REMOVED: usize = 300;

/// Largest number of cookies of one site.
const MOST_PER_SITE: usize = 180;

/// Largest number of bytes in a `Cookie` field. Many servers refuse larger fields.
const MOST_OF_FIELD: usize = 8_190;

/// Longest lifetime of a cookie in seconds: 400 days.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.5>.
pub(super) const LONGEST: i64 = 400 * 86_400;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
