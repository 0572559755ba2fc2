//! The JSON of `--timings json`.

use std::time::Duration;

use handclasp::{ConnectionInfo, Timings};
use serde_json::{Value, json};

use crate::chart::Row;

/// What the JSON says about a request beyond its row in the chart.
#[derive(Default)]
pub(crate) struct Details {
    pub(crate) method: String,
    pub(crate) connection: Option<ConnectionInfo>,
    /// Status and URL of each redirect that was followed.
    pub(crate) redirects: Vec<(u16, String)>,
    pub(crate) error: Option<String>,
}

pub(crate) fn json(row: &Row, details: &Details) -> Value {
    let Timings { queued, dns, connect, proxy, tls, send, wait, receive, previous, total, .. } = row.timings;
    let redirects = details.redirects.iter().map(|(status, url)| json!({ "status": status, "url": url }));
    json!({
        "url": row.name,
        "method": details.method,
        "status": row.status.map(|status| status.as_u16()),
        "error": details.error,
        "received": row.received,
        "start_us": micros(row.start),
        "total_us": micros(total),
        "phases_us": {
            "previous": micros(previous),
            "queued": micros(queued),
            "dns": dns.map(micros),
            "connect": connect.map(micros),
            "proxy": proxy.map(micros),
            "tls": tls.map(micros),
            "send": micros(send),
            "wait": micros(wait),
            "receive": receive.map(micros),
        },
        "connection": details.connection.as_ref().map(|connection| json!({
            "id": connection.id(),
            "ordinal": connection.ordinal(),
            "reused": connection.is_reused(),
            "peer": connection.peer_addr().map(|peer| peer.to_string()),
        })),
        "redirects": redirects.collect::<Value>(),
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
