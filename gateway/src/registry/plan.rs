//! A subscription, compiled: everything that can be worked out before the first event is worked out here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::step::{self, Meaning, Step};
use super::{Shelf, Surroundings, seal};
use crate::domain::pointer::escape;
use crate::domain::{
    Auth, AuthNeed, Envelope, FieldError, OnUnknown, RateLimit, SchemeKind, Secret, State, Subscription,
    SubscriptionSpec,
};
use crate::egress;
use crate::engine::Caller;
use crate::filter::{EventPattern, Filter};
use crate::profiles::{self, Profile, Profiles};
use crate::retry::Schedule;
use crate::signing::{Keys, Scheme};
use crate::vault::Vault;

/// A subscription, compiled.
pub struct Plan {
    /// As it is stored: what the client wrote.
    pub subscription: Arc<Subscription>,
    /// What holds: the same over its profile's delivery half. No secret is in it.
    pub spec: SubscriptionSpec,
    /// Its profile.
    pub profile: Option<Arc<Profile>>,
    /// The content type of what is sent in its profile's envelope.
    pub content_type: HeaderValue,
    /// Which event types it wants.
    pub patterns: Vec<EventPattern>,
    /// Which of those events it wants.
    pub filter: Option<Filter>,
    /// Its transforms, in order.
    pub transforms: Vec<Step>,
    /// Its connector.
    pub connector: Option<Step>,
    /// Where its connector's secrets may go besides the host of `url`.
    pub hosts: Vec<String>,
    /// Where deliveries go, unless the connector says otherwise.
    pub url: Option<Url>,
    /// The host it sends to, as far as it is known beforehand: attempts to it are counted.
    pub host: Option<Arc<str>>,
    /// Whether that is one of this gateway's own inboxes.
    pub is_inbox: bool,
    /// How requests are signed; `None`: not at all.
    pub signer: Option<Signer>,
    /// Headers of every request, `User-Agent` and static credentials among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names of those headers whose values are not shown.
    pub secret_headers: HashSet<HeaderName>,
    /// A credential that has to be fetched.
    pub fetched: Option<Auth>,
    /// What stands for a secret in a plugin's config, and the secret.
    pub placeholders: Vec<(String, Secret)>,
    /// Every secret that leaves with a request, to be masked where an endpoint echoes it.
    pub leaving: Vec<Secret>,
    /// Which answers are a success.
    pub success: Success,
    /// When to try again.
    pub schedule: Schedule,
    /// How fast it may go.
    pub rate: Option<RateLimit>,
    /// What follows an unknown outcome.
    pub on_unknown: OnUnknown,
    /// Why it can't be served, if it no longer compiles.
    pub fault: Option<String>,
}

/// A scheme and its keys.
pub struct Signer {
    scheme: Scheme,
    keys: Keys,
    /// From when on other keys count: a rotation ends by itself.
    then: Option<(Timestamp, Keys)>,
}

impl Signer {
    /// The scheme and the keys that count now.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> (&Scheme, &Keys) {
        match &self.then {
            Some((from, keys)) if now >= *from => (&self.scheme, keys),
            _ => (&self.scheme, &self.keys),
        }
    }
}

/// Which answers are a success.
#[derive(Debug, Clone)]
pub struct Success(Vec<(u16, u16)>);

impl Success {
    /// Reads `2xx`, `204` and `200-299`.
    fn parse(texts: &[String]) -> Result<Self, Vec<FieldError>> {
        let mut ranges = Vec::new();
        let mut errors = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let range = match text.as_bytes() {
                [class @ b'1'..=b'5', b'x', b'x'] => {
                    let first = u16::from(class - b'0') * 100;
                    Some((first, first + 99))
                }
                _ => match text.split_once('-') {
                    Some((first, last)) => first.parse().ok().zip(last.parse().ok()),
                    None => text.parse().ok().map(|code: u16| (code, code)),
                },
            };
            match range {
                Some((first, last)) if (100..600).contains(&first) && first <= last && last < 600 => {
                    ranges.push((first, last));
                }
                _ => errors.push(FieldError::new(
                    format!("/success/{at}"),
                    format!("`{text}` is no set of status codes; write \"2xx\", \"204\" or \"200-299\""),
                )),
            }
        }
        if texts.is_empty() {
            errors.push(FieldError::new("/success", "name at least one set of status codes, such as \"2xx\""));
        }
        if errors.is_empty() { Ok(Self(ranges)) } else { Err(errors) }
    }

    /// Whether this answer is one.
    #[must_use]
    pub fn admits(&self, status_code: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status_code))
    }
}

