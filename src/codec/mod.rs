//! HTTP/1.1 as bytes: what to send for a request, and what the received bytes mean.
//!
//! The codec knows no socket, no clock and no runtime; it depends on `bytes`, `http` and `httparse` alone. One
//! [`Machine`] serves one exchange, and consists of two halves and one verdict:
//!
//! ```text
//!      send half                          receive half                       verdict
//!
//!   Head --> Body --> Done             Head --> Body --> Done        both Done, buffer empty, and
//!     |        |                        ^ |                          no CloseReason  --> Reuse
//!     +--------+----> Aborted           +-+ 1xx                      otherwise       --> Close(reasons)
//! ```
//!
//! Invariant: every method is total. Any bytes at all end in events or in one [`ProtocolError`], without a panic, and
//! without an allocation for a number that the peer merely claims. The outcome of a complete section, or at the end of
//! the input, is the same however the bytes are split; what is wrong in a section that goes on may be found sooner or
//! later.
//!
//! # The joint table
//!
//! What the two halves mean together, and what [`Machine::verdict`] says:
//!
//! | send, receive | Head                         | Body                       | Done                             |
//! |---------------|------------------------------|----------------------------|----------------------------------|
//! | **Head**      | idle; peer spoke first: error | cannot be                 | cannot be                        |
//! | **Body**      | uploading: `Unfinished`      | early response: `Unfinished` | `Close`, the upload is unfinished |
//! | **Done**      | waiting: `Unfinished`        | downloading: `Unfinished`  | `Reuse`, or `Close` if there are reasons |
//! | **Aborted**   | may still be answered: `Unfinished`; `Close` if the head was never encoded | the same, or cannot be | `Close` |
//!
//! After 101, and after a 2xx to CONNECT, *Done* of the receive half means that the tunnel begins: its bytes are no
//! surplus, and the verdict is `Close`, for [`CloseReason::Upgrade`] or [`CloseReason::Tunnel`]. A 101 is followed only
//! from *Done* of the send half, and only to a protocol that the request offered; it is not among the 1xx of the
//! picture. In *Body*, [`Machine::expects_continue`] says whether the body had better wait for the peer.
//!
//! On an early response, [`Machine::may_send_body`] says whether the upload is worth going on with.
//! After a [`ProtocolError`] the verdict is `Close` in every cell.
//!
//! # A whole exchange
//!
//! ```
//! use bytes::BytesMut;
//! use handclasp::codec::{BodyLength, Event, Limits, Machine, RequestHead, Target, Verdict};
//! use http::{HeaderMap, Method};
//!
//! let mut machine = Machine::new(Limits::default());
//!
//! // Send: the head, then each piece of the body between what encode_data writes and what it returns.
//! let (mut out, headers) = (BytesMut::new(), HeaderMap::new());
//! let mut request = RequestHead::new(&Method::POST, Target::Origin("/echo"), Some(b"example.com"), &headers);
//! request.body = BodyLength::Chunked;
//! machine.encode_head(&request, &mut out)?;
//! let after = machine.encode_data(5, &mut out)?;
//! out.extend_from_slice(b"hello");
//! out.extend_from_slice(after);
//! machine.encode_end(None, &mut out)?;
//! assert_eq!(
//!     out,
//!     "POST /echo HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
//! );
//!
//! // Receive: append what arrives, decode until it needs more.
//! let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Le");
//! assert!(machine.decode(&mut buf)?.is_none());
//! assert_eq!(machine.verdict(buf.len()), Verdict::Unfinished);
//! buf.extend_from_slice(b"ngth: 5\r\n\r\nhello");
//! while let Some(event) = machine.decode(&mut buf)? {
//!     match event {
//!         Event::Head(head) => assert_eq!(head.headers()["content-length"], "5"),
//!         Event::Data(data) => assert_eq!(data, "hello"),
//!         Event::End => break,
//!         other => panic!("{other:?}"),
//!     }
//! }
//! assert_eq!(machine.verdict(buf.len()), Verdict::Reuse);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunked;
mod close;
mod encode;
mod error;
mod field_map;
mod fields;
mod framing;
mod grammar;
mod head;
#[cfg(test)]
mod head_tests;
mod limits;
#[cfg(test)]
mod limits_tests;
mod machine;
#[cfg(test)]
mod machine_tests;
mod names;
#[cfg(test)]
#[path = "observe_tests.rs"]
mod observe;
mod request;
mod response;
pub(crate) mod shown;
mod target;
#[cfg(test)]
mod tests;
mod trailers;
mod unasked;
mod upgrade;

pub use close::{CloseReason, CloseReasons};
pub use error::{Misuse, ProtocolError};
pub(crate) use field_map::FieldMap;
pub use framing::{BodyLength, Framing};
pub use head::KeepAlive;
pub use limits::{Leniency, Limits};
pub use machine::{Event, Machine, Verdict};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use target::Target;
pub(crate) use unasked::{MOST_LINE_ENDS, Unasked, unasked_status};
