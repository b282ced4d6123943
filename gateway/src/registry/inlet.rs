//! A source, compiled: how a request to `/in/{source_id}` proves itself, what is read from it, and what it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::pointer::escape;
use crate::domain::{
    FieldError, Handshake, HandshakeMethod, Secret, Source, SourceId, SourceResponse, SourceSpec, TenantId, duration,
};
use crate::filter::Path;
use crate::profiles::{Profiles, SourceHalf};
use crate::signing::{Keys, Rejection, Scheme, VerifyParts};
use crate::vault::Vault;

/// Most ways of proof of one source: each may cost a hash of the body.
const MOST_PROOFS: usize = 4;
/// Most handshakes of one source, and most conditions of one.
const MOST_HANDSHAKES: usize = 8;
const MOST_CONDITIONS: usize = 8;
/// The longest fixed answer, in bytes.
const LONGEST_ANSWER: usize = 4_096;

/// A source, compiled.
pub struct Inlet {
    /// The source; its spec is the user's over its profile's.
    pub source: Source,
    /// The spec as the user wrote it, and as it is stored.
    pub written: SourceSpec,
    /// How a request proves itself, any of these; `None`: any is taken.
    pub verification: Option<Vec<Proof>>,
    /// Where the events are, if a request carries a list of them.
    pub each: Option<Path>,
    /// Where an event's parts are, by part.
    pub extract: BTreeMap<Part, Vec<Piece>>,
    /// Request headers kept as attributes.
    pub keep_headers: Vec<HeaderName>,
    /// Questions that are answered and are no events.
    pub handshakes: Vec<Question>,
    /// What a request that was taken is answered; `None`: the receipt.
    pub response: Option<Reply>,
    /// Whether it takes requests.
    pub open: bool,
    /// SHA-256 of the tokens that a question may bring.
    tokens: Tokens,
}

/// One way for a request to prove itself.
pub struct Proof {
    scheme: Scheme,
    /// Of every secret that counts.
    keys: Keys,
    /// Of the secret being rotated in, and from when on it alone counts.
    next: Option<(Timestamp, Keys)>,
}

impl Proof {
    fn keys(&self, now: Timestamp) -> &Keys {
        match &self.next {
            Some((from, keys)) if *from <= now => keys,
            _ => &self.keys,
        }
    }
}

#[derive(Default)]
struct Tokens {
    /// Those that count until `next` does.
    current: Vec<[u8; 32]>,
    next: Option<(Timestamp, [u8; 32])>,
}

/// A part of an event that is read from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The client's id.
    Id,
    /// The event's type.
    Type,
    /// The event's time.
    Time,
    /// The event's data; the whole body unless given.
    Data,
    /// What makes two requests the same, whatever else is in them; the id unless given.
    Dedupe,
}

impl Part {
    const ALL: [Self; 5] = [Self::Id, Self::Type, Self::Time, Self::Data, Self::Dedupe];

    /// The word in `extract`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Type => "type",
            Self::Time => "time",
            Self::Data => "data",
            Self::Dedupe => "dedupe",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == word)
    }
}

/// One piece of a part; several are joined by `.`.
pub struct Piece {
    /// Where it is.
    pub from: From,
    /// Whether the part does without it.
    pub optional: bool,
}

/// Where a piece is.
pub enum From {
    /// In the body.
    Path(Path),
    /// In a header.
    Header(HeaderName),
    /// In a parameter of the query.
    Query(String),
    /// It is this text.
    Text(String),
}

/// A question of the product, compiled.
pub struct Question {
    /// Its method.
    pub method: HandshakeMethod,
    /// What must be where.
    pub when: Vec<(From, Value)>,
    /// Where the token is that it must bring.
    pub token: Option<From>,
    /// Whether it must prove itself like any other request.
    pub verified: bool,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer.
    pub answer: Answer,
}

/// What a question is answered.
pub enum Answer {
    /// Nothing but the status.
    Nothing,
    /// The text at this place.
    Text(From),
    /// An object of these.
    Json(Vec<(String, Filling)>),
}

