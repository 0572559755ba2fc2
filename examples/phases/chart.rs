//! The waterfall and the table of times in a terminal of 80 columns.

use std::fmt::Write;
use std::time::Duration;

use handclasp::Timings;

use crate::exchange::Exchange;
use crate::svg::{Tone, time};
use crate::terminal::shortened;

/// The exchanges of a connection, each with its number. The exchanges without a connection are a group for each origin.
pub(crate) type Group<'a> = (Option<u64>, Vec<(usize, &'a Exchange)>);

/// Groups exchanges by connection. Groups and exchanges stand in the order of their starts.
pub(crate) fn groups(exchanges: &[Exchange]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (number, exchange) in (1..).zip(exchanges) {
        let is_of = |(connection, group): &&mut Group<'_>| {
            let has_origin = |(_, first): &(usize, &Exchange)| first.origin == exchange.origin;
            *connection == exchange.connection && (connection.is_some() || group.iter().all(has_origin))
        };
        match groups.iter_mut().find(is_of) {
            Some((_, group)) => group.push((number, exchange)),
            None => groups.push((exchange.connection, vec![(number, exchange)])),
        }
    }
    groups
}

/// Draws a row for each exchange, and the legend. Writing into a `String` does not fail.
pub(crate) fn waterfall(exchanges: &[Exchange], is_coloured: bool) -> String {
    let end = exchanges.iter().map(Exchange::end).max().unwrap_or_default();
    let scale = time(end);
    let mut text = format!("{:LEFT$}0{scale:>1$}\n", "", CELLS - 1);
    let mut used = Vec::new();
    // A number of more than three digits takes columns from the name.
    let digits = exchanges.len().to_string().len().max(3);
    let name_width = (NAME + 3).saturating_sub(digits).max(2);
    for (connection, group) in groups(exchanges) {
        let origin = group.first().map(|(_, exchange)| shortened(&exchange.origin, 60)).unwrap_or_default();
        let _ = match connection {
            Some(id) => writeln!(text, "connection {id} to {origin}"),
            None => writeln!(text, "no connection to {origin}"),
        };
        for (number, exchange) in group {
            let status = exchange.status.map_or_else(|| "---".into(), |status| status.to_string());
            let name = shortened(&exchange.name, name_width);
            let took = time(exchange.timings.total);
            let _ = write!(text, "{number:>digits$} {name:<name_width$} {status} {took:>7} ");
            let cells = bar(exchange, end);
            used.extend(cells.iter().copied());
            let last = cells.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            paint(&mut text, &cells[..last], is_coloured);
            text.push('\n');
            if let Some(failure) = &exchange.failure {
                let _ = writeln!(text, "    {}", shortened(failure, WIDTH - 4));
            }
            let metrics = exchange.server.iter().filter_map(|metric| Some((&metric.name, metric.duration?)));
            let metrics: Vec<_> = metrics.map(|(name, took)| format!("{name} {}", time(took))).collect();
            if !metrics.is_empty() {
                let line = format!("the server says: {}", metrics.join(", "));
                let _ = writeln!(text, "    {}", shortened(&line, WIDTH - 4));
            }
        }
    }
    text += &legend(&used, is_coloured);
    text.truncate(text.trim_end().len());
    text
}

