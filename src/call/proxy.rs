//! The proxy or the unix socket of a hop: the choice, and the parts of the request head that are meant for the proxy.
//!
//! This module does no I/O. Invariants: the fields of a proxy are added to the head of one attempt, and never to the
//! fields of the request, so that no redirect and no other origin gets them. A client with proxies sends
//! `Proxy-Authorization` to proxies only. A client without proxies keeps the head of a request unchanged.

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Method, Uri};

use super::{Environment, RequestTarget, Settings};
use crate::codec::Target;
use crate::connect::{Via, Wanted, Ways};
use crate::error::{Error, Result};
use crate::pool::key::RouteRef;

/// Returns how a request reaches its origin: directly, through a proxy that forwards the request, or through a tunnel.
///
/// If the client or the request has proxies, but the request goes to its origin without one, `Proxy-Authorization` is
/// removed from `headers`, because this field is meant for a proxy:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-11.7.2>. A CONNECT and a request with an absolute target keep the
/// field, because the caller has made them for a proxy. Without any proxy the field stays, because the server may be a
/// proxy.
///
/// # Errors
///
/// If the proxy that the request should go through cannot be used, if the address filter refuses the request, or if the
/// request has both a proxy and a unix socket.
#[inline]
pub(super) fn choose(
    env: &Environment,
    settings: &Settings,
    method: &Method,
    uri: &Uri,
    route: RouteRef<'_>,
    headers: &mut HeaderMap,
) -> Result<Via> {
    if settings.ways.is_empty() && env.request.ways.is_empty() {
        return Ok(Via::Direct);
    }
    choose_proxy(env, settings, method, uri, route, headers)
}

/// Returns how a request reaches its origin if the client or the request names a proxy or a unix socket.
#[cold]
fn choose_proxy(
    env: &Environment,
    settings: &Settings,
    method: &Method,
    uri: &Uri,
    route: RouteRef<'_>,
    headers: &mut HeaderMap,
) -> Result<Via> {
    let (is_https, host, port) = (route.is_https(), route.host(), route.port());
    let filter = env.request.filter.as_ref();
    let (own, client) = (&settings.ways, &env.request.ways);
    let via = Ways::choose(own, client, Wanted { method, uri, is_https, host, port, filter })?;
    let is_for_proxy = *method == Method::CONNECT || matches!(settings.target, Some(RequestTarget::Absolute));
    let is_without_proxy = matches!(via, Via::Direct | Via::Unix(_));
    if is_without_proxy && !is_for_proxy && (own.has_proxies() || client.has_proxies()) {
        headers.remove(PROXY_AUTHORIZATION);
    }
    Ok(via)
}

/// Completes the fields of an attempt that goes through a proxy.
///
/// A proxy that forwards the request gets the fields of its settings, except for fields that the caller has set. A
/// request through a tunnel loses the caller's `Proxy-Authorization`, because this field is for a proxy and not for the
/// origin: <https://www.rfc-editor.org/rfc/rfc9110#section-11.7.2>. A CONNECT of the caller keeps the field, because
/// the server at the end of the tunnel is then another proxy.
///
/// # Errors
///
/// If there are too many fields.
pub(super) fn complete(via: &Via, method: &Method, headers: &mut HeaderMap) -> Result<()> {
    match via {
        Via::Direct | Via::Unix(_) => {}
        Via::Tunnel(_) if *method == Method::CONNECT => {}
        Via::Tunnel(_) => {
            headers.remove(PROXY_AUTHORIZATION);
        }
        Via::Forward(proxy) => {
            let own: Vec<_> =
                proxy.fields().keys().filter(|name| !headers.contains_key(*name)).cloned().collect();
            for name in own {
                for value in proxy.fields().get_all(&name) {
                    if headers.try_append(name.clone(), value.clone()).is_err() {
                        return Err(Error::request("the request has too many header fields: send fewer"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Returns the target of a request. A proxy that forwards the request gets the whole URL:
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2>.
pub(super) fn target<'a>(via: Option<&Via>, target: Target<'a>, uri: &'a Uri) -> Target<'a> {
    match (via, target) {
        (Some(Via::Forward(_)), Target::Origin(_)) => Target::Absolute(uri),
        (Some(Via::Forward(_)), Target::Asterisk) => Target::AbsoluteAsterisk(uri),
        _ => target,
    }
}
