//! What stands before a route: whose key it takes, which role, whether it may be asked anything in the query, and whether
//! a write was answered before.
//!
//! A write that has begun is made to its end when its client goes away: what follows from it belongs to it, and its
//! answer is there for a client that asks again. So many at once are; what comes beside them ends with its client, or who
//! posts and goes away could have any number under way.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::params::{Nothing, query};
use super::problem::{Kind, Problem};
use super::{App, Shared, body};
use crate::control::{Begun, Principal, Refusal};
use crate::domain::{Role, TenantId};
use crate::registry::to_the_end;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anyone, without a key.
    Public,
    /// Any key.
    Anyone,
    /// A tenant's key of at least this role.
    Tenant(Role),
    /// An operator's key.
    Operator,
    /// An operator's key, or a tenant's of at least this role.
    OperatorOrTenant(Role),
    /// A producer's key.
    Producer,
}

impl Access {
    /// Whether this role, of a tenant's key or of another, gets in.
    pub(super) fn admits(self, role: Role, of_tenant: bool) -> bool {
        match self {
            Self::Public | Self::Anyone => true,
            Self::Tenant(least) => of_tenant && role >= least,
            Self::Operator => role == Role::Operator,
            Self::OperatorOrTenant(least) => role == Role::Operator || (of_tenant && role >= least),
            Self::Producer => role == Role::Producer,
        }
    }
}

/// As the documentation and the refusal say it.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("no key"),
            Self::Anyone => f.write_str("any key"),
            Self::Tenant(least) => write!(f, "a tenant's key with the role {}", at_least(*least)),
            Self::Operator => f.write_str("an `operator` key"),
            Self::OperatorOrTenant(least) => {
                write!(f, "an `operator` key, or a tenant's key with the role {}", at_least(*least))
            }
            Self::Producer => f.write_str("a `producer` key"),
        }
    }
}

/// The word of a role, as in the API.
pub(super) fn word(role: Role) -> &'static str {
    match role {
        Role::Ingest => "ingest",
        Role::Viewer => "viewer",
        Role::Editor => "editor",
        Role::Admin => "admin",
        Role::Producer => "producer",
        Role::Operator => "operator",
    }
}

/// The roles that reach so far.
fn at_least(role: Role) -> &'static str {
    match role {
        Role::Ingest => "`ingest`, `viewer`, `editor` or `admin`",
        Role::Viewer => "`viewer`, `editor` or `admin`",
        Role::Editor => "`editor` or `admin`",
        Role::Admin => "`admin`",
        Role::Producer => "`producer`",
        Role::Operator => "`operator`",
    }
}

/// Who is asking, for handlers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) Principal);

impl Caller {
    /// The tenant that the key acts for.
    pub(super) fn tenant(&self) -> Result<TenantId, Problem> {
        self.0.tenant.ok_or_else(|| Problem::internal("a tenant's route was reached without a tenant's key"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get().copied();
        caller.ok_or_else(|| Problem::internal("a route without a guard asked who is calling"))
    }
}

/// An answer that is remembered.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Writes that are made to their end, at once.
pub(super) const FINISHING: usize = 256;

/// The guard of one route.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) app: Shared,
    pub(super) access: Access,
    /// Whether its handler reads the query. Where none does, a parameter is refused here: whoever deletes with
    /// `?version=1` does not mean every version.
    pub(super) is_asked: bool,
    /// Whether it changes something; ingest sees to its own writes itself.
    pub(super) writes: bool,
    /// Whether an `Idempotency-Key` is looked at. Ingest does that itself, in the store.
    pub(super) remembers: bool,
}

/// Lets a request through, or says why not.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    if guard.access == Access::Public {
        return next.run(request).await;
    }
    let principal = match authenticate(&guard.app, guard.access, request.headers()) {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    if !guard.is_asked
        && let Err(problem) = query::<Nothing>(request.uri())
    {
        return problem.into_response();
    }
    request.extensions_mut().insert(Caller(principal));
    let place = guard.writes.then(|| guard.app.finishing.clone().try_acquire_owned().ok()).flatten();
    let is_finished = place.is_some();
    let answer = async move {
        let _place = place;
        answer(guard, principal, request, next).await
    };
    if is_finished { to_the_end(answer).await } else { answer.await }
}

