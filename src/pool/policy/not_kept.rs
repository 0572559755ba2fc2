//! Hosts whose connections are not kept for a while. Some hosts close every connection after one response without
//! announcing the close, which costs each request a retry. Other hosts send unsolicited bytes, which may be taken for
//! the next response.
//!
//! Invariant: the connections of a host are kept once one of these connections has answered twice, unless the host
//! sends unsolicited bytes.

use std::time::{Duration, Instant};

use super::Policy;
use super::actions::Served;
use super::hosts::Suspicion;
use super::kinds::Kinds;
use super::places::{HostId, Place};
use super::reasons::DropReason;

impl<K: Kinds> Policy<K> {
    /// Notes why a connection of the host was closed.
    pub(crate) fn note_end(&mut self, place: Place, served: Served, reason: DropReason, now: Instant) {
        let Some(most) = self.limits.not_kept_after else { return };
        // Unsolicited bytes that arrive with a response are harmless, because the connection is closed. Unsolicited bytes
        // on an idle connection may be read as the next response.
        if reason == DropReason::Unsolicited && served.answered > 0 && !served.is_answered {
            self.note_unasked(place, now);
        }
        let host = self.hosts.host_mut(place.host);
        match (reason, served.answered) {
            (DropReason::PeerClosed | DropReason::Unsolicited, 1) => {
                host.short_lived = host.short_lived.saturating_add(1);
                if host.short_lived >= most {
                    // When `NOT_KEPT` is over, one more short-lived connection is enough to suspect the host again.
                    host.short_lived = most.saturating_sub(1);
                    host.not_kept_until = now.checked_add(NOT_KEPT);
                    if host.suspicion == Suspicion::None {
                        host.suspicion = Suspicion::ShortLived;
                    }
                }
            }
            (_, 2..) => self.note_success(place, served),
            _ => {}
        }
    }

    /// Notes that the host sent unsolicited bytes on an idle connection, or an answer that came too soon.
    pub(super) fn note_unasked(&mut self, place: Place, now: Instant) {
        let Some(most) = self.limits.not_kept_after else { return };
        let host = self.hosts.host_mut(place.host);
        let is_old = host.unasked_at.is_some_and(|at| now.saturating_duration_since(at) > FORGOTTEN);
        if is_old {
            (host.unasked, host.suspicion) = (0, Suspicion::None);
        }
        host.unasked = host.unasked.saturating_add(1);
        host.unasked_at = Some(now);
        if host.unasked >= most {
            host.unasked = most.saturating_sub(1);
            host.not_kept_until = now.checked_add(NOT_KEPT);
            host.suspicion = Suspicion::Talks;
        }
    }

    /// Notes that a connection of the host came back and can be reused.
    pub(super) fn note_success(&mut self, place: Place, served: Served) {
        if served.answered > 1 {
            let host = self.hosts.host_mut(place.host);
            host.short_lived = 0;
            if host.suspicion == Suspicion::ShortLived {
                host.suspicion = Suspicion::None;
            }
        }
    }

    /// Whether connections of the host are closed after each response at the time `now`.
    pub(super) fn is_not_kept(&self, host_id: HostId, now: Instant) -> bool {
        let host = self.hosts.host(host_id);
        host.suspicion != Suspicion::None && host.not_kept_until.is_some_and(|until| now < until)
    }
}

/// Time for which the connections of a suspected host are not kept.
const NOT_KEPT: Duration = Duration::from_secs(60);

/// Time without unsolicited bytes after which the earlier unsolicited bytes of a host are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[cfg(test)]
#[path = "not_kept_tests.rs"]
mod tests;
