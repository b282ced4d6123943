//! What went wrong, said to a client: the only table of status codes.
//!
//! Every refusal is an RFC 9457 problem with a stable `type`, which is a page that this gateway serves.
//! Rooms below know nothing of this; their errors become problems in the `From`s at the end. What is said
//! inside (`Problem::internal`) is logged once, by the front, and never sent.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::{self, PluginRefusal};
use crate::domain::FieldError;
use crate::engine::InstallError;
use crate::pipeline::{IngestError, IngestProblem, ItemError};
use crate::store;

/// Which problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Unparsable,
    Invalid,
    ReservedType,
    UnsupportedMediaType,
    UnsupportedContentEncoding,
    BodyTooLarge,
    BodyTimeout,
    TooMany,
    Unauthenticated,
    BadSignature,
    Forbidden,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    Conflict,
    DuplicateDiffers,
    LimitReached,
    PreconditionFailed,
    IdempotencyKeyReused,
    RequestUnderWay,
    RateLimited,
    PluginUnreadable,
    PluginTooLarge,
    PluginImports,
    PluginExports,
    PluginContract,
    PluginTooMuch,
    PluginDescribe,
    PluginManifest,
    PluginUncompilable,
    PluginNameReserved,
    PluginVersionTaken,
    PluginInUse,
    PluginCompileBudget,
    PluginCpuBudget,
    Overloaded,
    DiskFull,
    Unavailable,
    Internal,
}

/// One row of the table.
pub(crate) struct Entry {
    /// The last part of `type`, and of the page's URL.
    pub(crate) id: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// What it means and what to do, for the page.
    pub(crate) help: &'static str,
}

impl Kind {
    pub(crate) const ALL: [Self; 39] = [
        Self::Unparsable,
        Self::Invalid,
        Self::ReservedType,
        Self::UnsupportedMediaType,
        Self::UnsupportedContentEncoding,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::TooMany,
        Self::Unauthenticated,
        Self::BadSignature,
        Self::Forbidden,
        Self::NotFound,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::DuplicateDiffers,
        Self::LimitReached,
        Self::PreconditionFailed,
        Self::IdempotencyKeyReused,
        Self::RequestUnderWay,
        Self::RateLimited,
        Self::PluginUnreadable,
        Self::PluginTooLarge,
        Self::PluginImports,
        Self::PluginExports,
        Self::PluginContract,
        Self::PluginTooMuch,
        Self::PluginDescribe,
        Self::PluginManifest,
        Self::PluginUncompilable,
        Self::PluginNameReserved,
        Self::PluginVersionTaken,
        Self::PluginInUse,
        Self::PluginCompileBudget,
        Self::PluginCpuBudget,
        Self::Overloaded,
        Self::DiskFull,
        Self::Unavailable,
        Self::Internal,
    ];