async fn answer(guard: Guard, principal: Principal, request: Request, next: Next) -> Response {
    match request.headers().get("idempotency-key").filter(|_| guard.remembers).cloned() {
        None => next.run(request).await,
        Some(key) => {
            remembered(&guard, principal, &key, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
    }
}

/// Whose key a request carries, if that gets in.
pub(super) fn authenticate(app: &App, access: Access, headers: &HeaderMap) -> Result<Principal, Problem> {
    let refused = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(refused("the request carries no key; send `Authorization: Bearer <key>`"));
    };
    let text = value.to_str().unwrap_or_default();
    let key = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => return Err(refused("the `Authorization` header is not of the form `Bearer <key>`")),
    };
    let principal = app.control.authenticate(key).map_err(|refusal| match refusal {
        Refusal::Unknown => refused("the key is not known here"),
        Refusal::Expired => refused("the key has expired"),
    })?;
    if access.admits(principal.role, principal.tenant.is_some()) {
        return Ok(principal);
    }
    Err(Problem::new(Kind::Forbidden, format!("this takes {access}; yours is `{}`", word(principal.role))))
}

/// Answers a repeated write as it was answered first. What failed on our side is not remembered.
async fn remembered(
    guard: &Guard,
    principal: Principal,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if key.is_empty() || key.len() > 256 {
        return Err(Problem::new(Kind::Invalid, "an Idempotency-Key is 1 to 256 bytes"));
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(&guard.app, principal.tenant, &parts.headers, body).await?;
    let scope = format!("{:?} {:?} {} {} {key:?}", principal.key, principal.tenant, parts.method, parts.uri);
    let answers = &guard.app.answers;
    match answers.begin(&scope, Sha256::digest(&bytes).into(), guard.app.control.clock().now()) {
        Begun::New => {}
        Begun::Answered(answer) => {
            let mut response = (answer.status, answer.headers, answer.body).into_response();
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            return Ok(response);
        }
        Begun::UnderWay => {
            return Err(Problem::new(Kind::RequestUnderWay, "a request with this Idempotency-Key is being worked on"));
        }
        Begun::Other => {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "this Idempotency-Key came with another body before; use a new one",
            ));
        }
    }
    // If the handler panics, or is dropped with its client, the key is free again.
    let mut free = FreeOnDrop { guard, scope: Some(scope) };
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Problem::internal(format!("an answer could not be read back: {error}")))?;
    if let Some(scope) = free.scope.take() {
        let answer = Remembered { status: parts.status, headers: parts.headers.clone(), body: body.clone() };
        answers.finish(&scope, Some(answer));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

struct FreeOnDrop<'a> {
    guard: &'a Guard,
    scope: Option<String>,
}

impl Drop for FreeOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(scope) = self.scope.take() {
            self.guard.app.answers.finish(&scope, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: who may enter. Columns: ingest, viewer, editor, admin of a tenant; producer; operator.
    #[test]
    fn who_gets_in() {
        let keys = [
            (Role::Ingest, true),
            (Role::Viewer, true),
            (Role::Editor, true),
            (Role::Admin, true),
            (Role::Producer, false),
            (Role::Operator, false),
        ];
        for (access, wanted) in [
            (Access::Anyone, [true, true, true, true, true, true]),
            (Access::Tenant(Role::Ingest), [true, true, true, true, false, false]),
            (Access::Tenant(Role::Viewer), [false, true, true, true, false, false]),
            (Access::Tenant(Role::Editor), [false, false, true, true, false, false]),
            (Access::Tenant(Role::Admin), [false, false, false, true, false, false]),
            (Access::Operator, [false, false, false, false, false, true]),
            (Access::OperatorOrTenant(Role::Admin), [false, false, false, true, false, true]),
            (Access::Producer, [false, false, false, false, true, false]),
        ] {
            let got = keys.map(|(role, of_tenant)| access.admits(role, of_tenant));
            assert_eq!(got, wanted, "{access}");
        }
    }
}
