//! Sources: where products post raw requests.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::reading::{READ_ONLY, merge, refuse, settle};
use super::{Control, Error, Expected, Result, read_value};
use crate::clock::later;
use crate::domain::{NextSecret, Secret, Source, SourceId, SourceSpec, TenantId};
use crate::registry::Inlet;
use crate::signing::Scheme;
use crate::store::{Record, RecordKey};

/// Most sources of one tenant.
const MOST: usize = 1_000;

/// How long both secrets may count.
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Fields of a source that are refused with a reason.
const REFUSED: [(&str, &str); 7] = [
    ("next_secret_from", READ_ONLY),
    ("id", READ_ONLY),
    ("url", READ_ONLY),
    ("secrets_set", READ_ONLY),
    ("created_at", READ_ONLY),
    ("updated_at", READ_ONLY),
    ("tenant_id", READ_ONLY),
];

impl Control {
    /// Makes a source.
    ///
    /// # Errors
    /// If it is not valid, or there are too many.
    pub async fn create_source(&self, tenant: TenantId, wanted: Map<String, Value>) -> Result<Arc<Inlet>> {
        settle(refuse(&wanted, &REFUSED))?;
        let spec: SourceSpec = read_value(Value::Object(without_nulls(wanted)))?;
        self.check_max_body(&spec)?;
        let now = self.clock.now();
        let id = SourceId::new(now);
        let source = Source {
            id,
            tenant_id: tenant,
            spec,
            secret: None,
            next_secret: None,
            verify_token: None,
            created_at: now,
            updated_at: now,
        };
        let _changing = self.changing.lock().await;
        if self.registry.sources(tenant).len() >= MOST {
            return Err(Error::Limit(format!("a tenant may have {MOST} sources; delete one")));
        }
        self.registry.save(vec![Record::Source(self.registry.seal_source(source))], vec![]).await?;
        self.source(tenant, id)
    }

    /// A limit that was saved when the gateway took more stays, and means the gateway's; a new one is refused.
    fn check_max_body(&self, spec: &SourceSpec) -> Result<()> {
        let most = self.registry.max_body();
        if spec.max_body.is_some_and(|wanted| wanted > most) {
            return Err(Error::field(
                "/max_body",
                format!("this gateway takes bodies of at most {most} bytes; say no more, or ask the operator for more"),
            ));
        }
        Ok(())
    }

    /// One source.
    ///
    /// # Errors
    /// If there is none.
    pub fn source(&self, tenant: TenantId, id: SourceId) -> Result<Arc<Inlet>> {
        self.registry.source(id).filter(|inlet| inlet.source.tenant_id == tenant).ok_or(Error::NotFound("source"))
    }

    /// The source behind a public URL, open or not.
    ///
    /// # Errors
    /// If there is none.
    pub fn any_source(&self, id: SourceId) -> Result<Arc<Inlet>> {
        self.registry.source(id).ok_or(Error::NotFound("source"))
    }

    /// A tenant's sources, by id.
    #[must_use]
    pub fn sources(&self, tenant: TenantId) -> Vec<Arc<Inlet>> {
        self.registry.sources(tenant)
    }

    /// The version of a source, for [`Expected`].
    #[must_use]
    pub fn source_version(source: &Source) -> String {
        source.updated_at.as_nanosecond().to_string()
    }

    /// Changes a source by a merge patch. An omitted secret is kept, `null` clears it.
    ///
    /// # Errors
    /// If there is none, it is not valid, or it has changed.
    pub async fn patch_source(
        &self,
        tenant: TenantId,
        id: SourceId,
        patch: Map<String, Value>,
        expected: &Expected,
    ) -> Result<Arc<Inlet>> {
        settle(refuse(&patch, &REFUSED))?;
        let _changing = self.changing.lock().await;
        let old = self.source(tenant, id)?;
        expected.check(&Self::source_version(&old.source))?;
        let kept = |field: &str| !patch.get(field).is_some_and(Value::is_null);
        let (secret_kept, token_kept) = (kept("secret"), kept("verify_token"));
        let new_max_body = patch.contains_key("max_body");
        let old = self.with_finished_source_rotation(&old.stored());
        let mut value = serde_json::to_value(&old.spec).map_err(|error| Error::Internal(error.to_string()))?;
        replace_schemes(&mut value, &patch);
        merge(&mut value, Value::Object(patch));
        let spec: SourceSpec = read_value(value)?;
        if new_max_body {
            self.check_max_body(&spec)?;
        }
        let source = Source {
            spec,
            secret: old.secret.filter(|_| secret_kept),
            next_secret: old.next_secret.filter(|_| secret_kept),
            verify_token: old.verify_token.filter(|_| token_kept),
            updated_at: self.clock.now(),
            ..old
        };
        self.registry.save(vec![Record::Source(self.registry.seal_source(source))], vec![]).await?;
        self.source(tenant, id)
    }