    pub(crate) fn entry(self) -> Entry {
        let row = |id, status, title, help| Entry { id, status, title, help };
        match self {
            Self::Unparsable => row(
                "unparsable",
                StatusCode::BAD_REQUEST,
                "The body cannot be read",
                "The body is not what its content type says: most often it is not JSON. The detail says where reading \
                 stopped. Nothing of the request was applied. Check for a missing bracket, a trailing comma, single \
                 quotes, or a body that was cut off.",
            ),
            Self::Invalid => row(
                "invalid",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The request is not valid",
                "The request could be read, but something in it is not allowed, missing or unknown. Each entry of \
                 `errors` has a `pointer` (RFC 6901, as a URL fragment) to the place in the body and a `detail` that \
                 says what to write instead. Fields that are not known are refused, never ignored. Nothing was applied.",
            ),
            Self::ReservedType => row(
                "reserved-event-type",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The event type is reserved",
                "Event types that begin with `hookmill.` are the gateway's own operational events. Give your event \
                 another type.",
            ),
            Self::UnsupportedMediaType => row(
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The content type is not taken here",
                "Send `Content-Type: application/json`. Events may also be `application/x-ndjson` or one of the \
                 CloudEvents types. With curl, `-d` alone says that the body is a form: add \
                 `-H 'content-type: application/json'`.",
            ),
            Self::UnsupportedContentEncoding => row(
                "unsupported-content-encoding",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is compressed in a way that is not taken here",
                "Events are taken as they are: send them without `Content-Encoding`. Sources (`POST /in/…`) also take \
                 what is packed once, by `gzip` or `deflate`.",
            ),
            Self::BodyTooLarge => row(
                "body-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "The body is larger than this gateway takes (1 MiB unless its operator says otherwise), or than the \
                 source's own `max_body`; what is compressed counts as it is when unpacked. Send fewer events at once, \
                 or put a link to the large part into the event instead of the part itself.",
            ),
            Self::BodyTimeout => row(
                "body-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The body did not arrive in time",
                "The request's body was not complete after 30 seconds. Nothing was applied. Send it again; if it \
                 happens often, look at the network between you and the gateway.",
            ),
            Self::TooMany => row(
                "too-many-events",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too many events at once",
                "One request carries at most 1,000 events. Send them in several requests.",
            ),
            Self::Unauthenticated => row(
                "unauthenticated",
                StatusCode::UNAUTHORIZED,
                "No valid key",
                "Send `Authorization: Bearer <key>` with a key of this gateway. A key is shown once, when it is made; \
                 it may have expired or been revoked since. Make a new one with a key of the role `admin` \
                 (`POST /v1/keys`), or ask the operator.",
            ),
            Self::BadSignature => row(
                "bad-signature",
                StatusCode::UNAUTHORIZED,
                "The signature is not right",
                "The source verifies its requests, and this one did not pass: the signature is missing, was made with \
                 another secret or over other bytes, or its timestamp is too old or in the future. Compare the \
                 secret here with the one in the product, and the clocks. `GET /v1/sources/{id}/refusals` lists what \
                 was refused, and `POST /v1/sources/{id}/try` says what a given request would yield.",
            ),
            Self::Forbidden => row(
                "forbidden",
                StatusCode::FORBIDDEN,
                "The key may not do this",
                "The key is valid, but its role does not reach this far. Of a tenant's roles each may do what those \
                 before it may: `ingest` posts events, `viewer` reads, `editor` changes, `admin` makes keys and reads \
                 secrets. An operator key manages tenants and their keys and sees nothing inside a tenant.",
            ),
            Self::NotFound => row(
                "not-found",
                StatusCode::NOT_FOUND,
                "There is no such object",
                "The object does not exist, has been deleted, or belongs to another tenant. Check the id and the key.",
            ),
            Self::NoSuchRoute => row(
                "no-such-route",
                StatusCode::NOT_FOUND,
                "There is no such page or operation",
                "Nothing answers at this path. The reference at /docs lists everything that does; mind that there \
                 is no slash at the end.",
            ),
            Self::MethodNotAllowed => row(
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The method is not taken here",
                "Something answers at this path, but not to this method. The `Allow` header lists those that are taken.",
            ),
            Self::Conflict => row(
                "conflict",
                StatusCode::CONFLICT,
                "It contradicts what there is",
                "The request is valid in itself, but not as things stand now. The detail says what stands in its way.",
            ),
            Self::DuplicateDiffers => row(
                "duplicate-differs",
                StatusCode::CONFLICT,
                "The same id came with other content",
                "An event with this id was accepted within the last 24 hours, and its content \
                 was another. The first one stands. Give every event an id of its own.",
            ),
            Self::LimitReached => row(
                "limit-reached",
                StatusCode::CONFLICT,
                "There are as many as there may be",
                "A limit on the number of objects is reached. Delete one, or ask the operator for a higher limit.",
            ),
            Self::PreconditionFailed => row(
                "precondition-failed",
                StatusCode::PRECONDITION_FAILED,
                "It has changed since you read it",
                "The `If-Match` header names a version that is no longer the current one: somebody changed the object \
                 meanwhile. Read it again, look at the difference, and repeat the change with the new `ETag`.",
            ),
            Self::IdempotencyKeyReused => row(
                "idempotency-key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The Idempotency-Key was used for something else",
                "The same `Idempotency-Key` came with another body before. Use a new key for every new request.",
            ),
            Self::RequestUnderWay => row(
                "request-under-way",
                StatusCode::CONFLICT,
                "The same request is being worked on",
                "A request with this `Idempotency-Key` has not been answered yet. Wait a moment and send it again.",
            ),
            Self::RateLimited => row(
                "rate-limited",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "The tenant posts events faster than it may, or a source is posted to faster than its own `rate_limit` \
                 says. Wait as long as `Retry-After` says, or ask the operator \
                 for a higher limit. Nothing was accepted.",
            ),
            Self::PluginUnreadable => row(
                "plugin-unreadable",
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is no plugin that can be read",
                "What was uploaded is not WebAssembly, is cut off or damaged, or its types lie in one another so that \
                 nothing can read them. Upload the `.wasm` file that your build wrote: a component, or a core module as \
                 `cargo build --target wasm32-unknown-unknown` makes it with the SDK.",
            ),
            Self::PluginTooLarge => row(
                "plugin-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The plugin is too large",
                "The file is larger than this gateway takes (24 MiB unless its operator says otherwise). Build for \
                 release, with `strip` and `lto`.",
            ),
            Self::PluginImports => row(
                "plugin-imports",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin imports what it may not have",
                "A plugin is a pure function: it may import `log` of `hookmill:plugin/host`, and nothing else. It has no \
                 files, clock, randomness or network. The detail names what it asks for. Most often that is WASI: build \
                 for `wasm32-unknown-unknown`, or with WASI stubbed out.",
            ),
            Self::PluginExports => row(
                "plugin-exports",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin is neither a transform nor a connector",
                "A transform exports `describe` and `transform`, a connector `describe`, `render` and `interpret`, with \
                 the types that the contract gives them. The detail says what is missing. Most often the SDK's macro is.",
            ),
            Self::PluginContract => row(
                "plugin-contract",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin was built for another contract",
                "The plugin names a version of `hookmill:plugin` that this gateway does not speak. The detail says which \
                 it speaks. Build it with an SDK of that version, or ask the operator for a newer gateway.",
            ),
            Self::PluginTooMuch => row(
                "plugin-too-much",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin asks for too much",
                "The plugin is made of more instances, memories or tables than a plugin may have, or of larger ones. The \
                 detail says of what, and how much is allowed.",
            ),
            Self::PluginDescribe => row(
                "plugin-describe",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin could not say what it is",
                "`describe` is called once, under the limits of any call, and did not end well: it trapped, ran too long, \
                 or used too much memory. The detail has the plugin's own words. It has to give the manifest at once.",
            ),
            Self::PluginManifest => row(
                "plugin-manifest",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin's manifest breaks a rule",
                "What `describe` gave is not a manifest as the contract wants it. The detail names the field and the \
                 rule; `wit/plugin.wit` explains all of them.",
            ),
            Self::PluginUncompilable => row(
                "plugin-uncompilable",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The plugin can't be compiled",
                "The compiler did not accept the plugin, or needed more time or memory for it than there is. Make it \
                 smaller, or split it; if your build tool made it as it is, please report it.",
            ),
            Self::PluginNameReserved => row(
                "plugin-name-reserved",
                StatusCode::CONFLICT,
                "The name is a preset's",
                "A preset has this name, and presets are everybody's: they can't be replaced or deleted. Give your plugin \
                 another name, in its manifest or as `name` of a multipart upload.",
            ),
            Self::PluginVersionTaken => row(
                "plugin-version-taken",
                StatusCode::CONFLICT,
                "This version has other bytes",
                "A version never changes, so that whoever has pinned it gets what was tested. Give the plugin a new \
                 version and upload it again; or delete the one there is, if nobody uses it.",
            ),
            Self::PluginInUse => row(
                "plugin-in-use",
                StatusCode::CONFLICT,
                "Subscriptions use the plugin",
                "A plugin that subscriptions use can't be deleted. The detail names them: move them to another version, \
                 or delete them, first.",
            ),
            Self::PluginCompileBudget => row(
                "plugin-compile-budget",
                StatusCode::TOO_MANY_REQUESTS,
                "Compiling took all the time there is for it",
                "A tenant's uploads may take so much processor time in an hour, those that are refused included. Wait as \
                 long as `Retry-After` says, or ask the operator for a higher limit (`limits.plugin_compile`).",
            ),
            Self::PluginCpuBudget => row(
                "plugin-cpu-budget",
                StatusCode::TOO_MANY_REQUESTS,
                "The plugins have used up their processor time",
                "A tenant's plugins may have so much processor time in a minute. Deliveries wait for the next minute by \
                 themselves; send this request again when `Retry-After` says, or ask the operator for a higher limit \
                 (`limits.plugin_cpu`).",
            ),
            Self::Overloaded => row(
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "The gateway has too much to write",
                "Nothing was accepted. Send the request again after the time in `Retry-After`; what was answered with \
                 2xx before is safe.",
            ),
            Self::DiskFull => row(
                "disk-full",
                StatusCode::INSUFFICIENT_STORAGE,
                "The gateway's disk is nearly full",
                "New events are refused so that what was accepted stays safe. Deliveries go on. The operator has to \
                 make room; it clears by itself when old events are removed.",
            ),
            Self::Unavailable => row(
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The gateway is not ready",
                "The gateway starts, stops, or has lost its store. Nothing was accepted. Send the request again a \
                 little later.",
            ),
            Self::Internal => row(
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong in the gateway",
                "This is a fault of the gateway, not of your request. The `instance` of the answer is in its log: \
                 name it when you report the fault.",
            ),
        }
    }

