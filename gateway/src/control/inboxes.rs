//! Inboxes: URLs on this gateway that take anything. What they took is not kept here.

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;

use super::{Control, Error, Result};
use crate::domain::{Inbox, InboxId, SubscriptionId, TenantId};
use crate::signing::VerifyParts;
use crate::store::{Record, RecordKey};

/// Most inboxes of one tenant.
const MOST: usize = 100;

/// What can be said of the signature on a request to an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxVerdict {
    /// It was signed with the secret of this subscription.
    Valid(SubscriptionId),
    /// A subscription points here, and this is not its signature.
    Invalid(SubscriptionId, String),
    /// No subscription that signs points here.
    Unknown,
}

impl Control {
    /// Makes an inbox.
    ///
    /// # Errors
    /// If there are too many.
    pub async fn create_inbox(&self, tenant: TenantId) -> Result<Arc<Inbox>> {
        let now = self.clock.now();
        let token: [u8; 16] = rand::random();
        let inbox = Inbox { id: InboxId::new(now), tenant_id: tenant, token: hex::encode(token), created_at: now };
        let id = inbox.id;
        let _changing = self.changing.lock().await;
        self.tenant(tenant)?;
        if self.registry.inboxes(tenant).len() >= MOST {
            return Err(Error::Limit(format!("a tenant may have {MOST} inboxes; delete one")));
        }
        self.registry.save(vec![Record::Inbox(inbox)], vec![]).await?;
        self.inbox(tenant, id)
    }

    /// One inbox.
    ///
    /// # Errors
    /// If there is none.
    pub fn inbox(&self, tenant: TenantId, id: InboxId) -> Result<Arc<Inbox>> {
        self.registry.inboxes(tenant).into_iter().find(|inbox| inbox.id == id).ok_or(Error::NotFound("inbox"))
    }

    /// A tenant's inboxes, by id.
    #[must_use]
    pub fn inboxes(&self, tenant: TenantId) -> Vec<Arc<Inbox>> {
        self.registry.inboxes(tenant)
    }

    /// The inbox behind a public URL.
    ///
    /// # Errors
    /// If there is none.
    pub fn inbox_by_token(&self, token: &str) -> Result<Arc<Inbox>> {
        self.registry.inbox(token).ok_or(Error::NotFound("inbox"))
    }

    /// Removes an inbox.
    ///
    /// # Errors
    /// If there is none.
    pub async fn delete_inbox(&self, tenant: TenantId, id: InboxId) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.inbox(tenant, id)?;
        self.registry.save(vec![], vec![RecordKey::Inbox(tenant, id)]).await?;
        Ok(())
    }

    /// Whether a request to an inbox was signed by a subscription of the same tenant that points there.
    #[must_use]
    pub fn inbox_verdict(
        &self,
        inbox: &Inbox,
        method: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> InboxVerdict {
        let mut verdict = InboxVerdict::Unknown;
        for plan in self.registry.plans(inbox.tenant_id) {
            let (Some(url), Some(signer)) = (&plan.url, &plan.signer) else { continue };
            let here = url.path().rsplit('/').find(|part| !part.is_empty()) == Some(inbox.token.as_str());
            if !plan.is_inbox || !here {
                continue;
            }
            let (scheme, keys) = signer.at(now);
            match scheme.verify(keys, &VerifyParts { headers, body, unpacked: None, url: url.as_str(), method, now }) {
                Ok(_) => return InboxVerdict::Valid(plan.subscription.id),
                Err(rejection) => verdict = InboxVerdict::Invalid(plan.subscription.id, rejection.to_string()),
            }
        }
        verdict
    }
}
