//! Code that all benches use.

pub(crate) mod server;

/// Whether the bench only has to run without an error. This is so with `--quick`, and under `cargo test --benches`.
///
/// `cargo bench` passes `--bench`, and `cargo test` does not.
pub(crate) fn is_quick() -> bool {
    let mut is_bench = false;
    let mut is_quick = false;
    for argument in std::env::args().skip(1) {
        is_bench |= argument == "--bench";
        is_quick |= argument == "--quick" || argument == "--test";
    }
    is_quick || !is_bench
}
