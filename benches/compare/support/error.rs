//! Error type of all benches: a text, or the error of a client.

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
