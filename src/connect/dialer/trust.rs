//! The step of a dial before its phases: the trust store and the client's identity.

use std::time::Instant;

use super::Dialer;
use crate::connect::error::{DialError, Scope};
use crate::connect::tls::Loaded;
use crate::error::{ErrorKind, Phase};
use crate::timings::Rounded;

impl Dialer {
    /// Returns the configuration of TLS for the next handshake.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be loaded before the deadline. Neither a server nor a proxy was reached by then.
    pub(super) async fn load_tls(&self, deadline: Instant) -> Result<Loaded, DialError> {
        tokio::time::timeout_at(deadline.into(), self.tls.load()).await.unwrap_or_else(|_| {
            let after = Rounded(self.config.connect_timeout);
            let message = format!(
                "the system's trust store or the function of identity_provider took longer than {after} (connect_timeout), so that no connection was begun"
            );
            Err(DialError::new(ErrorKind::Timeout, Phase::Tls, message, Scope::Attempt))
        })
    }
}
