//! TLS over TCP. No other folder uses rustls.
//!
//! The other files of the crate use [`Tls`], which loads the configuration, [`Loaded`], which shakes hands, and
//! [`TlsStream`], which reads, writes, [looks](TlsStream::look) and closes. No type of rustls leaves the folder, except
//! through `rustls_0_23.rs`.
//! Without the feature `rustls`, `no_tls.rs` has the same names and refuses https, so that no other file needs a
//! `cfg`.
//!
//! | file | what it does | rustls types that it uses |
//! |---|---|---|
//! | `carrier.rs` | the stream below TLS: a TCP socket, or TLS with a proxy | none |
//! | `settings.rs` | holds and checks the settings | `CryptoProvider` |
//! | `certificate.rs` | reads root certificates and revocation lists | certificates (pki-types), `RootCertStore` |
//! | `identity.rs` | reads the client's certificate, counts its changes | `CertifiedKey` |
//! | `verify.rs` | decides which server certificates are accepted | verifiers, `RootCertStore` |
//! | `der.rs` | detects a self-signed certificate | none |
//! | `config.rs` | loads the configuration, shakes hands | `ClientConfig`, the session store |
//! | `info.rs` | the parameters of a finished handshake | none |
//! | `rustls_0_23.rs` | the public interface for callers who configure rustls themselves | `ClientConfig`, `CryptoProvider` |
//! | `failure.rs` | turns a failed handshake into an error message | `Error` and its parts |
//! | `begun.rs` | a handshake that begins before the connection exists | `ClientConfig`, `UnbufferedClientConnection` |
//! | `stream.rs` | a [`TlsStream`] over a TCP socket, and its look | `ClientConfig`, `UnbufferedClientConnection` |
//! | `records.rs` | drives the connection in buffers of this crate | `UnbufferedClientConnection`, `unbuffered::*` |
//! | `wire.rs` | buffers, and where a record ends | none |
//!
//! # What rustls 0.24 changes
//!
//! The crate uses the unbuffered API of rustls 0.23, because an idle connection must not own buffers. rustls 0.24
//! removes that API ([rustls#2905](https://github.com/rustls/rustls/pull/2905)) and gives the caller the buffers of the
//! only API that is left: input in [rustls#2940](https://github.com/rustls/rustls/pull/2940), output in
//! [rustls#3193](https://github.com/rustls/rustls/pull/3193). As of 0.24.0-dev.2:
//!
//! | 0.23 | 0.24.0-dev.2 | our file |
//! |---|---|---|
//! | `UnbufferedClientConnection::new(config, name)` | `config.connect(name).build(&mut tls)`, a `Connection<ClientSide, Tcp>`; the hello is appended to `tls: Vec<u8>` | `stream.rs` |
//! | `process_tls_records(&mut [u8])`, a state to handle, and a count to discard | `read_tls(&mut dyn TlsInputBuffer, &mut Vec<u8>)`, then `next_payload()` until `None`; rustls discards by `TlsInputBuffer::discard` | `records.rs`: `step`, `process`, `encode_alerts` |
//! | `ConnectionState::EncodeTlsData`, `TransmitTlsData` | gone: answers are appended to the `Vec<u8>` | `records.rs`: `encode_message` |
//! | `ConnectionState::PeerClosed` | `TlsInputBuffer::received_close_notify`, and `IoState::peer_has_closed` | `records.rs`: `step` |
//! | `WriteTraffic::encrypt(plain, &mut [u8])`, with `InsufficientSize` | `write(plain, &mut Vec<u8>)`; makes as many records as `plain` needs | `records.rs`: `seal` |
//! | `WriteTraffic::queue_close_notify(&mut [u8])` | `send_close_notify(&mut Vec<u8>)` | `records.rs`: `send_close_notify` |
//! | output is written into a slice | output is appended to a `Vec<u8>` | `wire.rs`: the outgoing buffer has to hand out its `Vec`, and the incoming one to implement `TlsInputBuffer` |
//! | `rustls::crypto::ring`, `rustls::crypto::aws_lc_rs` | the crates `rustls-ring` and `rustls-aws-lc-rs` | `settings.rs`, `Cargo.toml` |
//! | `client::danger::ServerCertVerifier`, a `WebPkiServerVerifier` | `client::danger::ServerVerifier`, a `WebPkiServerVerifier` of another builder; `rustls-platform-verifier` has no release for it yet | `verify.rs` |
//! | a `ClientSessionStore` keyed by the server's name | keyed by a `ClientSessionKey` | `config.rs` |
//! | errors at the root of rustls | errors in `rustls::error` | `failure.rs` |
//!
//! `.ci/next-rustls` compiles the crate with the newest pre-release of rustls and prints the errors of each file. The
//! script never fails.

#[cfg(feature = "rustls")]
mod begun;
mod carrier;
#[cfg(feature = "rustls")]
mod certificate;
#[cfg(feature = "rustls")]
mod config;
#[cfg(feature = "rustls")]
mod der;
#[cfg(feature = "rustls")]
mod failure;
#[cfg(feature = "rustls")]
mod identity;
mod info;
#[cfg(not(feature = "rustls"))]
mod no_tls;
#[cfg(feature = "rustls")]
mod records;
#[cfg(feature = "rustls")]
pub mod rustls_0_23;
#[cfg(feature = "rustls")]
mod settings;
#[cfg(feature = "rustls")]
mod stream;
#[cfg(feature = "rustls")]
mod verify;
#[cfg(feature = "rustls")]
mod wire;

pub(crate) use self::carrier::Carrier;
#[cfg(feature = "rustls")]
pub use self::certificate::{Certificate, CertificateRevocationList};
#[cfg(feature = "rustls")]
pub(crate) use self::config::Loaded;
#[cfg(all(test, feature = "rustls"))]
pub(super) use self::config::tests;
#[cfg(feature = "rustls")]
pub(crate) use self::config::{Secured, Tls};
#[cfg(feature = "rustls")]
pub(crate) use self::failure::client_refused;
#[cfg(feature = "rustls")]
pub use self::identity::Identity;
#[cfg(feature = "rustls")]
pub(crate) use self::identity::IdentityProvider;
pub(crate) use self::info::Generation;
pub use self::info::{TlsInfo, Version};
#[cfg(not(feature = "rustls"))]
pub(crate) use self::no_tls::{Loaded, Secured, Tls, TlsConfig, TlsStream, client_refused};
#[cfg(feature = "rustls")]
pub use self::rustls_0_23::Backend;
#[cfg(feature = "rustls")]
pub(crate) use self::settings::{ClientIdentity, TlsConfig, Trust};
#[cfg(feature = "rustls")]
pub(crate) use self::stream::TlsStream;