impl Plan {
    /// Whether it takes new events: active and paused ones do.
    #[must_use]
    pub fn takes_events(&self) -> bool {
        self.subscription.state != State::Disabled
    }

    /// On whose behalf its plugins run.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let Subscription { tenant_id, id, .. } = *self.subscription;
        Caller { tenant: tenant_id, subscription: Some(id), reuses: self.spec.reuse_instances }
    }

    /// Whether deliveries may leave now.
    #[must_use]
    pub fn sends(&self) -> bool {
        self.subscription.state == State::Active && self.fault.is_none()
    }

    /// Whether its URL is a credential in itself.
    #[must_use]
    pub fn url_is_credential(&self) -> bool {
        self.url.as_ref().is_some_and(is_credential)
    }

    /// The URL fit for reading: a credential is cut to its host.
    #[must_use]
    pub fn url_for_reading(&self) -> Option<String> {
        self.url.as_ref().map(url_for_reading)
    }

    /// JSON Pointers (as fragments) of the secrets that are set.
    #[must_use]
    pub fn secrets_set(&self) -> Vec<String> {
        let shown_in_clear = |pointer: &str| pointer == "/url" && !self.url_is_credential();
        self.subscription
            .secrets
            .keys()
            .filter(|pointer| !shown_in_clear(pointer))
            .map(|pointer| format!("#{pointer}"))
            .collect()
    }

    /// The step at a place: a transform, or after all of them the connector.
    #[must_use]
    pub fn step(&self, place: usize) -> Option<&Step> {
        self.transforms.get(place).or_else(|| self.connector.as_ref().filter(|_| place == self.transforms.len()))
    }

    /// Its steps, in order; the place of each is its number.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.transforms.iter().chain(&self.connector)
    }

    /// Of the names that it follows: which versions it has not followed, and why.
    #[must_use]
    pub fn behind(&self) -> Option<String> {
        let tried = self.steps().filter_map(|step| Some(&step.candidate.as_ref()?.step));
        let behind: Vec<&str> = self.steps().chain(tried).filter_map(|step| step.behind.as_deref()).collect();
        (!behind.is_empty()).then(|| behind.join("; "))
    }

    /// Whether this is tried beside one of the steps, and is none of them itself.
    #[must_use]
    pub fn is_on_trial(&self, reference: &str) -> bool {
        let is_tried = |step: &Step| step.candidate.as_ref().is_some_and(|tried| tried.step.reference == reference);
        self.steps().any(is_tried) && self.steps().all(|step| step.reference != reference)
    }

    /// The time an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.spec.timeout()
    }

    /// The envelope of its profile, if that is the one it uses.
    #[must_use]
    pub fn envelope(&self) -> Option<&profiles::Envelope> {
        let half = self.profile.as_ref()?.delivery.as_ref()?;
        half.envelope.as_ref().filter(|_| self.spec.envelope() == Envelope::Profile)
    }

    /// A stored subscription that no longer compiles: it takes events, and its deliveries wait until it is mended.
    pub(super) fn broken(subscription: Subscription, errors: &[FieldError]) -> Self {
        let said: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
        let patterns = subscription.spec.events.iter().filter_map(|event| EventPattern::parse(event).ok()).collect();
        Self {
            patterns,
            filter: None,
            transforms: Vec::new(),
            connector: None,
            hosts: Vec::new(),
            url: None,
            host: None,
            is_inbox: false,
            signer: None,
            headers: Vec::new(),
            secret_headers: HashSet::new(),
            fetched: None,
            placeholders: Vec::new(),
            leaving: Vec::new(),
            success: Success(Vec::new()),
            schedule: Schedule::default(),
            rate: None,
            on_unknown: OnUnknown::Retry,
            fault: Some(said.join("; ")),
            spec: subscription.spec.clone(),
            profile: None,
            content_type: JSON,
            subscription: Arc::new(subscription),
        }
    }
}

