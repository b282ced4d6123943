//! Ids: a prefix that says what it is, and a UUIDv7, so that they sort by the time they were made.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A map by what is made here, such as ids: nobody can choose keys that fall on each other, so they are hashed in a
/// tenth of the usual time. What a client chooses belongs into the standard one.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A text that is not an id of the kind wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}… (as this gateway hands out)")]
pub struct IdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What an id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts by `now`; ids made in one process sort in the order they were made.
            #[must_use]
            pub fn new(now: Timestamp) -> Self {
                Self(time_ordered(now))
            }

            /// What sorts before every id that was made at `at` or later.
            #[must_use]
            pub fn before(at: Timestamp) -> Self {
                let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
                Self(Uuid::from_u128(u128::from(ms) << 80))
            }

            /// When it was made, in whole milliseconds.
            #[must_use]
            pub fn made_at(self) -> Timestamp {
                let ms = i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX);
                Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
            }

            /// The 16 bytes, big-endian: they sort as the ids do.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }

            /// The id with these 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .filter(|rest| rest.len() == 32)
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or(IdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.as_bytes().serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
                }
            }
        }
    )*};
}

ids! {
    /// A tenant.
    TenantId = "ten_";
    /// An API key (its public half; the secret half is only hashed).
    KeyId = "key_";
    /// A source.
    SourceId = "src_";
    /// An event.
    EventId = "evt_";
    /// A subscription.
    SubscriptionId = "sub_";
    /// A delivery.
    DeliveryId = "dlv_";
    /// An attempt.
    AttemptId = "att_";
    /// A plugin.
    PluginId = "plg_";
    /// An inbox.
    InboxId = "inb_";
    /// A request that arrived at an inbox.
    InboxRequestId = "inr_";
    /// A replay.
    ReplayId = "rpl_";
}

/// A UUIDv7 whose counter never goes backwards within this process, also inside one millisecond.
fn time_ordered(now: Timestamp) -> Uuid {
    static CONTEXT: std::sync::Mutex<uuid::ContextV7> = std::sync::Mutex::new(uuid::ContextV7::new());
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(&CONTEXT, seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_they_were_made() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let ids: Vec<EventId> = (0..1000).map(|_| EventId::new(now)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().map(ToString::to_string).is_sorted());
    }

    #[test]
    fn a_time_sorts_before_the_ids_of_its_millisecond() {
        let now: Timestamp = "2026-01-01T00:00:00.5004Z".parse().unwrap();
        let earlier = EventId::new("2026-01-01T00:00:00.4999Z".parse().unwrap());
        assert!(earlier < EventId::before(now) && EventId::before(now) < EventId::new(now));
        assert_eq!(EventId::new(now).made_at().as_millisecond(), now.as_millisecond());
        assert_eq!(EventId::before(Timestamp::MIN).to_bytes(), [0; 16]);
    }

    #[test]
    fn text_round_trips_and_kinds_do_not_mix() {
        let id = EventId::new(Timestamp::UNIX_EPOCH);
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert!(id.to_string().parse::<DeliveryId>().is_err());
        assert!("evt_".parse::<EventId>().is_err());
        assert!("evt_zz".parse::<EventId>().is_err());
        assert!(!id.to_string().contains('.'));
    }
}
