//! tests that no field of a span or event holds a secret of a header, a cookie or a URL.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use handclasp::Client;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::scripted::{Peers, Reply, Script};

/// Text that is part of every secret.
const SECRET: &str = "hunter2";

/// A layer that records the fields of all spans and events, of every target and level.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<String>>);

impl Visit for &Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{}={value:?}", field.name()).unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Texts {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut &*self);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut &*self);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut &*self);
    }
}

/// The requests are redirected, lost and refused, each with secrets in all fields that can hold one.
#[tokio::test(start_paused = true)]
async fn a_77_no_span_and_no_hook_shows_a_secret() {
    let texts = Texts::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(texts.clone()));
    let cookie = format!("set-cookie: a={SECRET}\r\nwww-authenticate: Basic realm={SECRET}\r\n");
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://me:{SECRET}@b.test/next\r\n{cookie}content-length: 0\r\n\r\n"
    );
    let early = format!("HTTP/1.1 103 Early\r\n{cookie}\r\n");
    let whole = format!("HTTP/1.1 200 OK\r\n{cookie}content-length: 7\r\n\r\n{SECRET}");
    let cut = Reply::raw(&[&whole.replace(": 7", ": 9")]).eof();
    let broken = Reply::raw(&[&format!("HTTP/1.1 200 OK\r\nset-cookie : {SECRET}\r\n\r\n")]);
    let peers = Peers::new(Script::new(&[
        &[Reply::raw(&[&moved])],
        &[Reply::raw(&[&early, &whole]), cut],
        &[broken],
        &[Reply::silence().eof()],
    ]));
    let hooked = Arc::new(Mutex::new(String::new()));
    let (seen, recorded) = (hooked.clone(), hooked.clone());
    let client = Client::builder()
        .connector(peers.connector())
        .on_request(move |parts, attempt| {
            let mut text = seen.lock().unwrap();
            writeln!(text, "{attempt} {:?} {:?}", parts.uri.authority(), parts.headers).unwrap();
        })
        .on_exchange(move |record| {
            let mut text = recorded.lock().unwrap();
            let (fields, sent) = (record.response_headers(), record.request_headers());
            let names = fields.map(|fields| fields.keys().collect::<Vec<_>>());
            writeln!(text, "{record:?} {record:#?} {} {names:?} {sent:?}", record.redacted_url()).unwrap();
        })
        .build()
        .unwrap();
    let request = |url: &str| {
        let request = client.post(url.replace("http://", &format!("http://me:{SECRET}@")));
        let request = request.header("cookie", format!("b={SECRET}")).header("proxy-authorization", SECRET);
        request.body(SECRET)
    };
    let response = request("http://a.test/first").send().await.unwrap();
    #[cfg(feature = "url")]
    assert_eq!(response.redirects().len(), 1);
    let mut shown = format!("{response:?}");
    drop(response.bytes().await.unwrap());
    for url in [
        "http://b.test/cut?X-Amz-Signature=hunter2",
        "http://c.test/broken?sig=hunter2",
        "http://d.test/lost",
    ] {
        let outcome =
            async { request(url).header("authorization", SECRET).send().await?.bytes().await }.await;
        let error = outcome.unwrap_err();
        writeln!(shown, "{error} {error:?} {error:#?} {}", error.chain()).unwrap();
    }
    writeln!(shown, "{client:?} {:?}", client.pool().stats()).unwrap();
    drop(client);
    let (texts, hooked) = (texts.0.lock().unwrap(), hooked.lock().unwrap());
    for text in
        ["url.full=\"http://a.test/first\"", "url.full=\"http://c.test/broken?sig=REDACTED\"", "error.type"]
    {
        assert!(texts.contains(text), "{text}: {texts}");
    }
    assert!(hooked.contains("\"authorization\": Sensitive"), "{hooked}");
    assert_eq!(hooked.matches("ExchangeRecord {\n").count(), if cfg!(feature = "url") { 5 } else { 4 });
    for text in [&*texts, &*hooked, &*shown] {
        assert!(!text.contains(SECRET) && !text.contains("104, 117, 110"), "A-77: {text}");
    }
}