/// The URL fit for reading.
#[must_use]
pub fn url_for_reading(url: &Url) -> String {
    if is_credential(url) { format!("{}/…", url.origin().ascii_serialization()) } else { url.to_string() }
}

/// Hosts whose webhook URLs are credentials: whoever has one can post.
fn is_credential(url: &Url) -> bool {
    const HOSTS: [&str; 8] = [
        "hooks.slack.com",
        "hooks.zapier.com",
        "discord.com",
        "discordapp.com",
        "chat.googleapis.com",
        "maker.ifttt.com",
        "api.telegram.org",
        "outlook.office.com",
    ];
    const BELOW: [&str; 5] =
        [".webhook.office.com", ".logic.azure.com", ".api.powerplatform.com", ".make.com", ".hooks.slack.com"];
    let host = url.host_str().unwrap_or_default();
    HOSTS.contains(&host) || BELOW.iter().any(|below| host.ends_with(below))
}

/// What is wrong with settings that subscriptions are to have in common, such as a profile's: as far as that can be
/// said without a URL, a secret and a plugin.
#[must_use]
pub fn check_defaults(spec: &SubscriptionSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_plain_fields(spec, &mut errors);
    if let Err(found) = Scheme::for_delivery(&spec.signing()) {
        errors
            .extend(found.into_iter().map(|error| FieldError::new(format!("/signing{}", error.pointer), error.detail)));
    }
    headers(spec, &mut HashSet::new(), &mut errors);
    errors.extend(Success::parse(&spec.success()).err().into_iter().flatten());
    if let Err(found) = Schedule::compile(&spec.retry_policy) {
        errors.extend(
            found.into_iter().map(|error| FieldError::new(format!("/retry_policy{}", error.pointer), error.detail)),
        );
    }
    errors
}

