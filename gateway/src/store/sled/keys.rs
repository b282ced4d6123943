//! Keys: big-endian and of fixed length, so that they sort as what they name and nothing needs escaping.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::domain::{AttemptId, Delivery, DeliveryId, Lane, SubscriptionId, TenantId};
use crate::store::{Dedupe, due};

/// `tenant ‖ event`, `tenant ‖ delivery`, `tenant ‖ subscription`, ….
pub(super) type Pair = [u8; 32];
/// `subscription ‖ lane ‖ place ‖ delivery`.
pub(super) type QueueKey = [u8; 48];

/// Joins byte strings whose lengths add up to `N`; what is missing stays zero, what is too much is cut.
fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut at = 0;
    for part in parts {
        for (to, from) in key.iter_mut().skip(at).zip(*part) {
            *to = *from;
        }
        at += part.len();
    }
    key
}

/// The `N` bytes from `at` on, if there are so many.
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

pub(super) fn pair(tenant: TenantId, id: [u8; 16]) -> Pair {
    join(&[&tenant.to_bytes(), &id])
}

/// What a replay has added to an event.
pub(super) fn added(delivery: &Delivery) -> [u8; 48] {
    join(&[&delivery.tenant_id.to_bytes(), &delivery.event_id.to_bytes(), &delivery.id.to_bytes()])
}

/// What a client's id is kept under: its beginning, so that ids that rise with time (numbers, ULIDs, KSUIDs, UUIDs of
/// version 7) lie together and are written together; and a digest of all that makes it the same as another, since a client's
/// words are of any length and keys are not. Half of a SHA-256 is enough: who finds two ids with the same has found them for
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientId {
    tenant: TenantId,
    beginning: [u8; 22],
    digest: [u8; 32],
}

impl ClientId {
    pub(super) fn of(tenant: TenantId, dedupe: &Dedupe) -> Self {
        let digest = Sha256::new().chain_update(&dedupe.scope).chain_update([0]).chain_update(&dedupe.key).finalize();
        Self { tenant, beginning: join(&[dedupe.key.as_bytes()]), digest: digest.into() }
    }

    /// Its key in [`Table::Ids`](super::tables::Table::Ids). Without the tenant, which most leaves hold once for all, it has
    /// 38 bytes: with more, it would not stand in its leaf (see `vendor/README.md`).
    pub(super) fn key(&self) -> [u8; 54] {
        join(&[&self.tenant.to_bytes(), &self.beginning, &self.digest])
    }

    /// Its key in [`Table::Dedupe`](super::tables::Table::Dedupe).
    pub(super) fn key_before_version_7(&self) -> [u8; 48] {
        join(&[&self.tenant.to_bytes(), &self.digest])
    }
}

/// Attempts sort by number within their delivery.
pub(super) fn attempt(tenant: TenantId, delivery: DeliveryId, number: u32, id: AttemptId) -> [u8; 52] {
    join(&[&tenant.to_bytes(), &delivery.to_bytes(), &number.to_be_bytes(), &id.to_bytes()])
}

/// The first bytes of all entries of a lane.
pub(super) fn lane(lane: Lane) -> [u8; 24] {
    join(&[&lane.subscription_id.to_bytes(), &lane.key.to_be_bytes()])
}

/// The least key that is greater than all keys that begin with `prefix`; `None` if there is none.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Some(next);
        }
        next.pop();
    }
    None
}

/// Milliseconds since 1970 such that they sort as bytes, also before 1970.
pub(super) fn sortable_ms(at: Timestamp) -> u64 {
    at.as_millisecond().cast_unsigned() ^ (1 << 63)
}

/// The reverse of [`sortable_ms`].
pub(super) fn from_sortable_ms(ms: u64) -> Timestamp {
    Timestamp::from_millisecond((ms ^ (1 << 63)).cast_signed()).unwrap_or(Timestamp::MAX)
}