/// A member of an answer.
pub enum Filling {
    /// As it is.
    Fixed(Value),
    /// What is at this place.
    Place(From),
    /// The HMAC of the text at this place.
    Hmac(From),
}

/// What a request that was taken is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: String,
    /// What it is, if there is one.
    pub content_type: Option<HeaderValue>,
}

/// What a source's secrets are sealed under.
pub(super) fn context(id: SourceId, field: &str) -> String {
    format!("{id}/{field}")
}

impl Inlet {
    /// A source that does not compile any more: it takes nothing.
    pub(super) fn closed(source: Source) -> Self {
        Self {
            written: source.spec.clone(),
            source,
            verification: Some(Vec::new()),
            each: None,
            extract: BTreeMap::new(),
            keep_headers: Vec::new(),
            handshakes: Vec::new(),
            response: None,
            open: false,
            tokens: Tokens::default(),
        }
    }

    /// What a spec says of reading requests, compiled without a secret and so without verification: for samples.
    ///
    /// # Errors
    /// Every mistake, with its place; those in `verification` too.
    pub fn reading(spec: &SourceSpec) -> Result<Self, Vec<FieldError>> {
        let source = Source {
            id: SourceId::from_bytes([0; 16]),
            tenant_id: TenantId::from_bytes([0; 16]),
            spec: spec.clone(),
            secret: None,
            next_secret: None,
            verify_token: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let mut errors = Vec::new();
        schemes(spec, &mut errors);
        let inlet = readers(source, &mut errors);
        if errors.is_empty() { Ok(inlet) } else { Err(errors) }
    }

    /// The source as it is stored: without what its profile gives, so that a newer profile reaches it.
    #[must_use]
    pub fn stored(&self) -> Source {
        Source { spec: self.written.clone(), ..self.source.clone() }
    }

    /// Whether a request was sent by the product that shares this source's secret: any of the ways of proof will do.
    ///
    /// # Errors
    /// [`Rejection::StillPacked`] if one of them might do once the body is unpacked; else the reason that says most: of
    /// the first proof that was tried at all.
    pub fn verify(&self, request: &VerifyParts<'_>) -> Result<(), Rejection> {
        let Some(proofs) = &self.verification else { return Ok(()) };
        let mut why: Option<Rejection> = None;
        // A way of proof for which no secret is left does not count.
        let usable = proofs.iter().map(|proof| (&proof.scheme, proof.keys(request.now)));
        for (scheme, keys) in usable.filter(|(_, keys)| !keys.is_empty()) {
            match scheme.verify(keys, request) {
                Ok(_) => return Ok(()),
                Err(Rejection::StillPacked) => why = Some(Rejection::StillPacked),
                // That a proof was not tried at all is the last thing worth saying.
                Err(_) if why == Some(Rejection::StillPacked) => {}
                Err(rejection) if why.as_ref().is_none_or(Rejection::is_absence) && !rejection.is_absence() => {
                    why = Some(rejection);
                }
                Err(rejection) => why = why.or(Some(rejection)),
            }
        }
        Err(why.unwrap_or(Rejection::NoSecret))
    }

    /// Whether this is the token that a question must bring: the verify token or, where there is none, the secret.
    #[must_use]
    pub fn is_token(&self, text: &[u8], now: Timestamp) -> bool {
        let found: [u8; 32] = Sha256::digest(text).into();
        let (over, next) = match &self.tokens.next {
            Some((from, next)) => (*from <= now, Some(next)),
            None => (false, None),
        };
        let current = self.tokens.current.iter().filter(|_| !over);
        current.chain(next).fold(false, |matched, token| matched | bool::from(token.ct_eq(&found)))
    }

    /// The hexadecimal HMAC-SHA-256 of a text under the secret that counts now.
    #[must_use]
    pub fn hmac(&self, text: &[u8], now: Timestamp) -> Option<String> {
        let proofs = self.verification.as_deref().unwrap_or_default();
        proofs.iter().find_map(|proof| proof.keys(now).hmac_sha256_hex(text))
    }
}

pub(super) fn compile(
    mut source: Source,
    vault: &Vault,
    longest_window: Duration,
    profiles: &Profiles,
) -> Result<Inlet, Vec<FieldError>> {
    let mut errors = Vec::new();
    let written = source.spec.clone();
    let half = match &written.profile {
        Some(name) => Some(half(name, profiles)?),
        None => None,
    };
    if let Some(half) = half {
        source.spec = half.under(&written).map_err(|detail| vec![FieldError::new("/profile", detail)])?;
    }
    if source.spec.name.is_empty() || source.spec.name.len() > 200 {
        errors.push(FieldError::new("/name", "a name is 1 to 200 bytes"));
    }
    bounds(&source.spec, longest_window, &mut errors);
    let schemes = schemes(&source.spec, &mut errors);
    let mut inlet = readers(source, &mut errors);
    inlet.written = written;
    match secrets(&inlet.source, vault) {
        Ok(secrets) => {
            if !schemes.is_empty() && errors.is_empty() {
                inlet.verification = Some(proofs(schemes, &secrets, &mut errors));
            }
            inlet.tokens = secrets.tokens();
        }
        Err(found) => errors.extend(found),
    }
    for (at, question) in inlet.handshakes.iter().enumerate() {
        if question.token.is_some() && inlet.tokens.current.is_empty() {
            errors.push(FieldError::new(
                format!("/handshake/{at}/token"),
                "a token is compared with the source's `verify_token`, or its `secret`: give one of them",
            ));
        }
    }
    if let Some(hint) = half.and_then(|half| half.secret_hint.as_ref()) {
        errors.iter_mut().filter(|error| error.pointer == "/secret").for_each(|error| {
            error.detail.push_str(": ");
            error.detail.push_str(hint);
        });
    }
    if errors.is_empty() { Ok(inlet) } else { Err(errors) }
}

fn half<'p>(name: &str, profiles: &'p Profiles) -> Result<&'p SourceHalf, Vec<FieldError>> {
    let wrong = |detail: String| vec![FieldError::new("/profile", detail)];
    let profile = profiles
        .get(name)
        .ok_or_else(|| wrong(format!("there is no profile `{name}`; GET /v1/profiles lists them")))?;
    profile.source.as_ref().ok_or_else(|| wrong(format!("the profile `{name}` says nothing of a source")))
}