    pub(crate) fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.entry().id == id)
    }
}

/// A refusal on its way to the client. The front writes it, with the request's id in it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    /// For the log only.
    internal: Option<String>,
}

/// The body of a refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemView {
    /// Which problem it is: the path of a page on this gateway.
    #[serde(rename = "type")]
    kind: String,
    /// The same in words; equal for all problems of the type.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What happened this time.
    detail: String,
    /// The request's id, as in the `x-request-id` header and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The mistakes, where they have places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldErrorView>,
}

/// A mistake and its place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FieldError)]
struct FieldErrorView {
    /// RFC 6901, as a URL fragment; `#` is the whole body.
    pointer: String,
    /// What is wrong and what to write instead.
    detail: String,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, internal: None }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        let mut problem = Self::new(Kind::Internal, "a fault in the gateway; it has been logged");
        problem.internal = Some(what.into());
        problem
    }

    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer.trim_start_matches('/'), only.detail),
            several => format!("{} fields are not valid", several.len()),
        };
        Self { errors, ..Self::new(Kind::Invalid, detail) }
    }

    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What the client is told of what happened.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The text for the log, if there is one that the client does not see.
    pub(crate) fn for_log(&self) -> &str {
        self.internal.as_deref().unwrap_or(&self.detail)
    }

    pub(crate) fn view(&self, instance: Option<&str>) -> ProblemView {
        let entry = self.kind.entry();
        ProblemView {
            kind: format!("/problems/{}", entry.id),
            title: entry.title,
            status: entry.status.as_u16(),
            detail: self.detail.clone(),
            instance: instance.map(str::to_owned),
            errors: self.errors.iter().map(FieldErrorView::from).collect(),
        }
    }

    /// The whole answer.
    pub(crate) fn render(&self, instance: &str) -> Response {
        let body = serde_json::to_vec(&self.view(Some(instance))).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.kind.entry().status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        self.add_headers(response.headers_mut());
        response
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(wait) = self.retry_after {
            // Whole seconds, never too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hookmill\""));
        }
    }
}

