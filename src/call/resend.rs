//! Whether a request that got no answer is sent again, silently: one function, one table.
//!
//! This is the retry that makes reuse safe, not a retry policy: a server may close an idle connection at the very
//! moment at which a request is sent on it, and then the request was, as far as anyone can tell, never seen. It
//! knows nothing of sockets. Invariants: a request on a connection that was never reused is not sent again; nor is
//! one that the server may have acted on, unless repeating it does no harm; and each is sent again for this once.

use http::{HeaderMap, Method};

use crate::error::Written;

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was closed or reset. (Which of the two says nothing about what the server did.)
    Lost,
    /// The server answered 408 and closed: it had given up waiting for a request while the connection was idle.
    RequestTimeout,
    /// Bytes came before the request's head was written: they are no answer to it, and nothing behind them can be
    /// trusted to be.
    Premature,
    /// Anything else: a deadline, a breach of the protocol, a body that failed.
    Other,
}

/// All that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The connection had been used or idle before.
    pub(crate) reused: bool,
    /// The request had been sent again already.
    pub(crate) resent: bool,
    /// How much of the request was written.
    pub(crate) written: Written,
    /// A byte of a response was seen; a 1xx counts.
    pub(crate) answered: bool,
    /// The body can be sent from its start again (nothing of it was taken, or it is held in memory).
    pub(crate) replayable: bool,
    /// Sending the request twice does what sending it once does.
    pub(crate) idempotent: bool,
    pub(crate) end: End,
}

/// Whether the request is sent again, on a fresh connection.
pub(crate) fn is_resent(attempt: &Attempt) -> bool {
    if !attempt.reused || attempt.resent || !attempt.replayable {
        return false;
    }
    match attempt.end {
        End::Other => false,
        End::Lost | End::Premature if attempt.written == Written::Nothing => true,
        End::Lost => attempt.idempotent && !attempt.answered,
        End::RequestTimeout | End::Premature => attempt.idempotent,
    }
}

/// Whether sending the request twice does what sending it once does: by its method
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2>), or by an `Idempotency-Key`.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination, against the rule said the other way round: the list of what is resent.
    #[test]
    fn the_whole_table() {
        let bools = [false, true];
        let mut rows = 0;
        for reused in bools {
            for resent in bools {
                for written in [Written::Nothing, Written::Partly, Written::All] {
                    for answered in bools {
                        for replayable in bools {
                            for idempotent in bools {
                                for end in [End::Lost, End::RequestTimeout, End::Premature, End::Other] {
                                    let attempt = Attempt {
                                        reused,
                                        resent,
                                        written,
                                        answered,
                                        replayable,
                                        idempotent,
                                        end,
                                    };
                                    let expected = match (reused, resent, replayable, end) {
                                        (true, false, true, End::Lost) => {
                                            written == Written::Nothing || (idempotent && !answered)
                                        }
                                        (true, false, true, End::RequestTimeout) => idempotent,
                                        (true, false, true, End::Premature) => {
                                            written == Written::Nothing || idempotent
                                        }
                                        _ => false,
                                    };
                                    assert_eq!(is_resent(&attempt), expected, "row {rows}: {attempt:?}");
                                    rows += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(rows, 2 * 2 * 3 * 2 * 2 * 2 * 4);
    }

    #[test]
    fn a_post_is_sent_twice_only_by_the_callers_word() {
        let mut headers = HeaderMap::new();
        assert!(!is_idempotent(&Method::POST, &headers));
        assert!(!is_idempotent(&Method::PATCH, &headers));
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE]
        {
            assert!(is_idempotent(&method, &headers), "{method}");
        }
        headers.insert("idempotency-key", "1".parse().unwrap());
        assert!(is_idempotent(&Method::POST, &headers));
    }
}
