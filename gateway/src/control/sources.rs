//! Sources: where products post raw requests.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::reading::{NOT_YET, READ_ONLY, merge, refuse, settle};
use super::{Control, Error, Expected, Result, read_value};
use crate::domain::{Source, SourceId, SourceSpec, TenantId};
use crate::registry::Inlet;
use crate::signing::{Rejection, VerifyParts};
use crate::store::{Record, RecordKey};

/// Most sources of one tenant.
const MOST: usize = 1_000;

/// Fields of a source that are refused with a reason.
const REFUSED: [(&str, &str); 9] = [
    ("profile", NOT_YET),
    ("dedupe_window", NOT_YET),
    ("response", NOT_YET),
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
        let now = self.clock.now();
        let id = SourceId::new(now);
        let source = Source { id, tenant_id: tenant, spec, secret: None, created_at: now, updated_at: now };
        let _changing = self.changing.lock().await;
        if self.registry.sources(tenant).len() >= MOST {
            return Err(Error::Limit(format!("a tenant may have {MOST} sources; delete one")));
        }
        self.registry.save(vec![Record::Source(self.registry.seal_source(source))], vec![]).await?;
        self.source(tenant, id)
    }

    /// One source.
    ///
    /// # Errors
    /// If there is none.
    pub fn source(&self, tenant: TenantId, id: SourceId) -> Result<Arc<Inlet>> {
        self.registry.source(id).filter(|inlet| inlet.source.tenant_id == tenant).ok_or(Error::NotFound("source"))
    }

    /// The source behind a public URL, if it takes requests.
    ///
    /// # Errors
    /// If there is none, or it is disabled.
    pub fn open_source(&self, id: SourceId) -> Result<Arc<Inlet>> {
        self.registry.source(id).filter(|inlet| inlet.open).ok_or(Error::NotFound("source"))
    }

    /// Whether a request was sent by the product that shares this source's secret. `url` is the source's as
    /// the product knows it; headers and body are as they came in.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(
        &self,
        inlet: &Inlet,
        method: &str,
        url: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> std::result::Result<(), Rejection> {
        let Some((scheme, keys)) = &inlet.verification else { return Ok(()) };
        let parts = VerifyParts { headers, body, url, method, now: self.clock.now() };
        scheme.verify(keys, &parts).map(|_| ())
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
        let cleared = patch.get("secret").is_some_and(Value::is_null);
        let mut value = serde_json::to_value(&old.source.spec).map_err(|error| Error::Internal(error.to_string()))?;
        merge(&mut value, Value::Object(patch));
        let source = Source {
            id,
            tenant_id: tenant,
            spec: read_value(value)?,
            secret: old.source.secret.clone().filter(|_| !cleared),
            created_at: old.source.created_at,
            updated_at: self.clock.now(),
        };
        self.registry.save(vec![Record::Source(self.registry.seal_source(source))], vec![]).await?;
        self.source(tenant, id)
    }

    /// Removes a source. Its events stay.
    ///
    /// # Errors
    /// If there is none, or it has changed.
    pub async fn delete_source(&self, tenant: TenantId, id: SourceId, expected: &Expected) -> Result<()> {
        let _changing = self.changing.lock().await;
        expected.check(&Self::source_version(&self.source(tenant, id)?.source))?;
        self.registry.save(vec![], vec![RecordKey::Source(tenant, id)]).await?;
        Ok(())
    }
}

/// `null` in what is to be made means absent.
pub(super) fn without_nulls(mut wanted: Map<String, Value>) -> Map<String, Value> {
    wanted.retain(|_, value| !value.is_null());
    wanted
}