/// Returns the cells of an exchange. Each cell stands for a part of the time axis, and shows the phase that takes most
/// of this part, the work of the server, or a failure. An exchange has at least one cell.
fn bar(exchange: &Exchange, end: Duration) -> Vec<Option<Tone>> {
    let cell = end.as_secs_f64().max(f64::MIN_POSITIVE) / CELLS as f64;
    let phases = exchange.phases();
    let worked = exchange.server_worked();
    let mut cells = vec![None; CELLS];
    for (nth, place) in cells.iter_mut().enumerate() {
        let (from, to) = (nth as f64 * cell, (nth + 1) as f64 * cell);
        let overlap =
            |start: Duration, end: Duration| end.as_secs_f64().min(to) - start.as_secs_f64().max(from);
        let mut most = cell / 2.0;
        for phase in &phases {
            let length = overlap(phase.start, phase.end);
            if length > 0.0 && (place.is_none() || length > most) && length >= cell / 4.0 {
                (*place, most) = (Some(phase.tone), length);
            }
        }
        let is_server = worked.is_some_and(|(start, end)| overlap(start, end) >= cell / 2.0);
        if is_server && *place == Some(Tone::Wait) {
            *place = Some(Tone::Server);
        }
    }
    let place = |at: Duration| ((at.as_secs_f64() / cell) as usize).min(CELLS - 1);
    if cells.iter().all(Option::is_none) {
        let longest = phases.iter().max_by_key(|phase| phase.end - phase.start);
        cells[place(exchange.start)] = Some(longest.map_or(Tone::Failed, |phase| phase.tone));
    }
    if exchange.failure.is_some() {
        cells[place(exchange.end())] = Some(Tone::Failed);
    }
    cells
}

/// Returns the character of a cell, and its colour. `None` stands for an empty cell.
fn look(cell: Option<Tone>) -> (char, &'static str) {
    match cell {
        None => (' ', ""),
        Some(Tone::Queue) => ('.', "\x1b[90m"),
        Some(Tone::Dns) => ('d', "\x1b[35m"),
        Some(Tone::Tcp) => ('o', "\x1b[33m"),
        Some(Tone::Proxy) => ('x', "\x1b[33m"),
        Some(Tone::Tls) => ('%', "\x1b[95m"),
        Some(Tone::Send) => ('>', "\x1b[36m"),
        Some(Tone::Wait) => ('-', "\x1b[34m"),
        Some(Tone::Server) => ('=', "\x1b[94m"),
        Some(Tone::Failed) => ('!', "\x1b[31m"),
        Some(_) => ('#', "\x1b[32m"),
    }
}

fn paint(text: &mut String, cells: &[Option<Tone>], is_coloured: bool) {
    let mut colour = "";
    for cell in cells {
        let (letter, next) = look(*cell);
        if is_coloured && next != colour {
            text.push_str(if next.is_empty() { RESET } else { next });
            colour = next;
        }
        text.push(letter);
    }
    if !colour.is_empty() {
        text.push_str(RESET);
    }
}

