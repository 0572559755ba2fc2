//! Stand-in for decoded content when no content coding has its feature. Nothing is decoded.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Body;
use super::coding::Coding;
use super::received::AnsweredRequest;
use crate::error::{Result, Written};
use crate::exchange::timeout::Deadline;
use crate::record::Measured;

impl Body {
    /// Returns the body: no coding can be removed.
    pub(crate) fn decoded(self, _: &[Coding], _: Option<Deadline>, _: Written, _: Measured) -> Self {
        self
    }

    /// Returns the body.
    #[allow(clippy::needless_pass_by_value, reason = "as in decoded.rs")]
    pub(crate) fn refused(self, _: String, _: Written, _: Measured) -> Self {
        self
    }
}

/// Decoded content. No value of this type exists.
pub(super) enum Decoded {}

impl Decoded {
    #[allow(clippy::needless_pass_by_ref_mut, clippy::needless_pass_by_value, reason = "as in decoded.rs")]
    pub(super) fn set_request(&mut self, _: AnsweredRequest) {
        match *self {}
    }

    pub(super) fn source(&self) -> &Body {
        match *self {}
    }

    pub(super) fn source_mut(&mut self) -> &mut Body {
        match *self {}
    }

    pub(super) fn is_over(&self) -> bool {
        match *self {}
    }

    #[allow(clippy::needless_pass_by_ref_mut, reason = "as in decoded.rs")]
    pub(super) fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match *self {}
    }
}
