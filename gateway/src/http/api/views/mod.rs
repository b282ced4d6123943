//! How objects look to clients. Field names are a contract; nothing secret is in any of these but where a
//! secret has just been made or was asked for.

mod diagnosis;
mod event_type;
mod history;
mod plugin;
mod profile;
mod replay;
mod rollout;
mod run;
mod shapes;
mod source;
mod subscription;
mod tenant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(in super::super) use self::diagnosis::DiagnosisView;
pub(in super::super) use self::event_type::{EventTypeView, NewEventTypeBody, SampleView};
pub(in super::super) use self::history::{
    DeliveryDetailView, DeliveryNewsView, DeliveryView, EventDetailView, EventView, ExplanationView, PreviewView,
    StatsView, TestView, headers_view, text_or_base64,
};
pub(in super::super) use self::plugin::{NamedPluginView, PluginView, UploadedView};
pub(in super::super) use self::profile::{ProfileSummary, ProfileView, ReloadedView};
pub(in super::super) use self::replay::{NewReplayBody, ReplayView};
pub(in super::super) use self::rollout::{DeliveryRunView, PluginUsageView, RolloutView};
pub(in super::super) use self::run::RunView;
pub(in super::super) use self::shapes::{NewSource, NewSubscription};
pub(in super::super) use self::source::{RefusalView, RotatedSource, SourceTrialView, SourceView};
pub(in super::super) use self::subscription::{CreatedSubscription, SecretView, SubscriptionView, VerifierView};
pub(in super::super) use self::tenant::{
    CreatedKey, CreatedTenant, InboxView, KeyView, MeView, NewKeyBody, NewTenantBody, TenantView, UsageView,
};

/// A time, RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct Time(String);

impl From<jiff::Timestamp> for Time {
    fn from(at: jiff::Timestamp) -> Self {
        Self(crate::domain::rfc3339(at))
    }
}

impl utoipa::PartialSchema for Time {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Time {}

/// JSON text that goes out as it is.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(in super::super) struct Raw(Box<RawValue>);

impl Raw {
    /// The text, if it is JSON; else it as a JSON string.
    pub(in super::super) fn of(text: &str) -> Self {
        let raw = serde_json::from_str::<&RawValue>(text).map(ToOwned::to_owned);
        Self(raw.or_else(|_| serde_json::value::to_raw_value(text)).unwrap_or_default())
    }
}

impl utoipa::PartialSchema for Raw {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, SchemaType};
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Any JSON, byte by byte as it came."))
            .into()
    }
}

impl utoipa::ToSchema for Raw {}
