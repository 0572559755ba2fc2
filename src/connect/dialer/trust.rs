//! The step of a dial before its phases: the trust store and the client's identity.

use super::Dialer;
use crate::connect::error::{DialError, Scope};
use crate::connect::limit::Limit;
use crate::connect::tls::Loaded;
use crate::error::{ErrorKind, Phase};
use crate::timings::Rounded;

impl Dialer {
    /// Returns the configuration of TLS for the next handshake.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be loaded before the limit. No connection was begun by then.
    pub(super) async fn load_tls(&self, limit: Limit) -> Result<Loaded, DialError> {
        limit.run(self.tls.load()).await.unwrap_or_else(|| {
            let after = Rounded(self.config.connect_timeout);
            let message = format!(
                "the system's trust store or the function of identity_provider took longer than {after} (connect_timeout), so that no connection was begun"
            );
            Err(DialError::new(ErrorKind::Timeout, Phase::Tls, message, Scope::Attempt))
        })
    }
}
