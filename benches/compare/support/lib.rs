//! Code that all benches of this package share.
//!
//! The program of each bench is also its server: the bench starts its own program again with other arguments. If
//! a tool measures a whole process, the bench also starts its program again as a client. The imports between the
//! modules form no cycle.

mod arguments;
pub mod clients;
mod error;
pub mod heap;
pub mod measure;
pub mod payload;
pub mod process;
pub mod runtime;
pub mod server;
pub mod worker;

pub use self::arguments::Arguments;
pub use self::error::BoxError;
