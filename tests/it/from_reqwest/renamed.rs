//! Calls each method that the page "Coming from reqwest" names as the replacement of a method of reqwest.
//!
//! Nothing here runs. Each function is named after a heading of the page.

#![allow(dead_code, reason = "what compiles has passed")]
#![allow(clippy::needless_pass_by_value, reason = "the arguments show the types that reqwest takes")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use handclasp::codec::Limits;
use handclasp::redirect::{Policy, Proposal};
use handclasp::tls::TlsInfo;
use handclasp::{
    Answer, Body, BoxError, Client, ClientBuilder, Family, HickoryResolver, RequestBuilder, Resolve,
    Response, SystemResolver, Uri, Url, rustls_0_23,
};

fn crate_items(resolver: impl Resolve) -> (http::Request<Body>, Arc<dyn Resolve>) {
    (http::Request::new(Body::empty()), Arc::new(resolver))
}

fn client_builder(
    resolver: Arc<dyn Resolve>,
    same: Arc<SystemResolver>,
    config: rustls::ClientConfig,
    response: &Response,
) -> [ClientBuilder; 2] {
    let _: Option<&TlsInfo> = response.connection().tls();
    let mut limits = Limits::default();
    limits.fields = 256;
    let builder = Client::builder().codec_limits(limits).dns_resolver(HickoryResolver::new());
    let builder = builder.tls_backend(rustls_0_23::client_config(config));
    [builder.dns_resolver(SystemResolver::new()).dns_resolver(same), Client::builder().dns_resolver(resolver)]
}

fn request(builder: RequestBuilder) -> handclasp::Result<http::Request<Body>> {
    let mut request: http::Request<Body> = builder.build()?;
    let _: &Uri = request.uri();
    *request.uri_mut() = Uri::from_static("http://example.org/");
    let _: &Body = request.body();
    *request.body_mut() = Body::from("text");
    drop(http::Request::new(Body::empty()));
    Ok(request)
}

fn redirect_attempt() -> Policy {
    Policy::custom(|attempt: Proposal<'_>| {
        let to: &Url = attempt.to();
        if attempt.chain().iter().any(|hop| hop.url() == to) {
            attempt.error("a loop")
        } else if attempt.chain().len() > 5 {
            attempt.stop()
        } else {
            attempt.follow()
        }
    })
}

struct Own;

impl Resolve for Own {
    fn resolve(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let _ = (name, family);
        Box::pin(async { Ok(Answer::new([([192, 0, 2, 1], 0).into()])) })
    }
}

fn dns_resolve() -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
    Resolve::resolve(&Own, "example.org", Family::V4)
}
