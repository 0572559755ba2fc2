//! Hosts that close every connection after one response, unasked: to keep theirs costs a retry each time.
//!
//! Invariant: a host whose connection has answered twice is kept.

use std::time::{Duration, Instant};

use super::Policy;
use crate::pool::action::Served;
use crate::pool::hosts::Place;
use crate::pool::stats::DropReason;

impl<K: Clone, T, W: Clone, P: Clone + PartialEq> Policy<K, T, W, P> {
    /// A connection of the host is closed.
    pub(super) fn note_end(&mut self, place: Place, served: Served, reason: DropReason, now: Instant) {
        let Some(most) = self.config.not_kept_after else { return };
        let host = self.hosts.host_mut(place.host);
        match (reason, served.answered) {
            (DropReason::PeerClosed, 1) => {
                host.short_lived = host.short_lived.saturating_add(1);
                if host.short_lived >= most {
                    // When the time is over, one more is enough.
                    host.short_lived = most.saturating_sub(1);
                    host.not_kept_until = now.checked_add(NOT_KEPT);
                    host.is_suspect = true;
                }
            }
            (_, 2..) => self.note_success(place, served),
            _ => {}
        }
    }

    /// A connection of the host comes back.
    pub(super) fn note_success(&mut self, place: Place, served: Served) {
        if served.answered > 1 {
            let host = self.hosts.host_mut(place.host);
            (host.short_lived, host.is_suspect) = (0, false);
        }
    }

    pub(super) fn is_not_kept(&self, slot: u32, now: Instant) -> bool {
        let host = self.hosts.host(slot);
        host.is_suspect && host.not_kept_until.is_some_and(|until| now < until)
    }
}

/// How long the host's connections are not kept then.
const NOT_KEPT: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "not_kept_tests.rs"]
mod tests;
