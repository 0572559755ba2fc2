//! Code that all benches of this package share.
//!
//! The program of each bench is also its server: it is started again with other arguments. Where a tool measures a
//! whole process, it is started again as a client too. The imports between the modules form no cycle.

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
