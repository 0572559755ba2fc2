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
    // Without the feature, the redirect is not followed, and this request takes its answer.
    #[cfg(not(feature = "url"))]
    drop(request("http://b.test/next").send().await.unwrap().bytes().await.unwrap());
    for url in [
        "http://b.test/cut?x-amz-signature=hunter2",
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
    assert_eq!(hooked.matches("ExchangeRecord {\n").count(), 5);
    for text in [&*texts, &*hooked, &*shown] {
        assert!(!text.contains(SECRET) && !text.contains("104, 117, 110"), "A-77: {text}");
    }
}

/// The credentials of proxies are in no span, no event, no error and no `Debug` text, and reach nobody but their proxy.
#[cfg(all(feature = "proxy", feature = "rustls", feature = "url"))]
#[tokio::test]
async fn a_60_the_credentials_of_a_proxy_are_shown_nowhere_and_reach_only_the_proxy() {
    use handclasp::header::{HeaderMap, HeaderValue};
    use handclasp::{Certificate, NoProxy, Proxy};

    use crate::support::gate::{Gate, Kind};
    use crate::support::{Server, within};

    let texts = Texts::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(texts.clone()));
    // The first request on each connection is answered, and the second is lost.
    let lossy = || {
        Server::start(|peer| {
            let Some(request) = peer.request()? else { return Ok(()) };
            peer.respond(&request.target)?;
            peer.request()?;
            peer.close()
        })
    };
    let (origin, other, direct) = (lossy(), lossy(), Server::echo());
    let secured = Server::start_tls(|peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let port = direct.address().port();
    let moving = Server::start(move |peer| {
        while peer.request()?.is_some() {
            let to = format!("http://direct.test:{port}/");
            peer.send(format!("HTTP/1.1 307 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let login = |text: &str| text.replace("SECRET", SECRET);
    let value = "Basic dXNlcjpodW50ZXIy";
    let mut fields = HeaderMap::new();
    fields.insert("x-token", HeaderValue::from_static(SECRET));
    let mut shown = String::new();
    let mut asked = Vec::new();
    for (kind, user) in [(Kind::Http, "user:SECRET"), (Kind::Socks5, "user:SECRET"), (Kind::Socks4, "SECRET")]
    {
        let known = match kind {
            Kind::Http => value.to_owned(),
            _ => login(user),
        };
        for to in [origin.address(), secured.address()] {
            let gate = Gate::start(kind, to, Some(&known)).await;
            for user in [user, "wrong-SECRET"] {
                let mut proxy = Proxy::all(gate.url(&login(user))).unwrap().tunnel(true);
                if kind == Kind::Http {
                    proxy = proxy.headers(fields.clone());
                }
                let builder = Client::builder().proxy(proxy.no_proxy(NoProxy::from_string("direct.test")));
                let root = Certificate::from_pem(secured.authority()).unwrap();
                let client = builder.add_root_certificate(root).build().unwrap();
                let mut events = client.pool().subscribe();
                let scheme = if to == origin.address() { "http://a.test/" } else { "https://localhost/" };
                for _ in 0..2 {
                    match within(20, client.get(scheme).send()).await {
                        Ok(response) => {
                            writeln!(shown, "{response:?}").unwrap();
                            drop(response.bytes().await.unwrap());
                        }
                        Err(error) => {
                            writeln!(shown, "{error} {error:?} {error:#?} {}", error.chain()).unwrap()
                        }
                    }
                }
                writeln!(shown, "{client:?} {client:#?} {} {:?}", client.pool().stats(), client.pool())
                    .unwrap();
                while let Some(event) = events.try_recv() {
                    writeln!(shown, "{event} {event:?}").unwrap();
                }
            }
            asked.extend(gate.asked());
        }
    }
    for (server, url) in [(&moving, "http://a.test/"), (&other, "http://a.test/")] {
        let proxy = Proxy::http(login(&format!("http://user:SECRET@{}", server.address()))).unwrap();
        let proxy = proxy.headers(fields.clone()).no_proxy(NoProxy::from_string("direct.test"));
        writeln!(shown, "{proxy:?} {proxy:#?}").unwrap();
        let client = Client::builder().proxy(proxy).resolve("direct.test", direct.address()).build().unwrap();
        for _ in 0..2 {
            drop(within(20, client.get(url).send()).await.unwrap().bytes().await.unwrap());
        }
        writeln!(shown, "{client:?} {}", client.pool().stats()).unwrap();
    }
    for server in [&origin, &secured, &direct] {
        for seen in server.seen() {
            let head = seen.request.head;
            assert!(
                !head.contains(SECRET) && !head.contains(value) && !head.contains("x-token"),
                "A-60 {head}"
            );
        }
    }
    assert!(direct.connections() > 0 && secured.connections() > 0 && origin.connections() > 3);
    assert!(asked.iter().any(|head| head.contains(value) && head.contains(SECRET)), "the proxy gets them");
    assert_eq!(
        other.fields("proxy-authorization"),
        vec![[value]; other.seen().len()],
        "each attempt has them"
    );
    let texts = texts.0.lock().unwrap();
    assert!(texts.contains("server.address=\"127.0.0.1\""), "{texts}");
    for text in [&*texts, &*shown] {
        for secret in [SECRET, "dXNlcjpodW50ZXIy", "104, 117, 110", "user:"] {
            assert!(!text.contains(secret), "A-60 {secret}: {text}");
        }
    }
}