/// Where a pending delivery stands in its lane: by the time it is due; in an ordered lane (one with a key) by
/// the order in which events were accepted, whatever happens to it, so that a retry is not overtaken.
pub(super) fn queue(delivery: &Delivery, position: u64) -> QueueKey {
    let place = if delivery.lane.key == 0 { sortable_ms(due(delivery)) } else { position };
    join(&[&lane(delivery.lane), &place.to_be_bytes(), &delivery.id.to_bytes()])
}

/// One entry of the queue, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: QueueKey,
    pub(super) lane: Lane,
    pub(super) delivery_id: DeliveryId,
    pub(super) tenant_id: TenantId,
    pub(super) due: Timestamp,
}

/// A delivery that waits by itself. Entries of other kinds (batches) are for later versions.
const SINGLE: u8 = 0;

/// The value of a queue entry. 18 bytes in a lane without order: sled keeps up to 22 without an allocation.
pub(super) fn queue_value(delivery: &Delivery) -> ::sled::IVec {
    let mut value = [0_u8; 26];
    value[0] = super::codec::FORMAT;
    value[1] = SINGLE;
    value[2..18].copy_from_slice(&delivery.tenant_id.to_bytes());
    if delivery.lane.key == 0 {
        return ::sled::IVec::from(&value[..18]);
    }
    value[18..].copy_from_slice(&sortable_ms(due(delivery)).to_be_bytes());
    ::sled::IVec::from(&value[..])
}

/// Reads a queue entry; `None` if it is not one of this version.
pub(super) fn entry(key: &[u8], value: &[u8]) -> Option<Entry> {
    let key: QueueKey = key.try_into().ok()?;
    if value.first_chunk::<2>() != Some(&[super::codec::FORMAT, SINGLE]) {
        return None;
    }
    let lane = Lane {
        subscription_id: SubscriptionId::from_bytes(bytes_at(&key, 0)?),
        key: u64::from_be_bytes(bytes_at(&key, 16)?),
    };
    let due = if lane.key == 0 { bytes_at(&key, 24)? } else { bytes_at(value, 18)? };
    Some(Entry {
        key,
        lane,
        delivery_id: DeliveryId::from_bytes(bytes_at(&key, 32)?),
        tenant_id: TenantId::from_bytes(bytes_at(value, 2)?),
        due: from_sortable_ms(u64::from_be_bytes(due)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_prefix() {
        assert_eq!(after(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after(&[255, 255]), None);
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn ids_that_rise_lie_together_and_none_is_taken_for_another() {
        let of = |tenant, scope: &str, key: &str| {
            let (scope, key) = (scope.to_owned(), key.to_owned());
            ClientId::of(
                TenantId::from_bytes([tenant; 16]),
                &Dedupe { scope, key, content: [0; 32], until: Timestamp::UNIX_EPOCH },
            )
        };
        let long = "x".repeat(500);
        let rising = ["", "evt_001", "evt_002", "evt_01", "evt_010", &long];
        let keys = rising.map(|key| of(1, "a", key).key());
        assert!(keys.is_sorted());
        let longer = format!("{long}x");
        let different = [
            (1, "a", "b"),
            (2, "a", "b"),
            (1, "", "b"),
            (1, "", "a\0b"),
            (1, "a", "b\0"),
            (1, "a", &long),
            (1, "a", &longer),
        ]
        .map(|(tenant, scope, key)| of(tenant, scope, key));
        for (at, one) in different.iter().enumerate() {
            for other in &different[..at] {
                assert_ne!(one.key(), other.key());
                assert_ne!(one.key_before_version_7(), other.key_before_version_7());
            }
        }
    }

    #[test]
    fn milliseconds_sort_also_before_1970() {
        let times = [-5_000, -1, 0, 1, 1_800_000_000_000].map(|ms| Timestamp::from_millisecond(ms).unwrap());
        assert!(times.map(sortable_ms).is_sorted());
        assert_eq!(times.map(|at| from_sortable_ms(sortable_ms(at))), times);
    }
}