impl From<&FieldError> for FieldErrorView {
    fn from(error: &FieldError) -> Self {
        Self { pointer: fragment(&error.pointer), detail: error.detail.clone() }
    }
}

/// A JSON Pointer as a URL fragment (RFC 6901, section 6).
fn fragment(pointer: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const ESCAPED: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'%').add(b'#').add(b'^').add(b'{').add(b'}');
    format!("#{}", utf8_percent_encode(pointer, ESCAPED))
}

/// The front finds the problem in the response's extensions and writes it, for it knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.entry().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<control::Error> for Problem {
    fn from(error: control::Error) -> Self {
        match error {
            control::Error::NotFound(what) => Self::new(Kind::NotFound, format!("there is no such {what}")),
            control::Error::Invalid(errors) => Self::invalid(errors),
            control::Error::Conflict(detail) => Self::new(Kind::Conflict, detail),
            control::Error::Precondition => {
                Self::new(Kind::PreconditionFailed, "the object is not the version that If-Match names")
            }
            control::Error::Plugin(refusal) => (*refusal).into(),
            control::Error::CpuBudget { retry_after } => {
                Self::new(Kind::PluginCpuBudget, error.to_string()).retry_after(retry_after)
            }
            control::Error::Limit(detail) => Self::new(Kind::LimitReached, detail),
            control::Error::Store(error) => error.into(),
            control::Error::Internal(what) => Self::internal(what),
        }
    }
}