fn bounds(spec: &SourceSpec, longest_window: Duration, errors: &mut Vec<FieldError>) {
    let mut refuse = |pointer: &str, detail: String| errors.push(FieldError::new(pointer, detail));
    if spec.dedupe_window.is_some_and(|window| window < Duration::from_secs(1) || window > longest_window) {
        let longest = duration::format(longest_window);
        refuse("/dedupe_window", format!("a window is \"1s\" to \"{longest}\", which is how long events are kept"));
    }
    if spec.rate_limit.is_some_and(|rate| {
        !(1..=100_000).contains(&rate.max)
            || !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&rate.per)
    }) {
        refuse("/rate_limit", "`max` is 1 to 100000, and `per` is \"100ms\" to \"1h\"".to_owned());
    }
    if spec.max_body == Some(0) {
        refuse("/max_body", "a body has at least 1 byte; to take none, disable the source".to_owned());
    }
    if spec.verify_token.as_ref().is_some_and(|token| token.is_empty() || token.len() > 512) {
        refuse("/verify_token", "a token is 1 to 512 bytes".to_owned());
    }
}

/// The ways of proof, without their keys.
fn schemes(spec: &SourceSpec, errors: &mut Vec<FieldError>) -> Vec<Scheme> {
    if spec.verification.len() > MOST_PROOFS {
        errors.push(FieldError::new("/verification", format!("a source has at most {MOST_PROOFS} verifications")));
    }
    let place = |at: usize| if spec.verification.len() == 1 { String::new() } else { format!("/{at}") };
    let mut schemes = Vec::new();
    for (at, wanted) in spec.verification.iter().enumerate().take(MOST_PROOFS) {
        match Scheme::for_source(wanted) {
            Ok(scheme) => schemes.push(scheme),
            Err(found) => errors.extend(
                found
                    .into_iter()
                    .map(|error| FieldError::new(format!("/verification{}{}", place(at), error.pointer), error.detail)),
            ),
        }
    }
    schemes
}

