//! The waterfall as a picture, with a row for each connection.

use std::time::Duration;

use crate::chart::groups;
use crate::exchange::Exchange;
use crate::svg::{Bar, Row, Tone, Waterfall, time};
use crate::terminal::plural;

pub(crate) fn waterfall(exchanges: &[Exchange]) -> Waterfall {
    let rows: Vec<_> =
        groups(exchanges).into_iter().map(|(connection, group)| row(connection, &group)).collect();
    let answered = exchanges.iter().filter(|exchange| exchange.status.is_some()).count();
    let connections = rows.iter().filter(|row| !row.label.starts_with(NONE)).count();
    Waterfall {
        title: "The phases of each request, with a row for each connection".into(),
        subtitle: format!("{}, {}", plural(answered, "response"), plural(connections, "connection")),
        rows,
    }
}

fn row(connection: Option<u64>, group: &[(usize, &Exchange)]) -> Row {
    let (mut bars, mut drawn) = (Vec::new(), Duration::ZERO);
    for (number, exchange) in group {
        let name = format!("#{number} {}", exchange.name);
        for phase in exchange.phases() {
            let mut hint = format!("{name}, {}: {}", phase.tone.name(), time(phase.end - phase.start));
            if phase.tone == Tone::Wait {
                let metrics =
                    exchange.server.iter().filter_map(|metric| Some((&metric.name, metric.duration?)));
                metrics.for_each(|(name, took)| hint += &format!(", the server's {name}: {}", time(took)));
            }
            // A request waits while the connection serves another request, whose bars stand in the same row.
            let start = phase.start.max(drawn);
            if start < phase.end {
                drawn = phase.end;
                bars.push(Bar { tone: phase.tone, start, end: phase.end, hint: hint.clone() });
            }
            // The bar of the server lies on the bar of its phase, which is drawn before.
            let worked = exchange.server_worked().filter(|_| phase.tone == Tone::Wait);
            if let Some((start, end)) = worked {
                bars.push(Bar { tone: Tone::Server, start, end, hint });
            }
        }
        if let Some(failure) = &exchange.failure {
            let end = exchange.end();
            bars.push(Bar { tone: Tone::Failed, start: end, end, hint: format!("{name}: {failure}") });
        }
    }
    let origin = group.first().map(|(_, exchange)| &*exchange.origin).unwrap_or_default();
    let connection = connection.map_or_else(|| NONE.into(), |id| id.to_string());
    let label = format!("{connection}: {origin}");
    let mut note = plural(group.len(), "request");
    let failed = group.iter().filter(|(_, exchange)| exchange.failure.is_some()).count();
    if failed > 0 {
        note += &format!(", {failed} failed");
    }
    Row { label, note, bars, ..Row::default() }
}

/// Label of a row of requests that got no connection.
const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use handclasp::Timings;

    use super::*;

    /// Returns an exchange on connection 1 that waits in the queue and then for the server, in milliseconds.
    fn exchange(start: u64, queued: u64, wait: u64) -> Exchange {
        let ms = Duration::from_millis;
        let mut timings = Timings::default();
        (timings.queued, timings.wait, timings.total) = (ms(queued), ms(wait), ms(queued + wait));
        let (origin, status) = ("https://h.test".into(), Some(200));
        Exchange { origin, connection: Some(1), start: ms(start), timings, status, ..Exchange::default() }
    }

    /// Returns the tone of each bar of the first row, and its start and end in milliseconds.
    fn bars(picture: &Waterfall) -> Vec<(Tone, u128, u128)> {
        let bars = picture.rows[0].bars.iter();
        bars.map(|bar| (bar.tone, bar.start.as_millis(), bar.end.as_millis())).collect()
    }

    /// The bars of a connection do not overlap, although a request waits while another request uses the connection.
    #[test]
    fn a_row_has_the_phases_of_a_connection_one_after_another() {
        let picture = waterfall(&[exchange(0, 1, 9), exchange(2, 10, 5)]);
        assert_eq!(picture.subtitle, "2 responses, 1 connection");
        assert_eq!(picture.rows[0].label, "1: https://h.test");
        let expected =
            [(Tone::Queue, 0, 1), (Tone::Wait, 1, 10), (Tone::Queue, 10, 12), (Tone::Wait, 12, 17)];
        assert_eq!(bars(&picture), expected);
    }

    #[test]
    fn the_work_of_the_server_lies_on_the_wait_for_it() {
        let mut exchange = exchange(0, 0, 20);
        let response = http::Response::builder().header("server-timing", "all;dur=10");
        exchange.server = handclasp::Response::from(response.body("").unwrap()).server_timing();
        assert_eq!(bars(&waterfall(&[exchange])), [(Tone::Wait, 0, 20), (Tone::Server, 5, 15)]);
    }

    #[test]
    fn a_failure_is_seen_at_its_place() {
        let mut failed = exchange(0, 3, 0);
        (failed.connection, failed.status, failed.failure) = (None, None, Some("refused".into()));
        let picture = waterfall(&[failed]);
        assert_eq!(
            (&*picture.rows[0].label, &*picture.rows[0].note),
            ("none: https://h.test", "1 request, 1 failed")
        );
        assert_eq!(bars(&picture), [(Tone::Queue, 0, 3), (Tone::Failed, 3, 3)]);
        assert_eq!(picture.rows[0].bars[1].hint, "#1 : refused");
    }
}
