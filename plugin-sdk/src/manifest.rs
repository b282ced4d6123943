//! What a plugin says of itself.

use crate::bindings::transform::hookmill::plugin::types as wit;
use crate::{Batching, Interprets, OnUnknown, Rate};

/// The contract this SDK speaks.
pub const CONTRACT: &str = "0.1.0";

/// Computed authentication the host does on the plugin's behalf; a plugin never holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// None, or static secrets in the config ([`Secret`](crate::Secret)).
    None,
    /// The host adds `Authorization: Bearer …` for a Google service account.
    GoogleServiceAccount {
        /// JSON Pointer to the config field that holds the key file's JSON: `/service_account`.
        config_field: &'static str,
        /// OAuth scopes, as Google spells them.
        scopes: &'static [&'static str],
    },
}

/// A plugin's manifest, without the two parts the SDK fills in itself: the config's schema, which
/// comes from the `Config` type, and the contract's version.
///
/// ```
/// use hookmill_plugin::{Interprets, Manifest, OnUnknown};
///
/// const MANIFEST: Manifest = Manifest::connector("pager", "1.0.0")
///     .title("Pager")
///     .description("Opens an incident for every event.")
///     .hosts(&["events.pager.example"])
///     .interprets(Interprets::Errors)
///     .idempotency("dedup_key")
///     .rate(120, 60_000);
/// assert_eq!(MANIFEST.on_unknown, OnUnknown::Retry);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// 1 to 64 of `[a-z0-9-]`, beginning with a letter.
    pub name: &'static str,
    /// Semantic version; `env!("CARGO_PKG_VERSION")` is a good choice.
    pub version: &'static str,
    /// A short title for people, at most 80 characters.
    pub title: &'static str,
    /// What it does and when to use it, at most 2,000 characters.
    pub description: &'static str,
    /// Transform or connector; the constructor decides.
    pub kind: crate::Kind,
    /// Hosts it may send secrets to, besides that of the subscription's URL.
    pub hosts: &'static [&'static str],
    /// Computed authentication.
    pub auth: Auth,
    /// When `interpret` is called.
    pub interprets: Interprets,
    /// How many events a request carries; one unless said otherwise.
    pub batching: Batching,
    /// The header or body field that carries the event's id, if the target tells duplicates by it.
    pub idempotency: Option<&'static str>,
    /// What to do when it is not known whether the target got a request.
    pub on_unknown: OnUnknown,
    /// The target's usual rate.
    pub rate: Option<Rate>,
}

impl Manifest {
    /// The manifest of a transform.
    #[must_use]
    pub const fn transform(name: &'static str, version: &'static str) -> Self {
        Self::new(name, version, wit::Kind::Transform)
    }

    /// The manifest of a connector that leaves answers to the host's default rule and whose
    /// requests may be repeated.
    #[must_use]
    pub const fn connector(name: &'static str, version: &'static str) -> Self {
        Self::new(name, version, wit::Kind::Connector)
    }

    const fn new(name: &'static str, version: &'static str, kind: wit::Kind) -> Self {
        Self {
            name,
            version,
            title: name,
            description: "",
            kind,
            hosts: &[],
            auth: Auth::None,
            interprets: Interprets::Never,
            batching: Batching { max_events: 1, max_bytes: 0, max_wait_ms: 0 },
            idempotency: None,
            on_unknown: OnUnknown::Retry,
            rate: None,
        }
    }

    /// A short title for people.
    #[must_use]
    pub const fn title(mut self, title: &'static str) -> Self {
        self.title = title;
        self
    }

    /// What it does and when to use it.
    #[must_use]
    pub const fn description(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Hosts it may send secrets to, exact names.
    #[must_use]
    pub const fn hosts(mut self, hosts: &'static [&'static str]) -> Self {
        self.hosts = hosts;
        self
    }

    /// Computed authentication.
    #[must_use]
    pub const fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// When `interpret` is called.
    #[must_use]
    pub const fn interprets(mut self, interprets: Interprets) -> Self {
        self.interprets = interprets;
        self
    }

    /// How many events one request carries.
    #[must_use]
    pub const fn batching(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// Where the target finds the id it tells duplicates by.
    #[must_use]
    pub const fn idempotency(mut self, field: &'static str) -> Self {
        self.idempotency = Some(field);
        self
    }

    /// What to do when the outcome of a request is not known.
    #[must_use]
    pub const fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.on_unknown = on_unknown;
        self
    }

    /// The target's usual rate: `max` requests in `per_ms` milliseconds.
    #[must_use]
    pub const fn rate(mut self, max: u32, per_ms: u32) -> Self {
        self.rate = Some(Rate { max, per_ms });
        self
    }

    /// The contract's own record, with `schema` as the config's JSON Schema.
    pub(crate) fn to_wit(self, schema: String) -> wit::Manifest {
        wit::Manifest {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            title: self.title.to_owned(),
            description: self.description.to_owned(),
            kind: self.kind,
            config_schema: schema,
            hosts: self.hosts.iter().map(|&host| host.to_owned()).collect(),
            auth: match self.auth {
                Auth::None => wit::Auth::None,
                Auth::GoogleServiceAccount { config_field, scopes } => {
                    wit::Auth::GoogleServiceAccount(wit::GoogleAuth {
                        config_field: config_field.to_owned(),
                        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
                    })
                }
            },
            interprets: self.interprets,
            batching: self.batching,
            idempotency: self.idempotency.map(str::to_owned),
            on_unknown: self.on_unknown,
            rate: self.rate,
            contract: CONTRACT.to_owned(),
        }
    }
}
