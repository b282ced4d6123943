//! Connections that fail, break, hang or are kept too long, and whether the request may have arrived.

use tokio::net::TcpListener;

use super::server::{Reply, ok, serve};
use super::*;

#[tokio::test]
async fn a_closed_port_means_not_sent() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let failure = egress(lenient()).send(tenant(), post(&format!("{scheme}://{address}/"))).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Connect, false));
        assert_eq!(failure.detail, "the endpoint refused the connection");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_means_unknown() {
    let head = || b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    let replies: [fn(Vec<u8>) -> Reply; 2] = [Reply::Close, Reply::Reset];
    for reply in replies {
        for bytes in [vec![], b"HTTP/1.1 200".to_vec(), head()] {
            let sent = bytes.clone();
            let server = serve(move |_, _| reply(sent.clone())).await;
            let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
            assert_eq!((failure.class, failure.sent), (FailureClass::Reset, true), "{bytes:?}");
            assert_eq!(server.requests.lock().len(), 1, "nothing that may have been read is sent again");
        }
    }
}

#[tokio::test]
async fn the_time_limit_covers_the_wait_for_an_answer() {
    let mut server = serve(|_, _| Reply::Hang(vec![])).await;
    let clock = clock();
    let egress = Egress::new(lenient(), clock.clone()).unwrap();
    let request = tokio::spawn({
        let request = post(&server.url("/"));
        async move { egress.send(tenant(), request).await }
    });
    server.replied.recv().await.unwrap();
    clock.advance(TIMEOUT);
    let failure = request.await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Timeout, true));
    assert_eq!(failure.detail, "no answer within 30s");
}

#[tokio::test]
async fn the_time_limit_covers_a_body_that_drips() {
    let mut server = serve(|_, _| Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nx".to_vec())).await;
    let clock = clock();
    let egress = Egress::new(lenient(), clock.clone()).unwrap();
    let request = tokio::spawn({
        let request = post(&server.url("/"));
        async move { egress.send(tenant(), request).await }
    });
    server.replied.recv().await.unwrap();
    clock.advance(TIMEOUT);
    let failure = request.await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Timeout, true));
}

#[tokio::test]
async fn the_time_limit_before_the_handshake_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let clock = clock();
    let egress = Egress::new(lenient(), clock.clone()).unwrap();
    let request = tokio::spawn(async move { egress.send(tenant(), post(&url)).await });
    let (silent, _) = listener.accept().await.unwrap();
    clock.advance(TIMEOUT);
    let failure = request.await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Timeout, false));
    assert_eq!(failure.detail, "nothing could be sent within 30s");
    drop(silent);
}

#[tokio::test]
async fn a_handshake_that_never_ends_runs_into_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let egress = egress(EgressConfig { connect_timeout: Duration::from_millis(20), ..lenient() });
    let failure = egress.send(tenant(), post(&url)).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Connect, false));
    assert_eq!(failure.detail, "the endpoint did not accept the connection in time");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let mut server = serve(|number, _| {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
        if number == 0 { Reply::Close(answer) } else { Reply::Answer(answer) }
    })
    .await;
    let (egress, tenant) = (egress(lenient()), tenant());
    egress.send(tenant, post(&server.url("/"))).await.unwrap();
    server.replied.recv().await.unwrap();
    // The end of the connection is on its way to the client's task.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(egress.send(tenant, post(&server.url("/"))).await.unwrap().status, 200);
    assert_eq!((server.connections(), server.requests.lock().len()), (2, 2));
}

#[tokio::test]
async fn an_empty_body_is_sent_and_counts_as_sent() {
    let server = serve(|number, _| if number == 0 { ok("") } else { Reply::Close(vec![]) }).await;
    let (egress, tenant) = (egress(lenient()), tenant());
    let empty = || Outbound { body: Bytes::new(), ..post(&server.url("/")) };
    egress.send(tenant, empty()).await.unwrap();
    assert!(server.requests.lock()[0].contains("content-length: 0\r\n"));
    let failure = egress.send(tenant, empty()).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Reset, true));
}

/// The environment of a process cannot be changed safely while threads run, so this test runs itself again
/// in a process whose environment names a proxy that nobody answers.
#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    const NAME: &str = "egress::tests::connection::a_proxy_in_the_environment_is_not_used";
    if std::env::var_os("HOOKMILL_TEST_INSIDE").is_some() {
        let server = serve(|_, _| ok("direct")).await;
        let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
        assert_eq!(answer.body, "direct");
        return;
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = format!("http://{nobody}");
    let mut inside = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        inside.env(name, &proxy);
    }
    let output = inside.args(["--exact", NAME]).env("HOOKMILL_TEST_INSIDE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