/// A source's secrets, opened.
struct Secrets {
    secret: Option<Secret>,
    next: Option<(Timestamp, Secret)>,
    verify_token: Option<Secret>,
}

fn secrets(source: &Source, vault: &Vault) -> Result<Secrets, Vec<FieldError>> {
    let open = |field: &str, sealed| {
        vault.open(&context(source.id, field), sealed).map_err(|error| {
            vec![FieldError::new(format!("/{field}"), format!("the stored secret does not open: {error}"))]
        })
    };
    let next = match &source.next_secret {
        Some(next) => Some((next.from, open("secret", &next.secret)?)),
        None => None,
    };
    Ok(Secrets {
        secret: source.secret.as_ref().map(|sealed| open("secret", sealed)).transpose()?,
        next,
        verify_token: source.verify_token.as_ref().map(|sealed| open("verify_token", sealed)).transpose()?,
    })
}

impl Secrets {
    fn tokens(&self) -> Tokens {
        let hash = |secret: &Secret| -> [u8; 32] { Sha256::digest(secret.expose()).into() };
        match &self.verify_token {
            Some(token) => Tokens { current: vec![hash(token)], next: None },
            None => Tokens {
                current: self.secret.iter().map(hash).collect(),
                next: self.next.as_ref().map(|(from, secret)| (*from, hash(secret))),
            },
        }
    }
}

/// The ways of proof with the secrets that fit them. A product with several ways has several kinds of secrets, of which
/// the source has one.
fn proofs(schemes: Vec<Scheme>, secrets: &Secrets, errors: &mut Vec<FieldError>) -> Vec<Proof> {
    let Some(secret) = &secrets.secret else {
        errors.push(FieldError::new("/secret", "a source that verifies needs the secret it shares with the product"));
        return Vec::new();
    };
    let mut proofs = Vec::new();
    let mut unfit = Vec::new();
    for scheme in schemes {
        let next = secrets.next.as_ref().filter(|(_, next)| scheme.check_secret(next.expose()).is_ok());
        let current = match scheme.check_secret(secret.expose()) {
            Ok(()) => Some(secret),
            Err(detail) => {
                unfit.push(detail);
                None
            }
        };
        if current.is_none() && next.is_none() {
            continue;
        }
        let keys = scheme.keys_of(current.into_iter().chain(next.map(|(_, next)| next)));
        // The end of a rotation ends the old secret here even where the new one has no use.
        let next = secrets.next.as_ref().map(|(from, _)| (*from, scheme.keys_of(next.map(|(_, next)| next))));
        match (keys, next) {
            (Ok(keys), None) => proofs.push(Proof { scheme, keys, next: None }),
            (Ok(keys), Some((from, Ok(next)))) => proofs.push(Proof { scheme, keys, next: Some((from, next)) }),
            (Err(error), _) | (_, Some((_, Err(error)))) => errors.push(FieldError::new("/secret", error.to_string())),
        }
    }
    if proofs.is_empty() && errors.is_empty() {
        errors.push(FieldError::new("/secret", unfit.join("; or: ")));
    }
    proofs
}

