//! How a request failed, in a class for the machine and words for a tenant.
//!
//! The words never come from the network's side of the gateway: no resolved address, no operating system
//! text that could map a network behind it, nothing of an answer but its status.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;
use hyper_util::client::legacy;

use super::dial::NotConnected;
use super::policy::Blocked;
use super::resolver::{LookupError, is_out_of_files};
use crate::domain::duration;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The name could not be looked up.
    Dns,
    /// No connection came to be.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The time limit of the whole request ran out.
    Timeout,
    /// The connection broke.
    Reset,
    /// What came back was not HTTP, or went beyond a limit.
    Protocol,
    /// The URL or the address may not be reached from here.
    Blocked,
    /// The gateway ran out of file descriptors; nothing to do with the endpoint.
    TooManyFiles,
}

impl FailureClass {
    /// The word in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Blocked => "blocked",
            Self::TooManyFiles => "too_many_files",
        }
    }
}

/// A request to which no whole answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What kind of failure it was.
    pub class: FailureClass,
    /// Whether the endpoint may have got the request. `false` is a promise; `true` means unknown.
    pub sent: bool,
    /// The status of the answer, if one had begun.
    pub status: Option<StatusCode>,
    /// In words fit for a tenant.
    pub detail: String,
}

impl Failure {
    pub(super) fn unsent(class: FailureClass, detail: impl Into<String>) -> Self {
        Self { class, sent: false, status: None, detail: detail.into() }
    }

    /// The limit of the whole request ran out.
    pub(super) fn timed_out(limit: Duration, sent: bool, status: Option<StatusCode>) -> Self {
        let limit = duration::format(limit);
        let detail = match status {
            Some(status) => format!("the answer began ({}) but did not end within {limit}", status.as_u16()),
            None if sent => format!("no answer within {limit}"),
            None => format!("nothing could be sent within {limit}"),
        };
        Self { class: FailureClass::Timeout, sent, status, detail }
    }

    /// What the HTTP library said. `sent`: whether the request had begun to leave.
    pub(super) fn from_library(error: &LibraryError, sent: bool, status: Option<StatusCode>) -> Self {
        let cause = Cause::of(error);
        let was_connecting = matches!(error, LibraryError::Request(error) if error.is_connect());
        let (class, detail) = if was_connecting { cause.before_connection() } else { cause.on_connection() };
        let sent = sent && !was_connecting && !cause.was_refused_unread;
        let detail = match status {
            Some(status) => format!("{detail} (the answer had begun: {})", status.as_u16()),
            None => detail,
        };
        Self { class, sent, status, detail }
    }
}

/// What the HTTP library says: of a request and the head of its answer, or of the answer's body.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibraryError {
    #[error(transparent)]
    Request(#[from] legacy::Error),
    #[error(transparent)]
    Body(#[from] hyper::Error),
}

impl LibraryError {
    /// Where the chain of sources begins.
    fn first(&self) -> &(dyn StdError + 'static) {
        match self {
            Self::Request(error) => error,
            Self::Body(error) => error,
        }
    }
}

/// What was found along an error's chain of sources.
#[derive(Default)]
struct Cause<'a> {
    blocked: Option<Blocked>,
    lookup: Option<&'a LookupError>,
    tls: Option<&'a rustls::Error>,
    io: Option<&'a io::Error>,
    http: Option<&'a hyper::Error>,
    h2: Option<&'a h2::Error>,
    out_of_files: bool,
    timed_out: bool,
    /// The endpoint says that it did not look at the request (RFC 9113, section 8.7).
    was_refused_unread: bool,
}

