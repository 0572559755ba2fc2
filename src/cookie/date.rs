//! The date of `Expires`, read by the algorithm that RFC 6265bis has for cookies alone.
//!
//! This module does no I/O. Invariant: any text has either one date or none.

/// Returns the seconds from the beginning of 1970 to a cookie's date, or `None` if the text is not a date.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.1.1>.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.as_bytes().split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        if time.is_none() {
            time = hms(token);
            if time.is_some() {
                continue;
            }
        }
        if day.is_none() {
            day = number(token, 1, 2);
            if day.is_some() {
                continue;
            }
        }
        if month.is_none() {
            let first = token.get(..3).unwrap_or_default();
            month = MONTHS.iter().position(|name| first.eq_ignore_ascii_case(name.as_bytes()));
            if month.is_some() {
                continue;
            }
        }
        if year.is_none() {
            year = number(token, 2, 4);
        }
    }
    let (hour, minute, second) = time?;
    let (day, month) = (day?, month?);
    let year = match year? {
        year @ 70..=99 => year + 1_900,
        year @ 0..=69 => year + 2_000,
        year => year,
    };
    let is_possible = year >= 1_601 && hour <= 23 && minute <= 59 && second <= 59;
    if !is_possible || !(1..=days_of(month, year)).contains(&day) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// Reads a time such as `1:2:3`. Each number has one or two digits, and other text may follow the last digit.
fn hms(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut parts = token.splitn(3, |byte| *byte == b':');
    let mut next = |is_last: bool| {
        let part = parts.next()?;
        number(part, 1, 2).filter(|_| is_last || part.len() <= 2 && part.iter().all(u8::is_ascii_digit))
    };
    Some((next(false)?, next(false)?, next(true)?))
}

/// Reads `least` to `most` digits at the start of a token. A byte that is no digit may follow.
fn number(token: &[u8], least: usize, most: usize) -> Option<i64> {
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (least..=most)
        .contains(&digits)
        .then(|| token[..digits].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Returns the number of days of a month, which is counted from 0.
fn days_of(month: usize, year: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 => 28 + i64::from(is_leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// Returns the number of days from the beginning of 1970 to a date, whose month is counted from 0.
fn days(year: i64, month: usize, day: i64) -> i64 {
    let before = year - 1;
    let years = 365 * before + before / 4 - before / 100 + before / 400;
    let months: i64 = (0..month).map(|month| days_of(month, year)).sum();
    years + months + day - 1 - DAYS_BEFORE_1970
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Number of days from the beginning of the year 1 to the beginning of 1970.
const DAYS_BEFORE_1970: i64 = 719_162;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_token_by_token() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 09 Jun 2021 10:18:14 GMT", Some(1_623_233_894)),
            ("Wednesday, 09-Jun-21 10:18:14 GMT", Some(1_623_233_894)),
            ("Wed Jun  9 10:18:14 2021", Some(1_623_233_894)),
            ("10:18:14 2021 9 JUNE", Some(1_623_233_894)),
            ("2021;9/june-10:18:14x", Some(1_623_233_894)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Sat, 01 Jan 00 00:00:00", Some(946_684_800)),
            ("Sat, 01 Jan 69 00:00:00", Some(3_124_224_000)),
            ("Thu, 01 Jan 70 00:00:00", Some(0)),
            ("Mon, 01 Jan 1601 00:00:00 GMT", Some(-11_644_473_600)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("", None),
            ("now", None),
            ("Wed, 31 Feb 2021 10:18:14 GMT", None),
            ("Wed, 29 Feb 2100 10:18:14 GMT", None),
            ("Wed, 0 Jun 2021 10:18:14 GMT", None),
            ("Wed, 32 Jun 2021 10:18:14 GMT", None),
            ("Wed, 09 Jun 1600 10:18:14 GMT", None),
            ("Wed, 09 Jun 20210 10:18:14 GMT", None),
            ("Wed, 09 Jun 2021 24:18:14 GMT", None),
            ("Wed, 09 Jun 2021 10:60:14 GMT", None),
            ("Wed, 09 Jun 2021 10:18:60 GMT", None),
            ("Wed, 09 Jun 2021 10:18 GMT", None),
            ("Wed, 09 Jun 2021 1x:18:14 GMT", None),
            ("Wed, 09 Jun 2021 100:18:14 GMT", None),
            ("Wed, 09 Jum 2021 10:18:14 GMT", None),
            ("Wed, 09 Jun 10:18:14 GMT", None),
        ] {
            assert_eq!(seconds(text), expected, "R-6265b-5.1.1-1: {text}");
        }
    }
}
