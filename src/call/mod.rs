//! Decisions and small memories of one call. They do no I/O.

pub(crate) mod http10;
pub(crate) mod resend;
