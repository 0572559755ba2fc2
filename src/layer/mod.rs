//! Pure decisions around an exchange: no I/O, no clock, no state of their own.

pub(crate) mod old_servers;
pub(crate) mod retry;
pub(crate) mod timeout;
