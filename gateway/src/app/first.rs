//! What a first start makes: a key for the operator and, for the newcomer, a tenant with an inbox.

use serde_json::json;

use super::Options;
use crate::control::{Control, NewKey};
use crate::domain::{Role, Secret};
use crate::registry::Registry;

/// What a first start made. Keys are shown this once.
#[derive(Debug)]
pub struct Made {
    /// The operator's key; absent if the operator chose one.
    pub operator_key: Option<Secret>,
    /// The first tenant's admin key.
    pub tenant_key: Option<Secret>,
    /// The URL of that tenant's inbox, to which a subscription delivers every event.
    pub inbox_url: Option<String>,
}

/// `None` if this store was started before.
pub(super) async fn make(
    control: &Control,
    registry: &Registry,
    options: &Options,
    public_url: &str,
) -> anyhow::Result<Option<Made>> {
    let started_before = !registry.tenants().is_empty() || !registry.keys(None).is_empty();
    if started_before {
        return Ok(None);
    }
    let operator_key = match options.operator_key {
        Some(_) => None,
        None => {
            let name = Some("made at the first start".to_owned());
            Some(control.create_key(None, NewKey { role: Role::Operator, name, expires_at: None }).await?.1)
        }
    };
    let mut made = Made { operator_key, tenant_key: None, inbox_url: None };
    if options.welcome {
        let wanted = json!({ "name": "First tenant", "uid": "first" });
        let wanted = wanted.as_object().cloned().unwrap_or_default();
        let (tenant, key) = control.create_tenant(wanted).await?;
        let inbox = control.create_inbox(tenant.id).await?;
        let url = format!("{public_url}/inbox/{}", inbox.token);
        let subscription = json!({ "name": "Everything, to the inbox", "url": url, "events": ["*"] });
        control.create_subscription(tenant.id, subscription.as_object().cloned().unwrap_or_default()).await?;
        made.tenant_key = Some(key);
        made.inbox_url = Some(url);
    }
    Ok(Some(made))
}
