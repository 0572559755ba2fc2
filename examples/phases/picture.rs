//! The waterfall as a picture, with a row for each connection.

use std::time::Duration;

use crate::chart::groups;
use crate::exchange::Exchange;
use crate::svg::{Bar, Row, Tone, Waterfall, time};

pub(crate) fn waterfall(exchanges: &[Exchange]) -> Waterfall {
    let rows: Vec<_> =
        groups(exchanges).into_iter().map(|(connection, group)| row(connection, &group)).collect();
    let count = exchanges.iter().filter(|exchange| exchange.status.is_some()).count();
    let connections = rows.iter().filter(|row| row.label != NONE).count();
    let many = |count, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    Waterfall {
        title: "The phases of each request".into(),
        subtitle: format!("{}, {}", many(count, "response"), many(connections, "connection")),
        rows,
    }
}

fn row(connection: Option<u64>, group: &[(usize, &Exchange)]) -> Row {
    let (mut bars, mut drawn) = (Vec::new(), Duration::ZERO);
    for (number, exchange) in group {
        for phase in exchange.phases() {
            let mut hint = format!(
                "#{number} {}, {}: {}",
                exchange.name,
                phase.tone.name(),
                time(phase.end - phase.start)
            );
            if phase.tone == Tone::Wait {
                let metrics =
                    exchange.server.iter().filter_map(|metric| Some((&metric.name, metric.duration?)));
                metrics.for_each(|(name, took)| hint += &format!(", the server's {name}: {}", time(took)));
            }
            // A request waits while the connection serves another request, whose bars stand in the same row.
            let start = phase.start.max(drawn);
            if start < phase.end {
                drawn = phase.end;
                bars.push(Bar { tone: phase.tone, start, end: phase.end, hint });
            }
        }
    }
    let label = connection.map_or_else(|| NONE.into(), |id| format!("connection {id}"));
    let requests = if group.len() == 1 { "1 request".into() } else { format!("{} requests", group.len()) };
    Row { label, note: requests, bars }
}

const NONE: &str = "no connection";

#[cfg(test)]
mod tests {
    use handclasp::Timings;

    use super::*;

    /// The bars of a connection do not overlap, although a request waits while another request uses the connection.
    #[test]
    fn a_row_has_the_phases_of_a_connection_one_after_another() {
        let ms = Duration::from_millis;
        let exchange = |start, queued, wait| {
            let mut timings = Timings::default();
            (timings.queued, timings.wait, timings.total) = (ms(queued), ms(wait), ms(queued + wait));
            let status = Some(200);
            Exchange { connection: Some(1), start: ms(start), timings, status, ..Exchange::default() }
        };
        let picture = waterfall(&[exchange(0, 1, 9), exchange(2, 10, 5)]);
        assert_eq!(picture.subtitle, "2 responses, 1 connection");
        let bars = picture.rows[0].bars.iter();
        let bars: Vec<_> = bars.map(|bar| (bar.tone, bar.start.as_millis(), bar.end.as_millis())).collect();
        let expected =
            [(Tone::Queue, 0, 1), (Tone::Wait, 1, 10), (Tone::Queue, 10, 12), (Tone::Wait, 12, 17)];
        assert_eq!(bars, expected);
    }
}
