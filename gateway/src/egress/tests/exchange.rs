//! What is sent, what comes back, and how much of it.

use http::{HeaderValue, header};

use super::server::{Reply, answer, ok, serve};
use super::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_made_and_the_connection_is_kept() {
    let server = serve(|number, _| answer("201 Created", "x-number: a\r\n", &format!("answer {number}"))).await;
    let egress = egress(lenient());
    let tenant = tenant();
    for number in 0..3 {
        let mut request = post(&server.url("/hook?a=b%20c"));
        request.headers.insert("x-mine", HeaderValue::from_static("Value"));
        let answer = egress.send(tenant, request).await.unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(answer.body, format!("answer {number}"));
        assert_eq!(answer.headers["x-number"], "a");
        assert!(!answer.truncated);
    }
    assert_eq!(server.connections(), 1);
    let requests = server.requests.lock();
    assert_eq!(requests[0], requests[2]);
    assert!(requests[0].starts_with("POST /hook?a=b%20c HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].ends_with("\r\n\r\n{\"event\":1}"), "{}", requests[0]);
    let mut lines: Vec<&str> = requests[0].lines().skip(1).take_while(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let agent = format!("user-agent: Hookmill/{}", env!("CARGO_PKG_VERSION"));
    let host = format!("host: {}", server.address);
    assert_eq!(lines, ["accept: */*", "content-length: 11", &host, &agent, "x-mine: Value"], "no others are added");
}

#[tokio::test]
async fn a_given_user_agent_replaces_ours() {
    let server = serve(|_, _| ok("")).await;
    let mut request = post(&server.url("/"));
    request.headers.insert(header::USER_AGENT, HeaderValue::from_static("Mine/1"));
    egress(lenient()).send(tenant(), request).await.unwrap();
    assert_eq!(server.requests.lock()[0].matches("user-agent: ").count(), 1);
    assert!(server.requests.lock()[0].contains("user-agent: Mine/1\r\n"));
}

#[tokio::test]
async fn tenants_share_no_connection() {
    let server = serve(|_, _| ok("")).await;
    let egress = egress(lenient());
    let tenants = [tenant(), tenant()];
    for tenant in tenants.into_iter().chain(tenants) {
        egress.send(tenant, post(&server.url("/"))).await.unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn redirects_are_answers() {
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let server = serve(move |_, _| answer(status, "location: /elsewhere\r\n", "")).await;
        let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
        assert!(answer.status.is_redirection());
        assert_eq!(answer.headers["location"], "/elsewhere");
        assert_eq!(server.requests.lock().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_compressed_answer_stays_as_it_is() {
    let server = serve(|_, _| answer("200 OK", "content-encoding: gzip\r\n", "not really gzip")).await;
    let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
    assert_eq!(answer.body, "not really gzip");
    assert!(!server.requests.lock()[0].contains("accept-encoding"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_connection_dropped() {
    let heads = ["content-length: 1073741824", "transfer-encoding: identity", "x-none: neither"];
    for head in heads {
        let mut server = serve(move |number, _| match number {
            0 => Reply::Endless(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into_bytes()),
            _ => ok("next"),
        })
        .await;
        let egress = egress(lenient());
        let tenant = tenant();
        let cut = egress.send(tenant, post(&server.url("/"))).await;
        match cut {
            Ok(answer) => {
                assert_eq!((answer.body.len(), answer.truncated), (16 * 1024, true), "{head}");
            }
            // An encoding that cannot be framed may also be refused outright.
            Err(failure) => assert_eq!(failure.class, FailureClass::Protocol, "{head}"),
        }
        let written = server.replied.recv().await.unwrap();
        assert!(written < 256 * 1024 * 1024, "{head}: the endpoint could write {written} bytes");
        assert_eq!(egress.send(tenant, post(&server.url("/"))).await.unwrap().body, "next");
        assert_eq!(server.connections(), 2, "{head}");
    }
}

#[tokio::test]
async fn the_limit_is_exact() {
    let limit = EgressConfig::usual().response_limit;
    for (length, truncated) in [(limit - 1, false), (limit, false), (limit + 1, true), (10 * limit, true)] {
        let server = serve(move |_, _| ok(&"x".repeat(length))).await;
        let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (length.min(limit), truncated), "{length}");
    }
}

#[tokio::test]
async fn chunks_are_put_together() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n2\r\nef\r\n0\r\n\r\n";
    let server = serve(move |_, _| Reply::Answer(chunks.into())).await;
    let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.truncated), (b"abcdef".as_slice(), false));
}

#[tokio::test]
async fn headers_without_end_are_refused_and_long_ones_cut() {
    let server = serve(|_, _| answer("200 OK", &format!("x-long: {}\r\n", "a".repeat(1 << 20)), "")).await;
    let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Protocol, true));

    let many: String = (0..1000).map(|number| format!("x-{number}: a\r\n")).collect();
    let server = serve(move |_, _| answer("200 OK", &many, "")).await;
    let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Protocol, true));

    let long: String = (0..9).map(|number| format!("x-{number}: {}\r\n", "a".repeat(10_000))).collect();
    let server = serve(move |_, _| answer("200 OK", &long, "")).await;
    let answer = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap();
    assert_eq!(answer.headers["x-0"].len(), 10_000);
    assert!(answer.headers.values().map(HeaderValue::len).sum::<usize>() <= 64 * 1024);
}

#[tokio::test]
async fn a_content_length_may_lie() {
    let server = serve(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_vec())).await;
    let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Reset, true));
    assert_eq!(failure.status.unwrap(), 200);

    let smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\ncontent-length: 0\r\n\r\n";
    let server = serve(|number, _| if number == 0 { Reply::Answer(smuggled.to_vec()) } else { ok("real") }).await;
    let (egress, tenant) = (egress(lenient()), tenant());
    assert_eq!(egress.send(tenant, post(&server.url("/"))).await.unwrap().body, "ok");
    // What came unasked is nobody's answer.
    if let Ok(answer) = egress.send(tenant, post(&server.url("/"))).await {
        assert_eq!(answer.body, "real");
    }

    for lie in ["content-length: 1\r\ncontent-length: 2", "content-length: -1", "content-length: x"] {
        let server = serve(move |_, _| Reply::Close(format!("HTTP/1.1 200 OK\r\n{lie}\r\n\r\nab").into_bytes())).await;
        let failure = egress.send(tenant, post(&server.url("/"))).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Protocol, true), "{lie}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for nonsense in ["hello\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"]
    {
        let server = serve(move |_, _| Reply::Close(nonsense.into())).await;
        let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
        assert_eq!((failure.class, failure.sent), (FailureClass::Protocol, true), "{nonsense}");
        assert!(!failure.detail.contains("SSH"), "an answer must not be shown: {failure}");
    }
    let server =
        serve(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n".to_vec()))
            .await;
    let failure = egress(lenient()).send(tenant(), post(&server.url("/"))).await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (FailureClass::Protocol, true));
}