impl From<PluginRefusal> for Problem {
    fn from(refusal: PluginRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            PluginRefusal::Install(error) => error.into(),
            PluginRefusal::Reserved(_) | PluginRefusal::Preset(_) => Self::new(Kind::PluginNameReserved, detail),
            PluginRefusal::VersionTaken { .. } => Self::new(Kind::PluginVersionTaken, detail),
            PluginRefusal::InUse { .. } => Self::new(Kind::PluginInUse, detail),
            PluginRefusal::CompileBudget { retry_after } => {
                Self::new(Kind::PluginCompileBudget, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        let kind = match &error {
            InstallError::NotWasm | InstallError::Malformed(_) | InstallError::TooDeep => Kind::PluginUnreadable,
            InstallError::TooLarge { .. } => Kind::PluginTooLarge,
            InstallError::Wasi { .. } | InstallError::ForbiddenImport { .. } => Kind::PluginImports,
            InstallError::MissingExport { .. } | InstallError::WrongWorld | InstallError::WrongTypes(_) => {
                Kind::PluginExports
            }
            InstallError::Contract { .. } => Kind::PluginContract,
            InstallError::TooMuch { .. } => Kind::PluginTooMuch,
            InstallError::Describe(_) => Kind::PluginDescribe,
            InstallError::Manifest { .. } => Kind::PluginManifest,
            InstallError::Compile(_)
            | InstallError::TooSlow { .. }
            | InstallError::TooHungry { .. }
            | InstallError::TooBulky { .. }
            | InstallError::Crashed(_) => Kind::PluginUncompilable,
            InstallError::Interrupted(_) | InstallError::NoFolder => Kind::Unavailable,
        };
        let words = error.to_string();
        // What caused it is told, too: it is about the client's own bytes.
        let words = match std::error::Error::source(&error) {
            Some(cause) => format!("{words}: {cause}"),
            None => words,
        };
        match kind {
            Kind::Unavailable => {
                let mut problem = Self::new(kind, "uploads can't be compiled just now");
                problem.internal = Some(words);
                problem.retry_after(Duration::from_secs(5))
            }
            kind => Self::new(kind, words),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Overloaded => {
                Self::new(Kind::Overloaded, "too much is waiting to be written").retry_after(Duration::from_secs(1))
            }
            store::Error::DiskFull(detail) => Self::new(Kind::DiskFull, detail),
            error @ (store::Error::Fatal(_) | store::Error::Refused(_)) => {
                let mut problem =
                    Self::new(Kind::Unavailable, "the store is not available").retry_after(Duration::from_secs(5));
                problem.internal = Some(error.to_string());
                problem
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Conflict { event_id } => Self::new(
                Kind::DuplicateDiffers,
                format!("an event with this id was accepted as {event_id}, and its content was another"),
            ),
            IngestError::RateLimited { retry_after } => {
                Self::new(Kind::RateLimited, "the tenant posts events faster than it may").retry_after(retry_after)
            }
            IngestError::Schema(errors) => Self::invalid(errors),
            IngestError::NoTenant => Self::new(Kind::NotFound, "there is no such tenant"),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<ItemError> for Problem {
    fn from(error: ItemError) -> Self {
        Self::new(error.problem.into(), error.detail).with_errors(error.errors)
    }
}

impl From<IngestProblem> for Kind {
    fn from(problem: IngestProblem) -> Self {
        match problem {
            IngestProblem::Unparsable => Self::Unparsable,
            IngestProblem::Invalid => Self::Invalid,
            IngestProblem::ReservedType => Self::ReservedType,
            IngestProblem::UnsupportedMediaType => Self::UnsupportedMediaType,
            IngestProblem::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_problem_has_an_id_of_its_own_a_failure_status_and_help() {
        let mut ids = HashSet::new();
        for kind in Kind::ALL {
            let entry = kind.entry();
            assert!(ids.insert(entry.id), "{} twice", entry.id);
            assert!(entry.status.is_client_error() || entry.status.is_server_error());
            assert!(entry.help.ends_with('.') && entry.help.len() > 40, "{}", entry.id);
            assert_eq!(Kind::from_id(entry.id), Some(kind));
        }
        // `ALL` is as long as the enum: its last variant is the last entry.
        assert_eq!(Kind::ALL.len(), Kind::Internal as usize + 1);
    }

    #[test]
    fn pointers_become_fragments() {
        for (pointer, wanted) in [("", "#"), ("/a/b", "#/a/b"), ("/a b/%", "#/a%20b/%25"), ("/é", "#/%C3%A9")] {
            assert_eq!(fragment(pointer), wanted);
        }
    }

    #[test]
    fn waits_are_whole_seconds_and_never_too_early() {
        for (millis, wanted) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let response = Problem::new(Kind::RateLimited, "x").retry_after(Duration::from_millis(millis)).render("r");
            assert_eq!(response.headers()[header::RETRY_AFTER], wanted);
        }
    }
}
