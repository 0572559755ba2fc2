//! Access to internals for this crate's own benches. The stability promise does not cover this module.
//!
//! This module exists only with the feature `test-util`. The module knows the pool, but nothing of HTTP. Invariant: the
//! probe calls the same functions as a real request, so that nothing is implemented twice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::NotGranted;
use crate::pool::key::RouteRef;
use crate::pool::lease::Lease;
use crate::{Client, Error, Look, Transport, time};

/// A pool whose connections are fakes that never receive a byte.
#[derive(Debug)]
pub struct PoolProbe {
    client: Client,
}

impl PoolProbe {
    /// Creates a pool of `hosts` hosts with `idle` idle connections each, on the current runtime, and with a limit of
    /// `max_connections_per_host`.
    ///
    /// # Errors
    ///
    /// The errors of [`ClientBuilder::build`](crate::ClientBuilder::build) and [`Client::warm`].
    pub async fn new(hosts: usize, idle: usize, max_connections_per_host: usize) -> Result<Self, Error> {
        let client = Client::builder()
            .connector(|_| async { Ok(Box::new(Silent) as Box<dyn Transport>) })
            .max_connections_per_host(max_connections_per_host)
            .max_idle_per_host(usize::MAX)
            .max_idle(usize::MAX)
            .build()?;
        for host in 0..hosts {
            client.warm(Self::uri(host), idle).await?;
        }
        Ok(Self { client })
    }

    /// Returns the URI of a host. Call this method before measuring.
    pub fn uri(host: usize) -> Uri {
        let uri = format!("http://host-{host:06}.example:8080/some/path");
        uri.parse().unwrap_or_default()
    }

    /// Takes an idle connection, uses the connection, and gives it back, as a request does, but without the check of the
    /// socket.
    /// Returns whether a connection was idle.
    ///
    /// # Errors
    ///
    /// The errors that a request gets from the [`Pool`](crate::Pool).
    pub fn pair(&self, uri: &Uri) -> Result<bool, Error> {
        let now = time::now();
        let found = self.client.pool().checkout(RouteRef::of(uri)?, None, None, now)?;
        Ok(found.map(|lease| use_once(lease, now)).is_ok())
    }

    /// Takes a connection, after a wait if necessary, and holds the connection while other tasks run.
    ///
    /// # Errors
    ///
    /// The errors that a request gets from the [`Pool`](crate::Pool).
    pub async fn turn(&self, uri: &Uri) -> Result<(), Error> {
        let now = time::now();
        let lease = loop {
            match self.client.pool().checkout(RouteRef::of(uri)?, None, None, now)? {
                Ok(lease) => break lease,
                Err(mut wait) => match wait.granted().await {
                    Ok(lease) => break lease,
                    Err(NotGranted::Failed(error, _)) => return Err(error.into_error()),
                    Err(NotGranted::Shutdown) => return Err(Error::shutdown()),
                    Err(NotGranted::Withdrawn) => {}
                },
            }
        };
        tokio::task::yield_now().await;
        use_once(lease, now);
        Ok(())
    }
}

fn use_once(mut lease: Lease, now: Instant) {
    let info = lease.begin(now);
    lease.set_answered();
    lease.checkin(None, None, now);
    drop(info);
}

struct Silent;

impl AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Silent {
    fn look(&mut self) -> Look {
        Look::Silent
    }

    fn close(&mut self) {}
}

/// Returns a resolver that reads these files instead of the system's `resolv.conf` and hosts file, and whose name servers
/// listen at `port`.
#[cfg(feature = "hickory-dns")]
pub fn hickory_from_files(
    resolv_conf: std::path::PathBuf,
    hosts: std::path::PathBuf,
    port: u16,
) -> crate::HickoryResolver {
    crate::HickoryResolver::from_files(resolv_conf, hosts, port)
}
