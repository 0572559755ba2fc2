//! Bars of requests on one time axis.

use std::io::IsTerminal;
use std::time::Duration;

use handclasp::{ConnectionInfo, Timings};
use http::StatusCode;

use crate::{show, terminal};

/// The facts about a request that a line of the chart shows.
pub(crate) struct Row {
    /// Name of the URL.
    pub(crate) name: String,
    /// Start of the request, counted from the start of all requests.
    pub(crate) start: Duration,
    /// `None` if no response head came.
    pub(crate) status: Option<StatusCode>,
    pub(crate) received: u64,
    pub(crate) has_failed: bool,
    pub(crate) timings: Timings,
    /// Number of the connection, and number of the request on it.
    pub(crate) connection: Option<(u64, u64)>,
}

impl Row {
    pub(crate) fn new(name: String, start: Duration) -> Self {
        let (status, received, has_failed) = (None, 0, false);
        Self { name, start, status, received, has_failed, timings: Timings::default(), connection: None }
    }

    pub(crate) fn connected(&mut self, connection: &ConnectionInfo) {
        self.connection = Some((connection.id(), connection.ordinal()));
    }
}

/// How lines are printed: their width in columns, and whether they have colours.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) width: usize,
    pub(crate) is_coloured: bool,
}

impl Style {
    /// Returns the style for `output`.
    pub(crate) fn of(output: &impl IsTerminal) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            width: columns.unwrap_or(USUAL_WIDTH).clamp(LEAST_WIDTH, MOST_WIDTH),
            is_coloured: terminal::takes_colours(output),
        }
    }
}

/// Returns two or more lines about one request: its bar, and the time of each phase.
pub(crate) fn single(row: &Row, style: Style) -> String {
    let mut text = line(row, row.start, row.timings.total, style);
    let phases = show::phases(&row.timings).map(|(_, name, took)| format!("{name} {}", show::time(took)));
    let mut column = usize::MAX;
    for phase in phases {
        let width = phase.chars().count() + 2;
        if width > style.width.saturating_sub(column) {
            text += "\n  ";
            column = 2;
        }
        text += "  ";
        text += &phase;
        column += width;
    }
    text
}

/// Returns a line for each of the rows, in the order of their starts, and the common time axis. A line with the name of the
/// URL stands before the rows of each URL, if the rows have several.
pub(crate) fn chart(rows: &[Row], style: Style) -> String {
    let from = rows.iter().map(|row| row.start).min().unwrap_or_default();
    let until = rows.iter().map(|row| row.start + row.timings.total).max().unwrap_or_default();
    let span = until.saturating_sub(from);
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| row.start);
    let has_names = rows.windows(2).any(|pair| pair[0].name != pair[1].name);

    let cells = cells(style);
    let end = show::time(span);
    let mut text = format!("{:LEFT$} 0{end:>1$}", "", cells - 1);
    let mut name = "";
    for row in rows {
        if has_names && row.name != name {
            name = &row.name;
            text += "\n";
            text += &terminal::shortened(name, style.width);
        }
        text += "\n";
        text += &line(row, from, span, style);
    }
    text
}

fn line(row: &Row, from: Duration, span: Duration, style: Style) -> String {
    let status = row.status.map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
    let mut text =
        format!("{status} {:>10} {:>7} |", show::size(row.received), show::time(row.timings.total));
    paint(&mut text, &bar(row, from, span, cells(style)), style);
    text += "|";
    if let Some((id, ordinal)) = row.connection {
        text += &format!(" conn {id} #{ordinal}");
    }
    text
}

/// Returns the bar of a request on an axis of `span` that begins at `from`. Each cell stands for a part of the span, and has the
/// letter of the phase that was under way in the middle of this part. A request has at least one cell.
fn bar(row: &Row, from: Duration, span: Duration, cells: usize) -> Vec<char> {
    let cell = span.as_secs_f64() / cells as f64;
    let start = row.start.saturating_sub(from).as_secs_f64();
    let mut bar = vec![' '; cells];
    let mut until = start;
    let mut last = ((start / cell) as usize).min(cells - 1);
    let mut longest = (Duration::ZERO, ' ');
    for (letter, _, took) in show::phases(&row.timings) {
        let begun = until;
        until += took.as_secs_f64();
        longest = longest.max((took, letter));
        for (index, place) in bar.iter_mut().enumerate() {
            let middle = (index as f64 + 0.5) * cell;
            if begun <= middle && middle < until {
                *place = letter;
                last = index;
            }
        }
    }
    if bar[last] == ' ' {
        bar[last] = longest.1;
    }
    if row.has_failed {
        bar[last] = '!';
    }
    bar
}

/// Appends the letters of a bar. With colours, letters of one phase have one colour.
fn paint(text: &mut String, bar: &[char], style: Style) {
    let mut colour = "";
    for letter in bar {
        let next = match letter {
            _ if !style.is_coloured => "",
            'p' | 'q' => "\x1b[90m",
            'd' => "\x1b[35m",
            'c' | 'x' => "\x1b[34m",
            't' => "\x1b[36m",
            's' => "\x1b[33m",
            'w' => "\x1b[37m",
            'r' => "\x1b[32m",
            '!' => "\x1b[31m",
            _ => "",
        };
        if next != colour {
            text.push_str(if next.is_empty() { RESET } else { next });
            colour = next;
        }
        text.push(*letter);
    }
    if !colour.is_empty() {
        text.push_str(RESET);
    }
}

/// Returns the number of cells of a bar.
fn cells(style: Style) -> usize {
    style.width - LEFT - RIGHT
}

/// Columns before the bar: status, size, time.
const LEFT: usize = 3 + 1 + 10 + 1 + 7 + 1;
/// Columns of the bar's frame and of a connection's number: `|| conn 123 #4567`.
const RIGHT: usize = 17;
const USUAL_WIDTH: usize = 80;
const LEAST_WIDTH: usize = 60;
const MOST_WIDTH: usize = 300;
const RESET: &str = "\x1b[0m";