    /// Begins to believe another secret, one that is given or made. For so long both count, from then on the new one
    /// alone. The new one is given back, to be put into the product.
    ///
    /// # Errors
    /// If there is no such source, it verifies nothing, a rotation is under way, the overlap is longer than 30 days, or
    /// the secret does not fit; or if it must be given, as it is the product's public key.
    pub async fn rotate_source_secret(
        &self,
        tenant: TenantId,
        id: SourceId,
        secret: Option<String>,
        overlap: Duration,
        expected: &Expected,
    ) -> Result<(Arc<Inlet>, Secret)> {
        let _changing = self.changing.lock().await;
        let inlet = self.source(tenant, id)?;
        expected.check(&Self::source_version(&inlet.source))?;
        let old = self.with_finished_source_rotation(&inlet.source);
        let Some(first) = old.spec.verification.first().filter(|_| old.secret.is_some()) else {
            return Err(Error::Conflict("this source verifies nothing, so it has no secret to rotate".to_owned()));
        };
        if old.next_secret.is_some() {
            return Err(Error::Conflict(
                "a rotation is under way; end it with POST …/rotate-secret/finish first".to_owned(),
            ));
        }
        if overlap > LONGEST_OVERLAP {
            return Err(Error::field("/overlap", "an overlap is at most \"30d\""));
        }
        let broken = |errors| Error::Internal(format!("the stored verification does not compile: {errors:?}"));
        let secret = match secret {
            Some(text) => {
                let schemes = old.spec.verification.iter().map(Scheme::for_source);
                let schemes = schemes.collect::<std::result::Result<Vec<_>, _>>().map_err(broken)?;
                let unfit: Vec<String> = schemes.iter().filter_map(|scheme| scheme.check_secret(&text).err()).collect();
                if unfit.len() == schemes.len() {
                    return Err(Error::field("/secret", unfit.join("; or: ")));
                }
                Secret::new(text)
            }
            None => {
                let scheme = Scheme::for_source(first).map_err(broken)?;
                if scheme.takes_public_key() {
                    return Err(Error::field(
                        "/secret",
                        "give the product's new public key: only the product can make one",
                    ));
                }
                scheme.generate_secret()
            }
        };
        let now = self.clock.now();
        let sealed = self.registry.seal_source_secret(id, &secret);
        let next = Some(NextSecret { secret: sealed, from: later(now, overlap) });
        let source = Source { spec: inlet.written.clone(), next_secret: next, updated_at: now, ..old };
        let source = if overlap.is_zero() { finished(&source).unwrap_or(source) } else { source };
        self.registry.save(vec![Record::Source(source)], vec![]).await?;
        Ok((self.source(tenant, id)?, secret))
    }

    /// Ends a rotation now: the old secret counts no more.
    ///
    /// # Errors
    /// If there is no such source, it has changed, or no rotation is under way.
    pub async fn finish_source_rotation(
        &self,
        tenant: TenantId,
        id: SourceId,
        expected: &Expected,
    ) -> Result<Arc<Inlet>> {
        let _changing = self.changing.lock().await;
        let inlet = self.source(tenant, id)?;
        expected.check(&Self::source_version(&inlet.source))?;
        let Some(source) = finished(&inlet.stored()) else {
            return Err(Error::Conflict("no rotation is under way; POST …/rotate-secret begins one".to_owned()));
        };
        let source = Source { updated_at: self.clock.now(), ..source };
        self.registry.save(vec![Record::Source(source)], vec![]).await?;
        self.source(tenant, id)
    }

    /// A rotation whose overlap is over has ended by itself; the next change writes it down.
    fn with_finished_source_rotation(&self, source: &Source) -> Source {
        let over = source.next_secret.as_ref().is_some_and(|next| next.from <= self.clock.now());
        finished(source).filter(|_| over).unwrap_or_else(|| source.clone())
    }

    /// Removes a source. Its events stay.
    ///
    /// # Errors
    /// If there is none, or it has changed.
    pub async fn delete_source(&self, tenant: TenantId, id: SourceId, expected: &Expected) -> Result<()> {
        let _changing = self.changing.lock().await;
        expected.check(&Self::source_version(&self.source(tenant, id)?.source))?;
        let records = vec![RecordKey::Source(tenant, id), RecordKey::Refusals(tenant, id)];
        self.registry.save(vec![], records).await?;
        self.refusals.forget(id);
        Ok(())
    }
}

/// The same source with its new secret alone, if it has one.
fn finished(source: &Source) -> Option<Source> {
    let next = source.next_secret.clone()?;
    Some(Source { secret: Some(next.secret), next_secret: None, ..source.clone() })
}

/// A description of another scheme replaces the old one: merged into it, the fields of the old would be refused as
/// unknown to the new.
fn replace_schemes(value: &mut Value, patch: &Map<String, Value>) {
    let scheme =
        |value: Option<&Value>| value.and_then(|it| it.get("scheme")).and_then(Value::as_str).map(str::to_owned);
    if let (Some(wanted), Some(current)) = (scheme(patch.get("verification")), scheme(value.get("verification")))
        && wanted != current
        && let Some(object) = value.as_object_mut()
    {
        object.shift_remove("verification");
    }
}

/// `null` in what is to be made means absent.
pub(super) fn without_nulls(mut wanted: Map<String, Value>) -> Map<String, Value> {
    wanted.retain(|_, value| !value.is_null());
    wanted
}
