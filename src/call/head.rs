//! The request head: the fields that a client adds to every request, and the parts that the codec needs.
//!
//! This module does no I/O. Invariant: the client never replaces a field that the caller has set.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, EXPECT, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, Method, Uri};

use super::{Environment, RequestTarget, Settings};
use crate::body::Body;
use crate::codec::{BodyLength, Target};
use crate::error::{Error, Result};
use crate::pool::key::RouteRef;

/// Adds the client's default fields to the request head.
///
/// # Errors
///
/// If the request has too many fields or trailers.
pub(super) fn complete(env: &Environment, headers: &mut HeaderMap, body: &Body) -> Result<()> {
    if body.has_too_many_trailers() {
        return Err(Error::request("the request has too many trailers: send fewer"));
    }
    let defaults = &env.request.default_headers;
    let is_empty = matches!(body.length(), BodyLength::None | BodyLength::Known(0));
    for name in defaults.keys() {
        // The default `Expect` is not added to a request without content, because such a request has no content to hold
        // back.
        if has(headers, name) || (*name == EXPECT && is_empty) {
            continue;
        }
        for value in defaults.get_all(name) {
            if headers.try_append(name.clone(), value.clone()).is_err() {
                return Err(Error::request("the request has too many header fields: send fewer"));
            }
        }
    }
    Ok(())
}

/// The names from which a request's target and its Host field are made.
#[derive(Debug)]
pub(super) struct Names<'a> {
    route: RouteRef<'a>,
    uri: &'a Uri,
    target: Option<&'a RequestTarget>,
    /// Destination of the tunnel that CONNECT asks for.
    authority: Option<String>,
}

impl<'a> Names<'a> {
    #[inline]
    pub(super) fn new(method: &Method, uri: &'a Uri, route: RouteRef<'a>, settings: &'a Settings) -> Self {
        let authority = match &settings.target {
            Some(RequestTarget::Authority(authority)) => Some(authority.clone()),
            None if *method == Method::CONNECT => Some(route.host_and_port()),
            _ => None,
        };
        Self { route, uri, target: settings.target.as_ref(), authority }
    }

    /// Returns the request's target.
    #[inline]
    pub(super) fn target(&self) -> Target<'_> {
        match (self.target, &self.authority) {
            (_, Some(authority)) => Target::Authority(authority),
            (Some(RequestTarget::Absolute), _) => Target::Absolute(self.uri),
            (Some(RequestTarget::Asterisk), _) => Target::Asterisk,
            _ => Target::Origin(self.uri.path_and_query().map_or("/", |target| target.as_str())),
        }
    }

    /// Returns the value of the Host field.
    #[inline]
    pub(super) fn host(&self) -> Cow<'_, str> {
        self.authority.as_deref().map_or_else(|| self.route.host_field(), Into::into)
    }
}

/// Whether the request has NTLM or Negotiate credentials. A server applies such credentials to the whole connection.
pub(super) fn binds_connection(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| {
        (*name == AUTHORIZATION || *name == PROXY_AUTHORIZATION) && {
            let scheme = value.as_bytes().split(|&byte| byte == b' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        }
    })
}

/// Whether `headers` has a field of this name. For small maps a linear scan is faster than hashing.
#[inline]
pub(super) fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    if headers.len() <= 8 { headers.keys().any(|key| key == name) } else { headers.contains_key(name) }
}