pub(super) fn compile(
    subscription: Subscription,
    meaning: Meaning,
    vault: &Vault,
    shelf: &Shelf,
    surroundings: &Surroundings,
    profiles: &Profiles,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let opened = seal::open_spec(vault, &subscription).map_err(|detail| {
        vec![FieldError::new("/secret", format!("a stored secret does not open; enter it again: {detail}"))]
    })?;
    let (spec, profile) = whole(&opened, profiles)?;
    let (shown, _) = whole(&subscription.spec, profiles)?;
    check_plain_fields(&spec, &mut errors);
    let content_type = content_type(&spec, profile.as_deref(), &mut errors);
    let patterns = patterns(&spec, profile.as_deref(), &mut errors);
    let filter = spec.filters.as_ref().and_then(|filters| {
        Filter::compile(filters)
            .map_err(|found| {
                errors.extend(
                    found.into_iter().map(|error| FieldError::new(format!("/filters{}", error.pointer), error.detail)),
                );
            })
            .ok()
    });
    let (url, is_inbox) = target(&spec, surroundings, &mut errors);
    let mut placeholders = Vec::new();
    let mut reading = step::Reading {
        meaning,
        subscription: &subscription,
        vault,
        shelf,
        placeholders: &mut placeholders,
        errors: &mut errors,
    };
    let transforms: Vec<Step> = (subscription.spec.transforms.iter().enumerate())
        .filter_map(|(at, transform)| reading.transform(at, transform))
        .collect();
    let connector = subscription.spec.connector.as_ref().and_then(|connector| reading.connector(connector));
    let signer = signer(&subscription, &spec, vault, &mut errors);
    let mut secret_headers = HashSet::new();
    let headers = headers(&spec, &mut secret_headers, &mut errors);
    let fetched = fetched(&spec, connector.as_ref(), &mut errors);
    let success = Success::parse(&spec.success()).unwrap_or_else(|found| {
        errors.extend(found);
        Success(Vec::new())
    });
    let schedule = Schedule::compile(&spec.retry_policy).unwrap_or_else(|found| {
        errors.extend(
            found.into_iter().map(|error| FieldError::new(format!("/retry_policy{}", error.pointer), error.detail)),
        );
        Schedule::default()
    });
    // Who asks for nothing gets of the usual schedule what there is time for.
    let schedule = match spec.retry_policy.is_usual() {
        true => schedule.ending_before(surroundings.retention),
        false => schedule,
    };
    if schedule.total_window() >= surroundings.retention {
        errors.push(FieldError::new(
            "/retry_policy",
            format!(
                "retries would go on for {}, but deliveries are kept for {} only; shorten the schedule",
                crate::domain::duration::format(schedule.total_window()),
                crate::domain::duration::format(surroundings.retention)
            ),
        ));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let manifest = connector.as_ref().map(|step| step.plugin.manifest());
    let leaving = leaving(&subscription, &spec, vault);
    Ok(Plan {
        leaving,
        host: (url.as_ref().and_then(Url::host_str))
            .or_else(|| manifest.and_then(|manifest| manifest.hosts.first()).map(String::as_str))
            .map(Arc::from),
        hosts: connector.as_ref().map(Step::hosts).unwrap_or_default(),
        rate: spec.rate_limit.or_else(|| {
            manifest
                .and_then(|manifest| manifest.rate)
                .map(|rate| RateLimit { per: Duration::from_millis(u64::from(rate.per_ms)), max: rate.max })
        }),
        on_unknown: manifest.map_or(OnUnknown::Retry, |manifest| manifest.on_unknown),
        subscription: Arc::new(subscription),
        spec: shown,
        profile,
        content_type,
        patterns,
        filter,
        transforms,
        connector,
        url,
        is_inbox,
        signer,
        headers,
        secret_headers,
        fetched,
        placeholders,
        success,
        schedule,
        fault: None,
    })
}

fn check_plain_fields(spec: &SubscriptionSpec, errors: &mut Vec<FieldError>) {
    let mut refuse = |pointer: &str, detail: &str| errors.push(FieldError::new(pointer, detail));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if spec.uid.as_ref().is_some_and(|uid| uid.is_empty() || uid.len() > 128 || !uid.chars().all(plain)) {
        refuse("/uid", "a uid is 1 to 128 characters of A-Z a-z 0-9 . _ -");
    }
    if spec.name.as_ref().is_some_and(|name| name.len() > 200) {
        refuse("/name", "a name is at most 200 bytes");
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&spec.timeout()) {
        refuse("/timeout", "a timeout is \"1s\" to \"60s\"");
    }
    if spec.rate_limit.is_some_and(|rate| {
        !(1..=100_000).contains(&rate.max)
            || rate.per < Duration::from_millis(100)
            || rate.per > Duration::from_secs(3600)
    }) {
        refuse("/rate_limit", "`max` is 1 to 100000, and `per` is \"100ms\" to \"1h\"");
    }
    if serde_json::to_vec(&spec.metadata).map_or(0, |text| text.len()) > 16 * 1024 {
        refuse("/metadata", "metadata is at most 16 KiB");
    }
    if spec.transforms.len() > 8 {
        refuse("/transforms", "at most 8 transforms");
    }
    if spec.headers.len() + spec.secret_headers.len() > 32 {
        refuse("/headers", "at most 32 headers and secret headers");
    }
    if spec.source_ids.len() > 100 {
        refuse("/source_ids", "at most 100 sources");
    }
    for (at, name) in spec.forward_headers().iter().enumerate() {
        if let Err(detail) = egress::check_header(name, "") {
            errors.push(FieldError::new(format!("/forward_headers/{at}"), detail));
        }
    }
}

/// What is sent unless something else is said.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What holds for a spec: the same over its profile's delivery half, if it names one.
pub(super) fn whole(
    spec: &SubscriptionSpec,
    profiles: &Profiles,
) -> Result<(SubscriptionSpec, Option<Arc<Profile>>), Vec<FieldError>> {
    let wrong = |detail: String| vec![FieldError::new("/profile", detail)];
    let Some(name) = &spec.profile else { return Ok((spec.clone(), None)) };
    let profile = profiles.for_delivery(name).map_err(wrong)?;
    let whole = profile.delivery.as_ref().map_or_else(|| Ok(spec.clone()), |half| half.under(spec)).map_err(wrong)?;
    Ok((whole, Some(profile.clone())))
}

fn content_type(spec: &SubscriptionSpec, profile: Option<&Profile>, errors: &mut Vec<FieldError>) -> HeaderValue {
    if spec.envelope() != Envelope::Profile {
        return JSON;
    }
    let half = profile.and_then(|profile| profile.delivery.as_ref());
    if half.is_none_or(|half| half.envelope.is_none()) {
        errors.push(FieldError::new(
            "/envelope",
            "`profile` is the envelope of the subscription's profile, which has none; say `standard`, `none` or `cloudevents`",
        ));
    }
    let Some(text) = half.and_then(|half| half.content_type.as_deref()) else { return JSON };
    HeaderValue::try_from(text).unwrap_or_else(|_| {
        errors.push(FieldError::new("/profile", format!("the profile's content type `{text}` is no header value")));
        JSON
    })
}

fn patterns(spec: &SubscriptionSpec, profile: Option<&Profile>, errors: &mut Vec<FieldError>) -> Vec<EventPattern> {
    if spec.events.is_empty() || spec.events.len() > 200 {
        errors.push(FieldError::new("/events", "name 1 to 200 event types or wildcards, or [\"*\"] for all"));
    }
    let parse = |(at, text): (usize, &String)| {
        let meant = profile.map_or(Cow::Borrowed(text.as_str()), |profile| profile.meant_by(text));
        EventPattern::parse(&meant)
            .map_err(|error| errors.push(FieldError::new(format!("/events/{at}"), error.to_string())))
            .ok()
    };
    spec.events.iter().enumerate().filter_map(parse).collect()
}

fn target(spec: &SubscriptionSpec, surroundings: &Surroundings, errors: &mut Vec<FieldError>) -> (Option<Url>, bool) {
    let Some(text) = &spec.url else {
        if spec.connector.is_none() {
            errors.push(FieldError::new("/url", "say where to deliver: a `url`, or a connector whose config gives it"));
        }
        return (None, false);
    };
    match Url::parse(text) {
        Ok(url) => {
            let is_inbox = url.as_str().starts_with(&surroundings.inbox_prefix);
            if !is_inbox && let Err(error) = surroundings.egress.check_url(&url) {
                errors.push(FieldError::new("/url", error.to_string()));
            }
            (Some(url), is_inbox)
        }
        Err(error) => {
            errors.push(FieldError::new(
                "/url",
                format!("not an absolute URL such as https://example.com/hooks: {error}"),
            ));
            (None, false)
        }
    }
}

/// What stands for a secret in a plugin's config. It can't be guessed: it is made from the sealed form, whose
/// random nonce nobody outside has seen; and it stays the same as long as the secret does, so that frozen
/// output can still be filled in.
pub(super) fn placeholder(sealed: &crate::domain::Sealed) -> String {
    placeholder_of(sealed.0.as_bytes())
}

/// The placeholder that follows from these bytes.
pub(super) fn placeholder_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let half: String = digest.iter().take(PLACEHOLDER_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    format!("{PLACEHOLDER}{half}")
}

/// What every placeholder begins with; [`PLACEHOLDER_DIGITS`] follow.
pub const PLACEHOLDER: &str = "hmsecret";

/// Hexadecimal digits of a placeholder.
pub const PLACEHOLDER_DIGITS: usize = 32;

fn signer(
    subscription: &Subscription,
    spec: &SubscriptionSpec,
    vault: &Vault,
    errors: &mut Vec<FieldError>,
) -> Option<Signer> {
    let signing = spec.signing();
    if signing.scheme == SchemeKind::None {
        return None;
    }
    let scheme = match Scheme::for_delivery(&signing) {
        Ok(scheme) => scheme,
        Err(found) => {
            errors.extend(
                found.into_iter().map(|error| FieldError::new(format!("/signing{}", error.pointer), error.detail)),
            );
            return None;
        }
    };
    let secret = Secret::new(spec.secret.clone()?);
    if let Err(detail) = scheme.check_secret(secret.expose()) {
        errors.push(FieldError::new("/secret", detail));
        return None;
    }
    let next = subscription.next_secret.as_ref().and_then(|next| {
        vault.open(&seal::context(subscription.id, "/secret"), &next.secret).ok().map(|secret| (next.from, secret))
    });
    let keys = scheme.keys(&secret, next.as_ref().map(|(_, secret)| secret));
    let then = next.as_ref().map(|(from, secret)| scheme.keys(secret, None).map(|keys| (*from, keys))).transpose();
    match (keys, then) {
        (Ok(keys), Ok(then)) => Some(Signer { scheme, keys, then }),
        (Err(error), _) | (_, Err(error)) => {
            errors.push(FieldError::new("/secret", error.to_string()));
            None
        }
    }
}

fn headers(
    spec: &SubscriptionSpec,
    secret: &mut HashSet<HeaderName>,
    errors: &mut Vec<FieldError>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let agent = spec.user_agent.clone().unwrap_or_else(|| concat!("Hookmill/", env!("CARGO_PKG_VERSION")).to_owned());
    match HeaderValue::try_from(agent) {
        Ok(agent) => headers.push((header::USER_AGENT, agent)),
        Err(_) => errors.push(FieldError::new("/user_agent", "not a header value: printable ASCII only")),
    }
    for (place, map) in [("headers", &spec.headers), ("secret_headers", &spec.secret_headers)] {
        for (name, value) in map {
            match egress::check_header(name, value) {
                Ok((name, value)) => {
                    if place == "secret_headers" || name == header::AUTHORIZATION {
                        secret.insert(name.clone());
                    }
                    headers.push((name, value));
                }
                Err(detail) => {
                    errors.push(FieldError::new(format!("/{place}/{}", escape(name)), detail));
                }
            }
        }
    }
    if let Some(auth) = &spec.auth {
        match egress::static_header(auth) {
            Ok(Some((name, mut value))) => {
                value.set_sensitive(true);
                secret.insert(name.clone());
                headers.push((name, value));
            }
            Ok(None) => {}
            Err(detail) => errors.push(FieldError::new("/auth", detail)),
        }
    }
    headers
}

/// All of its secrets but the URL, which the endpoint knows, and the signing secret, which stays here.
/// Each in every spelling it leaves in, the longest first, so that none is masked by halves.
fn leaving(subscription: &Subscription, spec: &SubscriptionSpec, vault: &Vault) -> Vec<Secret> {
    let leaves = |pointer: &str| pointer != "/url" && pointer != "/secret" && !pointer.ends_with("/service_account");
    let secrets = subscription.secrets.iter().filter(|(pointer, _)| leaves(pointer));
    let open =
        secrets.filter_map(|(pointer, sealed)| vault.open(&seal::context(subscription.id, pointer), sealed).ok());
    let mut spellings = Vec::new();
    for secret in open {
        let raw = secret.expose();
        spellings.push(percent_encoding::utf8_percent_encode(raw, percent_encoding::NON_ALPHANUMERIC).to_string());
        let quoted = Value::from(raw).to_string();
        spellings.extend(quoted.get(1..quoted.len() - 1).map(str::to_owned));
        spellings.push(raw.to_owned());
    }
    if let Some(Auth::Basic { username, password }) = &spec.auth {
        spellings.push(STANDARD.encode(format!("{username}:{password}")));
    }
    spellings.sort_by_key(|text| std::cmp::Reverse(text.len()));
    spellings.dedup();
    spellings.into_iter().map(Secret::new).collect()
}

fn fetched(spec: &SubscriptionSpec, connector: Option<&Step>, errors: &mut Vec<FieldError>) -> Option<Auth> {
    let (pointer, key, scopes) = match (&spec.auth, connector.map(|step| &step.plugin.manifest().auth)) {
        (Some(Auth::GoogleServiceAccount { service_account, scopes }), _) => {
            ("/auth/service_account".to_owned(), service_account.clone(), scopes.clone())
        }
        (_, Some(AuthNeed::GoogleServiceAccount { config_field, scopes })) => {
            let config = &spec.connector.as_ref()?.config;
            let key = config.pointer(config_field).and_then(Value::as_str).unwrap_or_default();
            (format!("/connector/config{config_field}"), key.to_owned(), scopes.clone())
        }
        _ => return None,
    };
    if let Err(detail) = egress::check_service_account(&key) {
        errors.push(FieldError::new(pointer, detail));
        return None;
    }
    Some(Auth::GoogleServiceAccount { service_account: key, scopes })
}
