//! Failures of this process, such as a lack of descriptors, memory, ports or a network, which say nothing about the host.
//!
//! This file uses error types only.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

/// Kind of resource that this process lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Descriptors, buffers or memory.
    Resource,
    /// A network, or a local address from which the peer can be reached.
    Network,
}

/// Returns the resource that this process lacks, if the operation failed because of this lack.
pub(super) fn shortage(error: &io::Error) -> Option<Shortage> {
    match error.kind() {
        io::ErrorKind::OutOfMemory => return Some(Shortage::Resource),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            return Some(Shortage::Network);
        }
        _ => {}
    }
    error.raw_os_error().filter(|code| EXHAUSTED.contains(code)).map(|_| Shortage::Resource)
}

/// Whether an error or one of its causes says that this process lacks a resource.
pub(super) fn is_shortage(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        let io = io.or_else(|| error.downcast_ref::<Arc<io::Error>>().map(|error| &**error));
        // The source of an `io::Error` is not the error that the `io::Error` wraps, so this function checks the source
        // and the wrapped error.
        let wrapped = io.and_then(io::Error::get_ref);
        if io.is_some_and(|io| shortage(io).is_some()) || wrapped.is_some_and(|inner| is_shortage(inner)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The codes EMFILE, ENFILE and ENOBUFS, for which std has no kinds.
#[cfg(any(target_os = "linux", target_os = "android"))]
const EXHAUSTED: [i32; 3] = [24, 23, 105];
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const EXHAUSTED: [i32; 3] = [24, 23, 55];
/// The codes WSAEMFILE and WSAENOBUFS, for which std has no kinds.
#[cfg(not(unix))]
const EXHAUSTED: [i32; 2] = [10_024, 10_055];

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_shortage_differs_from_a_failure_of_the_peer() {
        // ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ENOBUFS
        for code in [12, 23, 24, 99, 100, 101, 105] {
            let error = io::Error::from_raw_os_error(code);
            assert!(shortage(&error).is_some(), "{error}");
            let error = Arc::new(error);
            assert!(is_shortage(&error), "shared");
            let wrapped = io::Error::other(io::Error::from_raw_os_error(code));
            assert!(is_shortage(&io::Error::other(wrapped)), "wrapped twice");
        }
        // EPIPE, ECONNRESET, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH
        for code in [32, 104, 110, 111, 113] {
            let error = io::Error::from_raw_os_error(code);
            assert!(shortage(&error).is_none() && !is_shortage(&io::Error::other(error)));
        }
    }
}
