//! The room that large request bodies take up in memory, while they arrive and while they are worked on.
//!
//! A client may take as long as it likes over a mebibyte, and may open as many connections as there are files. So a
//! large body is read only if there is room for it. A tenant may have as much as is left free: half if it is alone, and
//! whoever comes next finds room without waiting for anybody. Small bodies are not counted: a connection costs as much.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use parking_lot::Mutex;

use crate::domain::TenantId;

/// What counts as a small body, in bytes.
pub(super) const SMALL: usize = 16 * 1024;

/// The room. Shared by clones.
#[derive(Clone)]
pub(super) struct Bodies(Arc<Mutex<Room>>);

struct Room {
    free: usize,
    /// By tenant; operators' and producers' bodies are nobody's.
    held: HashMap<Option<TenantId>, usize>,
}

impl Bodies {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Room { free: bytes, held: HashMap::new() })))
    }

    /// Takes room for a body, if there is some for this tenant.
    pub(super) fn take(&self, whose: Option<TenantId>, bytes: usize) -> Option<Place> {
        let mut room = self.0.lock();
        let held = room.held.get(&whose).copied().unwrap_or(0);
        if held + bytes > room.free {
            return None;
        }
        room.free -= bytes;
        room.held.insert(whose, held + bytes);
        Some(Place { bodies: self.clone(), whose, bytes })
    }
}

/// Room that is taken, given back when this is dropped.
pub(super) struct Place {
    bodies: Bodies,
    whose: Option<TenantId>,
    bytes: usize,
}

impl Place {
    /// The body, which keeps its room as long as any part of it is in use.
    pub(super) fn hold(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Held { body, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.bodies.0.lock();
        room.free += self.bytes;
        if let Some(held) = room.held.get_mut(&self.whose) {
            *held = held.saturating_sub(self.bytes);
            if *held == 0 {
                room.held.remove(&self.whose);
            }
        }
    }
}

struct Held {
    body: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_as_much_as_is_left_free() {
        let bodies = Bodies::new(16);
        let mut places = Vec::new();
        for (name, wanted) in [(1, 8), (2, 4), (3, 2)] {
            let tenant = Some(TenantId::from_bytes([name; 16]));
            let taken: Vec<_> = std::iter::from_fn(|| bodies.take(tenant, 1)).collect();
            assert_eq!(taken.len(), wanted, "{name}");
            places.extend(taken);
        }
        drop(places);
        let room = bodies.0.lock();
        assert_eq!((room.free, room.held.len()), (16, 0));
    }

    #[test]
    fn a_body_keeps_its_room_until_nothing_of_it_is_in_use() {
        let bodies = Bodies::new(4);
        let body = bodies.take(None, 4).unwrap().hold(Bytes::from_static(b"body"));
        let part = body.slice(1..2);
        drop(body);
        assert!(bodies.take(None, 1).is_none());
        assert_eq!(part, "o");
        drop(part);
        assert!(bodies.take(None, 4).is_some());
    }
}