/// Explains the cells that were drawn, in lines that fit into the width.
fn legend(used: &[Option<Tone>], is_coloured: bool) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for tone in Tone::ALL.into_iter().filter(|tone| used.contains(&Some(*tone))) {
        let name = tone.name();
        let width = name.chars().count() + 4;
        if column == 0 || column + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        paint(&mut text, &[Some(tone)], is_coloured);
        let _ = write!(text, " {name}  ");
        column += width;
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Writes the time of each phase of each exchange.
pub(crate) fn table(exchanges: &[Exchange]) -> String {
    let mut text = String::from("\n  #");
    Tone::phases(&Timings::default()).iter().for_each(|(tone, _)| _ = write!(text, " {:>8}", tone.name()));
    for (number, exchange) in (1..).zip(exchanges) {
        let _ = write!(text, "\n{number:>3}");
        for (_, took) in Tone::phases(&exchange.timings) {
            let took = if took.is_zero() { "-".into() } else { time(took) };
            let _ = write!(text, " {took:>8}");
        }
    }
    text
}

const WIDTH: usize = 80;
/// Columns of a name: method and path.
const NAME: usize = 20;
/// Columns before the bar: number, name, status, time.
const LEFT: usize = 3 + 1 + NAME + 1 + 3 + 1 + 7 + 1;
/// Number of cells of a bar.
const CELLS: usize = WIDTH - LEFT;
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns an exchange that waits for `wait` milliseconds on a connection.
    fn exchange(connection: u64, start: u32, wait: u32) -> Exchange {
        let mut timings = Timings::default();
        (timings.wait, timings.total) = (wait * MS, wait * MS);
        let origin = format!("http://h{connection}.test");
        let (connection, start) = (Some(connection), start * MS);
        Exchange {
            name: "GET /".into(),
            origin,
            status: Some(200),
            start,
            timings,
            connection,
            ..Exchange::default()
        }
    }

    /// Returns the columns of a line that have this character.
    fn columns(line: &str, letter: char) -> Vec<usize> {
        line.chars().enumerate().filter(|(_, found)| *found == letter).map(|(column, _)| column).collect()
    }

    #[test]
    fn rows_are_grouped_by_connection_and_share_the_axis() {
        let all = [exchange(1, 0, 10), exchange(2, 10, 11), exchange(1, 21, CELLS as u32 - 21)];
        let text = waterfall(&all, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            (lines[1], lines[4]),
            ("connection 1 to http://h1.test", "connection 2 to http://h2.test")
        );
        assert!(lines[2].starts_with("  1 GET / ") && lines[3].starts_with("  3 GET / "), "{text}");
        let bars = [2, 5, 3].map(|line| columns(&lines[line][LEFT..], '-'));
        assert_eq!(bars.iter().map(Vec::len).sum::<usize>(), CELLS, "{text}");
        assert!(bars.concat().is_sorted(), "{text}");
        assert!(text.ends_with("\n- wait") && !text.contains('\x1b'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn the_time_of_the_server_lies_within_wait() {
        let mut exchange = exchange(1, 0, CELLS as u32);
        let metrics = http::Response::builder().header("server-timing", "all;dur=21, db;dur=10, miss");
        exchange.server = handclasp::Response::from(metrics.body("").unwrap()).server_timing();
        let text = waterfall(&[exchange], false);
        let row = text.lines().nth(2).unwrap();
        assert_eq!((columns(row, '=').len(), columns(&row[LEFT..], '-').len()), (21, CELLS - 21), "{text}");
        assert!(text.contains("    the server says: all 21.0 ms, db 10.0 ms\n"), "{text}");
    }

    #[test]
    fn a_short_exchange_and_a_failure_have_a_cell() {
        let mut failed = exchange(1, 90, 0);
        (failed.status, failed.connection, failed.failure) = (None, None, Some("refused".into()));
        let text = waterfall(&[exchange(1, 0, 100), exchange(2, 50, 0), failed], false);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[5..].contains(&"no connection to http://h1.test") && lines.contains(&"    refused"),
            "{text}"
        );
        assert_eq!(text.matches('!').count(), 3, "a row without a phase, a failure, the legend: {text}");
        assert!(waterfall(&[], false).lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn a_thousand_requests_fit_the_width() {
        let many: Vec<_> = (0..1000).map(|start| exchange(1, start, 1)).collect();
        let text = waterfall(&many, false);
        assert!(text.contains("\n1000 GET / "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn names_cannot_change_the_terminal_and_colours_end() {
        let mut long = exchange(1, 0, 10);
        long.name = format!("GET /\x1b[31m{}", "x".repeat(100));
        long.origin = long.name.clone();
        let plain = waterfall(&[long], false);
        assert!(
            !plain.contains('\x1b') && plain.lines().all(|line| line.chars().count() <= WIDTH),
            "{plain}"
        );
        let coloured = waterfall(&[exchange(1, 0, 10)], true);
        assert_eq!(coloured.matches(RESET).count(), 2, "a row and the legend: {coloured:?}");
        assert!(coloured.contains("\x1b[34m--") && !coloured.contains("\x1b[34m\x1b"), "{coloured:?}");
    }

    #[test]
    fn the_table_has_each_phase() {
        let text = table(&[exchange(1, 0, 10)]);
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let lines: Vec<Vec<_>> = lines;
        assert_eq!(lines[0], ["#", "queue", "DNS", "TCP", "proxy", "TLS", "send", "wait", "receive"]);
        assert_eq!(lines[1], ["1", "-", "-", "-", "-", "-", "-", "10.0", "ms", "-"]);
    }
}
