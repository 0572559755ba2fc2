//! Durations as text, for examples and benches.
#![allow(dead_code, reason = "each program uses a part of this module")]

use std::time::Duration;

/// Writes a duration with three digits, so that the digits of a column stand below each other: `0`, `85 ns`, `850 µs`,
/// `12.5 ms`, `1.50 s`.
pub(crate) fn time(duration: Duration) -> String {
    let (digits, unit) = parts(duration);
    format!("{digits}{unit}")
}

/// Writes a duration without zeros at its end, for a number that is round: `0`, `50 ms`, `1.5 s`.
pub(crate) fn round_time(duration: Duration) -> String {
    let (mut digits, unit) = parts(duration);
    if digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{digits}{unit}")
}

/// Returns the digits and the unit, which begins with a space.
fn parts(duration: Duration) -> (String, &'static str) {
    let nanos = duration.as_nanos();
    let (value, unit) = match nanos {
        0 => return ("0".into(), ""),
        // Each limit is the shortest duration that is rounded up to 1000 of a unit.
        1..1_000 => return (nanos.to_string(), " ns"),
        1_000..999_500 => (nanos as f64 / 1e3, " µs"),
        999_500..999_500_000 => (nanos as f64 / 1e6, " ms"),
        _ => (duration.as_secs_f64(), " s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    (format!("{value:.digits$}"), unit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits_and_a_unit_that_suits_them() {
        use super::{Duration, round_time, time};

        for (nanos, text, round) in [
            (0, "0", "0"),
            (85, "85 ns", "85 ns"),
            (1_500, "1.50 µs", "1.5 µs"),
            (850_000, "850 µs", "850 µs"),
            (999_499, "999 µs", "999 µs"),
            (999_500, "1.00 ms", "1 ms"),
            (9_994_999, "9.99 ms", "9.99 ms"),
            (9_995_000, "10.0 ms", "10 ms"),
            (99_950_000, "100 ms", "100 ms"),
            (999_500_000, "1.00 s", "1 s"),
            (1_530_000_000, "1.53 s", "1.53 s"),
            (30_000_000_000, "30.0 s", "30 s"),
            (1_200_000_000_000, "1200 s", "1200 s"),
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!((&*time(duration), &*round_time(duration)), (text, round));
        }
    }
}