impl<'a> Cause<'a> {
    fn of(error: &'a LibraryError) -> Self {
        let mut cause = Self::default();
        let mut next = Some(error.first());
        while let Some(error) = next {
            next = error.source();
            if error.is::<NotConnected>() {
                cause.timed_out = true;
            } else if let Some(blocked) = error.downcast_ref() {
                cause.blocked = Some(*blocked);
            } else if let Some(error) = error.downcast_ref() {
                cause.lookup = Some(error);
            } else if let Some(error) = error.downcast_ref() {
                cause.tls = Some(error);
            } else if let Some(error) = error.downcast_ref() {
                cause.http = Some(error);
            } else if let Some(error) = error.downcast_ref::<h2::Error>() {
                cause.note_h2(error);
            } else if let Some(error) = error.downcast_ref::<io::Error>() {
                cause.out_of_files |= is_out_of_files(error);
                cause.timed_out |= error.kind() == io::ErrorKind::TimedOut;
                cause.io = Some(error);
                // `source` of an io::Error skips the error inside it, which is where rustls puts its own.
                if let Some(inner) = error.get_ref() {
                    next = Some(inner);
                }
            }
        }
        cause
    }

    fn note_h2(&mut self, error: &'a h2::Error) {
        let unread = (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
        self.was_refused_unread |= unread && error.is_remote();
        self.h2 = Some(error);
    }

    fn before_connection(&self) -> (FailureClass, String) {
        if let Some(Blocked { reason }) = self.blocked {
            let detail = format!("the host leads to an address that may not be reached from here: {reason}");
            return (FailureClass::Blocked, detail);
        }
        if self.out_of_files || matches!(self.lookup, Some(LookupError::TooManyFiles)) {
            return (FailureClass::TooManyFiles, "the gateway has no free file descriptor".to_owned());
        }
        if let Some(error) = self.lookup {
            return (FailureClass::Dns, format!("the host could not be looked up: {error}"));
        }
        if let Some(error) = self.tls {
            return (FailureClass::Tls, describe_tls(error));
        }
        if self.timed_out {
            return (FailureClass::Connect, "the endpoint did not accept the connection in time".to_owned());
        }
        match self.io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                (FailureClass::Connect, "the endpoint refused the connection".to_owned())
            }
            // Only the handshake reads before there is a connection.
            Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                (FailureClass::Tls, "the endpoint broke the connection off during the TLS handshake".to_owned())
            }
            _ => (FailureClass::Connect, "the endpoint could not be reached".to_owned()),
        }
    }

    fn on_connection(&self) -> (FailureClass, String) {
        let invalid = || (FailureClass::Protocol, "the answer was not valid HTTP".to_owned());
        if self.out_of_files {
            return (FailureClass::TooManyFiles, "the gateway has no free file descriptor".to_owned());
        }
        if let Some(error) = self.tls {
            return (FailureClass::Reset, format!("the encrypted connection broke: {}", describe_tls(error)));
        }
        if self.was_refused_unread {
            return (FailureClass::Reset, "the endpoint closed the connection before it read the request".to_owned());
        }
        match (self.h2, self.http, self.io.map(io::Error::kind)) {
            (Some(error), ..) if error.is_reset() || error.is_go_away() => {
                let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
                (FailureClass::Reset, format!("the endpoint broke the request off: {}", reason.description()))
            }
            (Some(error), ..) if !error.is_io() => invalid(),
            (_, Some(error), _) if error.is_parse_too_large() => {
                (FailureClass::Protocol, "the head of the answer is too large".to_owned())
            }
            (_, Some(error), _) if error.is_parse() => invalid(),
            (.., Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) => invalid(),
            _ => (FailureClass::Reset, "the connection broke before a whole answer came".to_owned()),
        }
    }
}

/// The frequent failures in plain words; the rest in those of the library, which are fixed texts.
fn describe_tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::Expired | Certificate::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another host".to_owned()
            }
            Certificate::UnknownIssuer => "its certificate is by an authority that is not trusted here, or the \
                                           endpoint does not send its intermediate certificates"
                .to_owned(),
            Certificate::Revoked => "its certificate was revoked".to_owned(),
            _ => "its certificate is not valid".to_owned(),
        },
        rustls::Error::InvalidMessage(_) => "the endpoint does not speak TLS at this port".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the endpoint refused the TLS handshake: {alert:?}"),
        rustls::Error::PeerIncompatible(_) => "the endpoint offers no TLS version or cipher in use today".to_owned(),
        _ => "the TLS handshake failed".to_owned(),
    }
}
