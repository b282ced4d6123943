//! Encrypted connections: whom they trust, and what HTTP/2 says about unread requests.

use std::net::SocketAddr;

use http::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

const CA: &[u8] = include_bytes!("../testdata/ca.pem");
const VALID: &[u8] = include_bytes!("../testdata/server.pem");
const EXPIRED: &[u8] = include_bytes!("../testdata/server-expired.pem");
const KEY: &[u8] = include_bytes!("../testdata/server-key.pem");

fn acceptor(certificate: &[u8], alpn: &[&str]) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Starts an endpoint that gives each connection to `converse`.
async fn serve_tls<F>(
    acceptor: TlsAcceptor,
    converse: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(converse(stream));
            }
        }
    });
    address
}

/// HTTP/2 over the stream: answers, or breaks every request off for the given reason.
async fn speak_h2(stream: TlsStream<TcpStream>, reason: Option<h2::Reason>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        match reason {
            Some(reason) => respond.send_reset(reason),
            None => {
                let echo = request.uri().to_string();
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(echo.into(), true).unwrap();
            }
        }
    }
}

async fn speak_h1(mut stream: TlsStream<TcpStream>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut request = [0; 4096];
    while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nh1.1").await.is_err() {
            return;
        }
    }
}

fn trusting() -> EgressConfig {
    let names = names(&[("hooks.test", &[&["127.0.0.1"]]), ("other.test", &[&["127.0.0.1"]])]);
    EgressConfig { extra_roots: CA.to_vec(), names, ..lenient() }
}

#[tokio::test]
async fn http_2_is_spoken_where_the_endpoint_can_and_http_1_elsewhere() {
    let address = serve_tls(acceptor(VALID, &["h2", "http/1.1"]), |stream| speak_h2(stream, None)).await;
    let url = format!("https://hooks.test:{}/a?b", address.port());
    let egress = egress(trusting());
    assert_eq!(egress.send(tenant(), post(&url)).await.unwrap().body, url);

    for alpn in [&["http/1.1"] as &[&str], &[]] {
        let address = serve_tls(acceptor(VALID, alpn), speak_h1).await;
        let url = format!("https://hooks.test:{}/", address.port());
        assert_eq!(egress.send(tenant(), post(&url)).await.unwrap().body, "h1.1");
    }
}

#[tokio::test]
async fn a_stream_refused_unread_means_not_sent() {
    for (reason, sent) in [(h2::Reason::REFUSED_STREAM, false), (h2::Reason::INTERNAL_ERROR, true)] {
        let address = serve_tls(acceptor(VALID, &["h2"]), move |stream| speak_h2(stream, Some(reason))).await;
        let url = format!("https://hooks.test:{}/", address.port());
        let failure = egress(trusting()).send(tenant(), post(&url)).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Reset, sent), "{failure}");
    }
}

#[tokio::test]
async fn a_certificate_must_be_trusted_valid_and_for_the_host() {
    let cases = [
        (VALID, "hooks.test", &[] as &[u8], "authority that is not trusted"),
        (VALID, "other.test", CA, "for another host"),
        (VALID, "127.0.0.1", CA, "for another host"),
        (EXPIRED, "hooks.test", CA, "has expired"),
    ];
    for (certificate, host, roots, words) in cases {
        let address = serve_tls(acceptor(certificate, &[]), speak_h1).await;
        let egress = egress(EgressConfig { extra_roots: roots.to_vec(), ..trusting() });
        let url = format!("https://{host}:{}/", address.port());
        let failure = egress.send(tenant(), post(&url)).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Tls, false), "{failure}");
        assert!(failure.detail.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn a_port_without_tls_is_told() {
    // A plain endpoint waits for the end of what it takes for a head, so answer at once instead.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let failure = egress(trusting()).send(tenant(), post(&format!("https://hooks.test:{}/", address.port()))).await;
    let failure = failure.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Tls, false), "{failure}");
    assert_eq!(failure.detail, "the endpoint does not speak TLS at this port");
}

#[tokio::test]
async fn a_handshake_that_breaks_off_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://hooks.test:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    let failure = egress(trusting()).send(tenant(), post(&url)).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Tls, false), "{failure}");
}

#[test]
fn authorities_that_are_none_are_refused() {
    for roots in ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n!"] {
        let config = EgressConfig { extra_roots: roots.into(), ..EgressConfig::usual() };
        assert!(matches!(Egress::new(config, clock()).err(), Some(Error::ExtraRoots)), "{roots}");
    }
}
