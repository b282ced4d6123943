//! Which URLs may be posted to, as far as the URL itself tells.
//!
//! The same rules stand twice: when a URL is saved, for a friendly answer, and before each request. What a
//! name leads to is judged by the resolver, at each connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::policy::{AddressPolicy, Blocked};

/// The longest URL.
pub(super) const URL_LIMIT: usize = 2048;

/// Why a URL may not be posted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither http nor https.
    #[error("the URL must begin with https://")]
    Scheme,
    /// In clear, and not to an address the operator allowed.
    #[error("the URL must begin with https://: requests in clear are refused here")]
    Plain,
    /// No host, or port 0.
    #[error("the URL names no host that can be reached")]
    Host,
    /// `user:password@`.
    #[error("the URL must not carry a user name or password: set `auth` instead")]
    UserInfo,
    /// `#…`, which is never sent.
    #[error("the URL must not have a fragment (`#…`): it would never be sent")]
    Fragment,
    /// Too long.
    #[error("the URL is longer than {URL_LIMIT} bytes")]
    Length,
    /// A name that is this machine's own by definition.
    #[error("the name `{0}` always means a loopback address, which may not be reached from here")]
    Local(String),
    /// An IP literal that may not be reached.
    #[error("the address {ip} may not be reached from here: it is {reason}")]
    Blocked {
        /// The address, as it was understood: `0x7f.1` is `127.0.0.1`.
        ip: IpAddr,
        /// What it is.
        reason: &'static str,
    },
}

/// How a request travels. Each way has its own client, whose resolver knows what is allowed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Encrypted, to public or allowed addresses.
    Encrypted,
    /// In clear, to allowed addresses only.
    Plain,
    /// To a double that the operator named; judged by nobody else.
    Mapped,
}

/// Judges a URL and says how a request to it would travel.
pub(super) fn judge(policy: &AddressPolicy, url: &Url) -> Result<Way, UrlError> {
    let way = match url.scheme() {
        "https" => Way::Encrypted,
        "http" => Way::Plain,
        _ => return Err(UrlError::Scheme),
    };
    if url.as_str().len() > URL_LIMIT {
        return Err(UrlError::Length);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    if url.port() == Some(0) {
        return Err(UrlError::Host);
    }
    let ip: IpAddr = match url.host() {
        None => return Err(UrlError::Host),
        // A name in clear may yet lead to an allowed address: then the resolver decides.
        Some(Host::Domain(_)) if way == Way::Plain && !policy.allows_any() => return Err(UrlError::Plain),
        Some(Host::Domain(name)) if name.trim_end_matches('.').is_empty() => return Err(UrlError::Host),
        Some(Host::Domain(name)) if is_local(name) && !allows_loopback(policy) => {
            return Err(UrlError::Local(name.to_owned()));
        }
        Some(Host::Domain(_)) => return Ok(way),
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
    };
    policy.check(ip).map_err(|Blocked { reason }| UrlError::Blocked { ip, reason })?;
    if way == Way::Plain && policy.check_plain(ip).is_err() {
        return Err(UrlError::Plain);
    }
    Ok(way)
}

/// `localhost` and what is below it, which no name server is asked for (RFC 6761).
fn is_local(name: &str) -> bool {
    name.trim_end_matches('.').rsplit('.').next() == Some("localhost")
}

fn allows_loopback(policy: &AddressPolicy) -> bool {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter().any(|ip| policy.check(ip).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policy: &AddressPolicy, url: &str) -> Result<Way, UrlError> {
        judge(policy, &url.parse().expect(url))
    }

    fn strict() -> AddressPolicy {
        AddressPolicy::default()
    }

    fn lenient() -> AddressPolicy {
        AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()], vec![])
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        let spellings = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
        ];
        for host in spellings {
            for scheme in ["https", "http"] {
                let url = format!("{scheme}://{host}:8080/hook");
                let error = verdict(&strict(), &url).expect_err(&url);
                assert!(matches!(error, UrlError::Blocked { reason: "a loopback address", .. }), "{url}: {error:?}");
                assert!(verdict(&lenient(), &url).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn names_that_are_always_local_are_refused_at_once() {
        for host in
            ["localhost", "LOCALHOST", "localhost.", "foo.localhost", "a.b.localhost.", "%6cocalhost", "ⓛocalhost"]
        {
            let url = format!("https://{host}:8443/hook");
            let error = verdict(&strict(), &url).expect_err(&url);
            assert!(matches!(error, UrlError::Local(_)), "{url}: {error:?}");
            assert_eq!(verdict(&lenient(), &url), Ok(Way::Encrypted), "{url}");
            let elsewhere = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()], vec![]);
            assert!(verdict(&elsewhere, &url).is_err(), "{url}");
        }
        for host in ["localhost.example", "mylocalhost", "localhost.com."] {
            assert_eq!(verdict(&strict(), &format!("https://{host}/")), Ok(Way::Encrypted), "{host}");
        }
    }

    #[test]
    fn https_goes_to_names_and_public_addresses_at_any_port() {
        for url in
            ["https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1]/"]
        {
            assert_eq!(verdict(&strict(), url), Ok(Way::Encrypted), "{url}");
        }
    }

    #[test]
    fn http_goes_only_where_the_operator_allowed_it() {
        assert_eq!(verdict(&strict(), "http://example.com/"), Err(UrlError::Plain));
        assert_eq!(verdict(&strict(), "http://8.8.8.8/"), Err(UrlError::Plain));
        assert_eq!(verdict(&lenient(), "http://8.8.8.8/"), Err(UrlError::Plain));
        assert_eq!(verdict(&lenient(), "http://127.0.0.1:9000/"), Ok(Way::Plain));
        assert_eq!(verdict(&lenient(), "http://localhost:9000/"), Ok(Way::Plain), "the resolver decides");
    }

    #[test]
    fn what_makes_no_sense_in_a_target_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(URL_LIMIT));
        let rows = [
            ("ftp://example.com/", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("data:text/plain,x", UrlError::Scheme),
            ("unix:/run/docker.sock", UrlError::Scheme),
            ("https://user@example.com/", UrlError::UserInfo),
            ("https://user:pass@example.com/", UrlError::UserInfo),
            ("https://:pass@example.com/", UrlError::UserInfo),
            ("https://example.com/#a", UrlError::Fragment),
            ("https://example.com:0/", UrlError::Host),
            (long.as_str(), UrlError::Length),
        ];
        for (url, error) in rows {
            assert_eq!(verdict(&lenient(), url), Err(error), "{url}");
        }
    }
}
