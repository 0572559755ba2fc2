//! HTTP/1.1 as bytes: this module writes requests, reads responses, and tells whether the connection can be used again.
//!
//! The codec knows no socket, no clock and no runtime. The codec depends only on `bytes`, `http` and `httparse`. One
//! [`Machine`] serves one exchange, which is one request and its response. A machine consists of two halves and one
//! verdict:
//!
//! ```text
//!      send half                          receive half                       verdict
//!
//!   Head --> Body --> Done             Head --> Body --> Done        both Done, buffer empty, and
//!     |        |                        ^ |                          no CloseReason  --> Reuse
//!     +--------+----> Aborted           +-+ 1xx                      otherwise       --> Close(reasons)
//! ```
//!
//! Invariants: every method is total. Any bytes end in events or in one [`ProtocolError`], and never in a panic. The
//! codec allocates nothing in proportion to a number that the server only announces. The outcome of a complete section,
//! and the outcome at the end of the input, do not depend on how the bytes were split. Depending on the split, an error
//! in an incomplete section may be found earlier or later.
//!
//! The page on the [requirements of the RFCs](crate::manual::requirements) names the proof of each rule that the codec
//! follows. The pages on [internals](crate::manual::internals) and [where to look](crate::manual::where_to_look) explain
//! how the crate uses the codec.
//!
//! # The joint table
//!
//! The meaning of each pair of states of the two halves, and the verdict that [`Machine::verdict`] returns for the pair:
//!
//! | send, receive | Head                         | Body                       | Done                             |
//! |---------------|------------------------------|----------------------------|----------------------------------|
//! | **Head**      | idle; bytes of the server are an error | impossible       | impossible                       |
//! | **Body**      | uploading: `Unfinished`      | early response: `Unfinished` | `Close`: the upload is unfinished |
//! | **Done**      | waiting: `Unfinished`        | downloading: `Unfinished`  | `Reuse`, or `Close` if there are reasons |
//! | **Aborted**   | a response may still come: `Unfinished`; `Close` if the head was never encoded | `Unfinished`; impossible if the head was never encoded | `Close` |
//!
//! After a [`ProtocolError`] the verdict is `Close` in every cell.
//!
//! *Tunnels.* After a 101, and after a 2xx to CONNECT, *Done* of the receive half means that the tunnel begins. The
//! bytes that follow belong to the tunnel and are no surplus. The verdict is `Close` with [`CloseReason::Upgrade`] or
//! [`CloseReason::Tunnel`]. A 101 is accepted only after the whole request was sent, and only for a protocol that the
//! request offered. A 101 ends the receive half, so that the arrow `1xx` in the picture does not cover a 101.
//!
//! *Uploads.* In *Body*, [`Machine::expects_continue`] says whether the caller should wait for the server before sending
//! the body. After an early response, [`Machine::may_send_body`] says whether the caller should continue the upload.
//!
//! # The files
//!
//! Each file imports only files of earlier lines:
//!
//! ```text
//! error  limits  close  shown  field_map  unasked       values that know no other file
//! grammar                                               tokens, lists, field values, numbers, line ends
//! framing  names  trailers  upgrade  target  spelling   one rule or one part of a message each
//! lenient                                               field lines that depart from the grammar
//! request  response                                     the heads, as the caller sees them
//! fields  head  event                                   rules of request fields; response heads are read; parts of a response
//! encode  chunked                                       request heads are written; chunks, both ways
//! machine                                               one exchange
//! ```
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
//! // Send the head and each piece of the body. encode_data writes the framing before a piece and returns the framing after it.
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
//! // Receive: append the bytes that arrive, and decode until the machine needs more bytes.
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
mod event;
mod field_map;
mod fields;
mod framing;
mod grammar;
mod head;
#[cfg(test)]
mod head_tests;
mod lenient;
#[cfg(test)]
mod lenient_tests;
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
mod spelling;
mod target;
#[cfg(test)]
mod tests;
mod trailers;
mod unasked;
mod upgrade;

pub use close::{CloseReason, CloseReasons};
pub use error::{Misuse, ProtocolError};
pub use event::Event;
pub(crate) use field_map::FieldMap;
pub use framing::{BodyLength, Framing};
pub use head::KeepAlive;
pub use limits::{Leniency, Limits};
pub use machine::{Machine, Verdict};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use spelling::Spelling;
pub use target::Target;
pub(crate) use unasked::{MOST_LINE_ENDS, Unasked, unasked_status};
