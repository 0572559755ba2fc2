//! The time of day as the text that HAR asks for.
//!
//! This file does no I/O and reads no clock. Invariant: every number gives a text, and the text of a later time is not
//! smaller.

/// Returns a time of day in UTC, such as `2026-11-29T15:03:35.123Z` (ISO 8601, and RFC 3339). `milliseconds` counts
/// from the beginning of 1970. Times outside of the years 0 to 9999 become the nearest time within them.
pub(super) fn iso_8601(milliseconds: i128) -> String {
    let milliseconds = milliseconds.clamp(FIRST, LAST);
    let (days, rest) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (seconds, milliseconds) = (rest / 1_000, rest % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Returns the year, month and day of the Gregorian calendar. `days` counts from the beginning of 1970.
fn civil(days: i128) -> (i128, i128, i128) {
    // A year is taken to begin in March, so that the day of a leap year is the last day of its year. Days count from
    // the 1st of March of the year 0.
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    // Leap days are taken out, so that each year has 365 days.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months have 153 days, in the pattern 31, 30, 31, 30, 31.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year + i128::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day_of_month)
}

/// Number of milliseconds of a day.
const DAY: i128 = 86_400_000;
const DAYS_IN_400_YEARS: i128 = 146_097;
/// The first millisecond of the year 0, and the last one of the year 9999.
const FIRST: i128 = -719_528 * DAY;
const LAST: i128 = 2_932_897 * DAY - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_000_000_000_123, "2001-09-09T01:46:40.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (1_796_000_615_001, "2026-11-30T01:03:35.001Z"),
            (FIRST, "0000-01-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
            (i128::MIN, "0000-01-01T00:00:00.000Z"),
            (i128::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso_8601(milliseconds), text);
        }
    }

    /// Walks over all days by the rules of the calendar, and compares each date.
    #[test]
    fn each_day_of_ten_thousand_years_is_right() {
        let mut days = FIRST / DAY;
        for year in 0..10_000 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, length) in (1..).zip([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for day in 1..=length + i128::from(is_leap && month == 2) {
                    assert_eq!(civil(days), (year, month, day));
                    days += 1;
                }
            }
        }
        assert_eq!(days * DAY - 1, LAST);
    }
}
