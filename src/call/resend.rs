//! The decision whether a request is sent again after an attempt, as one pure function and one table.
//!
//! A request is sent again for two reasons. The first reason is that a server may close an idle connection at the very
//! moment at which a request is sent on this connection. As far as anyone can tell, the server has never seen the
//! request. Sending the request again makes reuse safe, and is not a retry policy. The second reason is that a server
//! may refuse an expectation with a 417. The request is sent again without the expectation.
//!
//! This module knows nothing of sockets. Invariants: [`Decision::Repeat`] never follows an attempt on a new connection.
//! A request on which the server may have acted is repeated only if the repetition does no harm. A request is repeated
//! at most once.

use http::{HeaderMap, Method};

use crate::error::Written;

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was closed or reset. Neither a close nor a reset tells whether the server acted on the request.
    Lost,
    /// Bytes came before the request head was written. These bytes do not answer the request.
    Premature,
    /// The first byte of an answer came too soon on a reused connection, so that it answers an earlier request.
    TooSoon,
    /// The server answered 408 and closes the connection, because no request had come while the connection was idle.
    RequestTimeout,
    /// The server answered 417.
    ExpectationFailed {
        /// Whether the request has an expectation.
        is_expected: bool,
        /// Whether nothing beyond the request head was written.
        is_head_alone: bool,
        /// Whether the response was HTTP/1.0.
        is_http10: bool,
    },
    /// The server answered with any other status.
    Answered,
    /// The attempt failed in any other way: a deadline passed, the server broke the protocol, or the request's body
    /// failed.
    Failed,
}

/// All facts about an attempt on which the decision depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) end: End,
    /// Whether the connection had been used or idle before the attempt.
    pub(crate) is_reused: bool,
    /// Whether the request was sent again before this attempt.
    pub(crate) is_repeated: bool,
    /// Amount of the request that was written.
    pub(crate) written: Written,
    /// Whether a byte of a response was seen. A byte of an interim response also counts.
    pub(crate) is_answered: bool,
    /// Whether the body can be sent from its start again.
    pub(crate) is_replayable: bool,
    /// Whether sending the request twice has the effect of sending it once.
    pub(crate) is_idempotent: bool,
    /// Whether the request is bound to the connection of the attempt, because the caller has reserved the connection.
    pub(crate) is_pinned: bool,
}

/// The decision about the request after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The attempt decides the call: its response or its error goes to the caller.
    Done,
    /// The request is sent again as it is.
    Repeat,
    /// The request is sent again without its expectation. If `as_http10` is true, the request is prepared as for a
    /// server that speaks HTTP/1.0.
    WithoutExpectation { as_http10: bool },
}

/// Decides what follows an attempt.
#[inline]
pub(crate) fn decide(facts: &Facts) -> Decision {
    match facts.end {
        _ if facts.is_pinned => Decision::Done,
        // > A client that receives a 417 (Expectation Failed) status code in response to a request containing a
        // > 100-continue expectation SHOULD repeat that request without a 100-continue expectation
        // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>. If content was sent, the request is repeated only if
        // it is idempotent, because the server may have acted on that content.
        End::ExpectationFailed { is_expected: true, is_head_alone, is_http10 }
            if facts.is_replayable && (facts.is_idempotent || is_head_alone) =>
        {
            Decision::WithoutExpectation { as_http10: is_http10 }
        }
        _ if is_repeated_after(facts) => Decision::Repeat,
        _ => Decision::Done,
    }
}

#[inline]
fn is_repeated_after(facts: &Facts) -> bool {
    if !facts.is_reused || facts.is_repeated || !facts.is_replayable {
        return false;
    }
    match facts.end {
        End::ExpectationFailed { .. } | End::Answered | End::Failed => false,
        End::Lost | End::Premature if facts.written == Written::Nothing => true,
        End::Lost => facts.is_idempotent && !facts.is_answered,
        End::RequestTimeout | End::Premature | End::TooSoon => facts.is_idempotent,
    }
}

/// Whether sending the request twice has the effect of sending it once. This follows from the method
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2>) or from an `Idempotency-Key` field.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOLS: [bool; 2] = [false, true];

    /// Returns all ends of an attempt: a 417 in each of its 8 forms, and the 6 other ends.
    fn ends() -> Vec<End> {
        let mut ends =
            vec![End::Lost, End::Premature, End::TooSoon, End::RequestTimeout, End::Answered, End::Failed];
        for is_expected in BOOLS {
            for is_head_alone in BOOLS {
                for is_http10 in BOOLS {
                    ends.push(End::ExpectationFailed { is_expected, is_head_alone, is_http10 });
                }
            }
        }
        ends
    }

    /// Returns the decision according to a list of all rows in which a request is sent again.
    fn by_the_list(facts: &Facts) -> Decision {
        let Facts {
            end,
            is_reused,
            is_repeated,
            written,
            is_answered,
            is_replayable,
            is_idempotent,
            is_pinned,
        } = *facts;
        if is_pinned {
            return Decision::Done;
        }
        match (end, is_replayable, is_reused && !is_repeated) {
            (End::ExpectationFailed { is_expected: true, is_head_alone, is_http10 }, true, _)
                if is_idempotent || is_head_alone =>
            {
                Decision::WithoutExpectation { as_http10: is_http10 }
            }
            (End::Lost, true, true) if written == Written::Nothing || (is_idempotent && !is_answered) => {
                Decision::Repeat
            }
            (End::RequestTimeout | End::TooSoon, true, true) if is_idempotent => Decision::Repeat,
            (End::Premature, true, true) if written == Written::Nothing || is_idempotent => Decision::Repeat,
            _ => Decision::Done,
        }
    }

    #[test]
    fn the_decision_equals_the_list_in_every_row() {
        let mut rows = 0;
        for end in ends() {
            for written in [Written::Nothing, Written::Partly, Written::All] {
                for bits in 0..64 {
                    let [is_reused, is_repeated, is_answered, is_replayable, is_idempotent, is_pinned] =
                        [0, 1, 2, 3, 4, 5].map(|bit| bits & (1 << bit) != 0);
                    let facts = Facts {
                        end,
                        is_reused,
                        is_repeated,
                        written,
                        is_answered,
                        is_replayable,
                        is_idempotent,
                        is_pinned,
                    };
                    assert_eq!(decide(&facts), by_the_list(&facts), "row {rows}: {facts:?}");
                    rows += 1;
                }
            }
        }
        assert_eq!(rows, 14 * 3 * 64);
    }

    #[test]
    fn only_an_idempotency_key_makes_a_post_idempotent() {
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
