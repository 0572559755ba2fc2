//! An example that prints the spans of each of three requests as a tree. The first request opens a connection, and
//! the second and third requests reuse this connection.
//!
//! Run the example by `cargo run --release --example phases`.

use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use handclasp::{Answer, BoxError, Client, Family, Resolve};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

#[path = "support/server.rs"]
mod server;
#[path = "support/tls.rs"]
mod tls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (acceptor, certificate) = tls::identity(NAME)?;
    let server = server::Server::start(Some(acceptor))?;
    tracing::subscriber::set_global_default(Registry::default().with(Trees))?;

    let client = Client::builder().dns_resolver(Loopback).add_root_certificate(certificate).build()?;
    let origin = format!("https://{NAME}:{}", server.address().port());
    for (what, path) in [("new connection", "/hello"), ("reused", "/hello"), ("reused", "/bytes/1000000")] {
        println!("\n--- GET {path}, {what}\n");
        client.get(format!("{origin}{path}")).send().await?.bytes().await?;
    }
    println!(
        "\nA dial has a tree of its own (connection.setup), because it may serve several requests. The request"
    );
    println!("that waits for it shows this time as queue.");
    Ok(())
}

/// A resolver that answers 127.0.0.1 for every name, after two milliseconds.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Answer::new([(Ipv4Addr::LOCALHOST, 0).into()]))
        })
    }
}

/// A `tracing` layer that prints a tree of spans when its root closes. Each span of handclasp has its duration in
/// `elapsed_ns`.
struct Trees;

/// Data of a span, stored in the span's extensions. When the span closes, the node of the span moves into the node of its
/// parent.
#[derive(Default)]
struct Node {
    elapsed: Duration,
    fields: Vec<(&'static str, String)>,
    children: Vec<Tree>,
}

struct Tree {
    name: &'static str,
    node: Node,
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Trees {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() && metadata.target() == "handclasp"
    }

    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        let mut node = Node::default();
        attributes.record(&mut node);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(node);
        }
    }

    fn on_record(&self, id: &tracing::span::Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(node) = span.extensions_mut().get_mut::<Node>()
        {
            values.record(node);
        }
    }

    fn on_close(&self, id: tracing::span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(node) = span.extensions_mut().remove::<Node>() else { return };
        let tree = Tree { name: span.name(), node };
        match span.parent() {
            None => tree.print("", ""),
            Some(parent) => {
                if let Some(parent) = parent.extensions_mut().get_mut::<Node>() {
                    parent.children.push(tree);
                }
            }
        }
    }
}

impl tracing::field::Visit for Node {
    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        if field.name() == "elapsed_ns" {
            self.elapsed = Duration::from_nanos(value.unsigned_abs());
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        // A field that is recorded again replaces its earlier value.
        self.fields.retain(|(name, _)| *name != field.name());
        self.fields.push((field.name(), format!("{value:?}")));
    }
}

impl Tree {
    fn print(&self, first: &str, rest: &str) {
        let Node { elapsed, fields, children } = &self.node;
        let label = format!("{first}{}", self.name);
        print!("{label:<18} {:>10}", format!("{elapsed:.1?}"));
        for (name, value) in fields.iter().filter(|(name, _)| !HIDDEN.contains(name)) {
            print!("  {name}={value}");
        }
        println!();
        for (index, child) in children.iter().enumerate() {
            let (branch, below) =
                if index + 1 < children.len() { ("├─ ", "│  ") } else { ("└─ ", "   ") };
            child.print(&format!("{rest}{branch}"), &format!("{rest}{below}"));
        }
    }
}

/// Fields that are left out because they are the same in every span of this example.
const HIDDEN: [&str; 3] = ["server.address", "server.port", "url.scheme"];
const NAME: &str = "phases.example";