/// What is read and answered, compiled. Nothing verifies yet.
fn readers(source: Source, errors: &mut Vec<FieldError>) -> Inlet {
    let spec = &source.spec;
    let mut each = None;
    let mut extract = BTreeMap::new();
    for (word, value) in &spec.extract {
        let pointer = format!("/extract/{}", escape(word));
        if word == "each" {
            match value.as_str().map(Path::parse) {
                Some(Ok(path)) if path.is_singular() => each = Some(path),
                _ => errors.push(FieldError::new(
                    pointer,
                    "`each` is one path that names the list, such as \"$\" or \"$.events\"",
                )),
            }
            continue;
        }
        let Some(part) = Part::from_word(word) else {
            errors.push(FieldError::new(pointer, "extract knows `each`, `id`, `type`, `time`, `data` and `dedupe`"));
            continue;
        };
        match pieces(value) {
            Ok(pieces) if part == Part::Data && !names_one_place(&pieces) => errors.push(FieldError::new(
                pointer,
                "`data` is one path that names one place, such as \"$.payload\": it is taken byte for byte",
            )),
            Ok(pieces) => {
                extract.insert(part, pieces);
            }
            Err(detail) => errors.push(FieldError::new(pointer, detail)),
        }
    }
    let mut keep_headers = Vec::new();
    for (at, name) in spec.keep_headers().iter().enumerate() {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) if !SENSITIVE.contains(&name.as_str()) => keep_headers.push(name),
            Ok(name) => errors.push(FieldError::new(
                format!("/keep_headers/{at}"),
                format!("`{name}` carries credentials and is never kept"),
            )),
            Err(_) => errors.push(FieldError::new(format!("/keep_headers/{at}"), "not a header name")),
        }
    }
    if spec.handshake.len() > MOST_HANDSHAKES {
        errors.push(FieldError::new("/handshake", format!("a source has at most {MOST_HANDSHAKES} handshakes")));
    }
    let mut handshakes = Vec::new();
    for (at, wanted) in spec.handshake.iter().enumerate().take(MOST_HANDSHAKES) {
        let base = if spec.handshake.len() == 1 { "/handshake".to_owned() } else { format!("/handshake/{at}") };
        handshakes.extend(question(wanted, &base, !spec.verification.is_empty(), errors));
    }
    let response = spec.response.as_ref().and_then(|wanted| reply(wanted, errors));
    let open = spec.enabled;
    Inlet {
        written: source.spec.clone(),
        source,
        verification: None,
        each,
        extract,
        keep_headers,
        handshakes,
        response,
        open,
        tokens: Tokens::default(),
    }
}

fn question(wanted: &Handshake, base: &str, verifies: bool, errors: &mut Vec<FieldError>) -> Option<Question> {
    let before = errors.len();
    let mut refuse = |pointer: &str, detail: String| errors.push(FieldError::new(format!("{base}{pointer}"), detail));
    if wanted.when.is_empty() || wanted.when.len() > MOST_CONDITIONS {
        refuse("/when", format!("say in 1 to {MOST_CONDITIONS} places what makes a request this question"));
    }
    let mut when = Vec::new();
    for (text, value) in &wanted.when {
        let pointer = format!("/when/{}", escape(text));
        match place(text) {
            Ok(_) if value.is_object() || value.is_array() || value.is_null() => {
                refuse(&pointer, "what must be there is a text, a number or a boolean".to_owned());
            }
            Ok(from) => when.push((from, value.clone())),
            Err(detail) => refuse(&pointer, detail),
        }
    }
    let mut at = |pointer: &str, text: &str| match place(text) {
        Ok(from) => Some(from),
        Err(detail) => {
            refuse(pointer, detail);
            None
        }
    };
    let token = wanted.token.as_deref().map(|text| at("/token", text));
    let is_post = wanted.method == HandshakeMethod::Post;
    let verified = wanted.verified.unwrap_or(is_post) && verifies;
    let answer = match (&wanted.answer.text, &wanted.answer.json) {
        (Some(text), None) => at("/answer/text", text).map(Answer::Text),
        (None, Some(json)) => {
            let mut members = Vec::new();
            for (name, value) in json {
                let pointer = format!("/answer/json/{}", escape(name));
                let hmac = value.as_object().and_then(|object| object.get("hmac")).and_then(Value::as_str);
                let filling = match (hmac, value.as_str()) {
                    (Some(text), _) => at(&format!("{pointer}/hmac"), text).map(Filling::Hmac),
                    (None, Some(text)) if is_place(text) => at(&pointer, text).map(Filling::Place),
                    _ => Some(Filling::Fixed(value.clone())),
                };
                members.extend(filling.map(|filling| (name.clone(), filling)));
            }
            Some(Answer::Json(members))
        }
        (None, None) => Some(Answer::Nothing),
        (Some(_), Some(_)) => {
            refuse("/answer", "an answer is a `text` or `json`, not both".to_owned());
            None
        }
    };
    if let Some(Answer::Json(members)) = &answer
        && members.iter().any(|(_, filling)| matches!(filling, Filling::Hmac(_)))
        && !verified
    {
        // Whoever may choose what is signed can have any request signed.
        refuse(
            "/answer/json",
            "an answer made with the secret is for verified requests: give a `verification`".to_owned(),
        );
    }
    let status = status(wanted.answer.status_code);
    if status.is_none() {
        refuse("/answer/status_code", "an answer is 200 to 299".to_owned());
    }
    let question =
        Question { method: wanted.method, when, token: token.flatten(), verified, status: status?, answer: answer? };
    (errors.len() == before).then_some(question)
}

