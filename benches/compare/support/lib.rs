//! The parts that the benches share.
//!
//! Each bench is a program that is also its own server, and a client of its own where a measurement wants a process that
//! does nothing else. No module here imports one that imports it back.

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
