//! Keys: made, listed and revoked.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::reading::{check_name, settle};
use super::{Control, Error, Result, mint};
use crate::domain::{ApiKey, FieldError, KeyId, Role, Secret, TenantId};
use crate::store::{Record, RecordKey};

/// Most keys of one owner.
const MOST: usize = 1_000;

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it may do.
    pub role: Role,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// From when on it is refused; never, unless given.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl Control {
    /// Makes a key: of a tenant, or (`None`) of the operator. Its text is shown this once.
    ///
    /// # Errors
    /// If the role does not fit the owner, or there are too many.
    pub async fn create_key(&self, owner: Option<TenantId>, wanted: NewKey) -> Result<(Arc<ApiKey>, Secret)> {
        let now = self.clock.now();
        let mut errors = Vec::new();
        check_name(wanted.name.as_deref(), &mut errors);
        let of_operator = matches!(wanted.role, Role::Operator | Role::Producer);
        match owner {
            Some(_) if of_operator => {
                errors.push(FieldError::new("/role", "a tenant's key is `ingest`, `viewer`, `editor` or `admin`"));
            }
            None if !of_operator => errors.push(FieldError::new(
                "/role",
                "an operator makes `operator` and `producer` keys here; a tenant's keys are made at /v1/tenants/{id}/keys",
            )),
            _ => {}
        }
        if wanted.expires_at.is_some_and(|at| at <= now) {
            errors.push(FieldError::new("/expires_at", "this has passed already"));
        }
        settle(errors)?;
        let _changing = self.changing.lock().await;
        if let Some(owner) = owner {
            self.tenant(owner)?;
        }
        if self.registry.keys(owner).len() >= MOST {
            return Err(Error::Limit(format!("there may be {MOST} keys; revoke one")));
        }
        let (key, text) = mint(wanted.role, owner, wanted.name, wanted.expires_at, now);
        let id = key.id;
        self.registry.save(vec![Record::Key(key)], vec![]).await?;
        Ok((self.key(owner, id)?, text))
    }

    /// One key of this owner.
    ///
    /// # Errors
    /// If there is none.
    pub fn key(&self, owner: Option<TenantId>, id: KeyId) -> Result<Arc<ApiKey>> {
        self.registry.key(id).filter(|key| key.tenant_id == owner).ok_or(Error::NotFound("key"))
    }

    /// The keys of this owner, by id.
    #[must_use]
    pub fn keys(&self, owner: Option<TenantId>) -> Vec<Arc<ApiKey>> {
        self.registry.keys(owner)
    }

    /// Revokes a key; it is refused from the next request on.
    ///
    /// # Errors
    /// If there is none, or it is the last way into the gateway.
    pub async fn revoke_key(&self, owner: Option<TenantId>, id: KeyId) -> Result<()> {
        let _changing = self.changing.lock().await;
        let key = self.key(owner, id)?;
        let now = self.clock.now();
        let lives = |key: &ApiKey| key.role == Role::Operator && key.expires_at.is_none_or(|at| at > now);
        let last = self.registry.keys(None).iter().all(|other| other.id == id || !lives(other));
        if lives(&key) && self.operator.is_none() && last {
            return Err(Error::Conflict("this is the last operator key; make another one first".to_owned()));
        }
        self.registry.save(vec![], vec![RecordKey::Key(id)]).await?;
        Ok(())
    }
}