fn reply(wanted: &SourceResponse, errors: &mut Vec<FieldError>) -> Option<Reply> {
    let before = errors.len();
    let mut refuse = |field: &str, detail: &str| errors.push(FieldError::new(format!("/response/{field}"), detail));
    let status = status(wanted.status_code);
    if status.is_none() {
        refuse("status_code", "a request that was taken is answered 200 to 299");
    }
    let body = wanted.body.clone().unwrap_or_default();
    if body.len() > LONGEST_ANSWER {
        refuse("body", "a body is at most 4096 bytes");
    }
    if !body.is_empty() && matches!(wanted.status_code, 204 | 205) {
        refuse("body", "an answer of this status has no body");
    }
    let content_type = match &wanted.content_type {
        None if body.is_empty() => None,
        None => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
        Some(text) => {
            let value = HeaderValue::from_str(text).ok();
            if value.is_none() || text.is_empty() {
                refuse("content_type", "a content type is visible ASCII, such as `application/json`");
            }
            value
        }
    };
    (errors.len() == before).then_some(Reply { status: status?, body, content_type })
}

fn status(code: u16) -> Option<StatusCode> {
    StatusCode::from_u16(code).ok().filter(StatusCode::is_success)
}

/// Headers that carry credentials: kept, they would be shown with the event.
const SENSITIVE: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// `"$.path"`, `"header:name"`, `"query:name"`, or a list of these and of literal texts; `?` at the end makes a piece
/// optional.
fn pieces(value: &Value) -> Result<Vec<Piece>, String> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(list) if !list.is_empty() && list.len() <= 8 => list
            .iter()
            .map(|item| item.as_str().ok_or_else(|| "a list holds texts only".to_owned()))
            .collect::<Result<_, _>>()?,
        _ => return Err("write \"$.path\", \"header:name\", \"query:name\", or a list of 1 to 8 of these".to_owned()),
    };
    texts.into_iter().map(piece).collect()
}

fn names_one_place(pieces: &[Piece]) -> bool {
    matches!(pieces, [Piece { from: From::Path(path), .. }] if path.is_singular())
}

fn piece(text: &str) -> Result<Piece, String> {
    let (text, optional) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
    let from = if is_place(text) { place(text)? } else { From::Text(text.to_owned()) };
    Ok(Piece { from, optional })
}

fn is_place(text: &str) -> bool {
    text.starts_with('$') || text.starts_with("header:") || text.starts_with("query:")
}

fn place(text: &str) -> Result<From, String> {
    if let Some(name) = text.strip_prefix("header:") {
        Ok(From::Header(HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?))
    } else if let Some(name) = text.strip_prefix("query:") {
        Ok(From::Query(name.to_owned()))
    } else if text.starts_with('$') {
        Ok(From::Path(Path::parse(text).map_err(|error| error.to_string())?))
    } else {
        Err(format!("`{text}` is no place: write \"$.path\", \"header:name\" or \"query:name\""))
    }
}
