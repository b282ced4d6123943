//! What inboxes hold: the last that arrived at each, in memory, within bounds.
//!
//! Requests are as large as deliveries are, so they are bounded by bytes as well as by number. Where all inboxes
//! together hold too much, the one that holds most gives up its oldest: whoever fills an inbox empties no one else's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::control::InboxVerdict;
use crate::domain::InboxRequestId;

/// Most requests of one inbox; most bytes of one inbox, and of all; most inboxes that have something in memory.
const MOST_REQUESTS: usize = 100;
const MOST_BYTES: usize = 8 << 20;
const MOST_BYTES_OF_ALL: usize = 64 << 20;
const MOST_INBOXES: usize = 1_000;

/// How an inbox answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Mode {
    #[default]
    #[serde(rename = "200")]
    Fine,
    #[serde(rename = "500")]
    Fails,
    #[serde(rename = "410")]
    Gone,
    #[serde(rename = "slow")]
    Slow,
}

impl Mode {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Fine | Self::Slow => StatusCode::OK,
            Self::Fails => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Gone => StatusCode::GONE,
        }
    }
}

/// One request that arrived.
pub(super) struct Arrived {
    pub(super) id: InboxRequestId,
    /// How many have arrived at this inbox, with this one.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Whether there was more of the body.
    pub(super) truncated: bool,
    pub(super) verdict: InboxVerdict,
    pub(super) answered: StatusCode,
}

impl Arrived {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.body.len() + self.target.len() + headers.sum::<usize>()
    }
}

/// What one inbox holds.
#[derive(Default)]
pub(super) struct Tray {
    pub(super) mode: Mode,
    arrived: VecDeque<Arc<Arrived>>,
    count: u64,
    bytes: usize,
}

impl Tray {
    /// Newest first; with `after` only what arrived after that one.
    pub(super) fn arrived(&self, after: Option<InboxRequestId>) -> Vec<Arc<Arrived>> {
        let newest_first = self.arrived.iter().rev();
        newest_first.take_while(|arrived| after.is_none_or(|after| arrived.id > after)).cloned().collect()
    }

    fn push(&mut self, arrived: Arrived) {
        self.bytes += arrived.bytes();
        self.arrived.push_back(Arc::new(arrived));
        while self.arrived.len() > MOST_REQUESTS || (self.bytes > MOST_BYTES && self.arrived.len() > 1) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.arrived.pop_front() {
            self.bytes -= oldest.bytes();
        }
    }
}

/// What all inboxes hold, by token.
#[derive(Default)]
pub(in crate::http) struct Inboxes(Mutex<HashMap<String, Tray>>);

impl Inboxes {
    /// Works with what one inbox holds.
    pub(super) fn with<T>(&self, token: &str, work: impl FnOnce(&mut Tray) -> T) -> T {
        work(tray(&mut self.0.lock(), token))
    }

    /// Keeps what arrived, which is made when it is known how the inbox answers and how many have arrived.
    pub(super) fn keep(&self, token: &str, arrived: impl FnOnce(Mode, u64) -> Arrived) -> Mode {
        let mut trays = self.0.lock();
        let tray = tray(&mut trays, token);
        let mode = tray.mode;
        tray.count += 1;
        tray.push(arrived(mode, tray.count));
        let mut all: usize = trays.values().map(|tray| tray.bytes).sum();
        while all > MOST_BYTES_OF_ALL {
            let Some(largest) = trays.values_mut().max_by_key(|tray| tray.bytes) else { break };
            all -= largest.bytes;
            largest.pop();
            all += largest.bytes;
        }
        mode
    }

    /// The inbox is gone.
    pub(in crate::http) fn forget(&self, token: &str) {
        self.0.lock().remove(token);
    }
}

fn tray<'a>(trays: &'a mut HashMap<String, Tray>, token: &str) -> &'a mut Tray {
    if !trays.contains_key(token) && trays.len() >= MOST_INBOXES {
        // The one in which nothing has happened for longest makes room.
        let oldest = trays.iter().min_by_key(|(_, tray)| tray.arrived.back().map(|last| last.at));
        if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
            trays.remove(&oldest);
        }
    }
    trays.entry(token.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn post(inboxes: &Inboxes, token: &str, bytes: usize) -> InboxRequestId {
        let at = Timestamp::UNIX_EPOCH;
        let id = InboxRequestId::new(at);
        inboxes.keep(token, |mode, number| Arrived {
            id,
            number,
            at,
            method: Method::POST,
            target: String::new(),
            headers: Vec::new(),
            body: vec![0; bytes].into(),
            truncated: false,
            verdict: InboxVerdict::Unknown,
            answered: mode.status(),
        });
        id
    }

    fn held(inboxes: &Inboxes, token: &str) -> (usize, usize) {
        inboxes.with(token, |tray| (tray.arrived.len(), tray.bytes))
    }

    #[test]
    fn an_inbox_holds_so_many_and_so_much() {
        let inboxes = Inboxes::default();
        for _ in 0..120 {
            post(&inboxes, "a", 1);
        }
        assert_eq!(held(&inboxes, "a"), (100, 100));
        for _ in 0..3 {
            post(&inboxes, "a", 3 * MIB);
        }
        assert_eq!(held(&inboxes, "a"), (2, 6 * MIB));
        assert_eq!(inboxes.with("a", |tray| tray.arrived(None)[0].number), 123, "what is gone was counted");
    }

    #[test]
    fn whoever_holds_most_makes_room() {
        let inboxes = Inboxes::default();
        for small in 0..60 {
            post(&inboxes, &small.to_string(), MIB);
        }
        for _ in 0..8 {
            post(&inboxes, "large", MIB);
        }
        assert_eq!(held(&inboxes, "large"), (4, 4 * MIB));
        assert!((0..60).all(|small| held(&inboxes, &small.to_string()) == (1, MIB)));
    }

    #[test]
    fn what_arrived_after_another() {
        let inboxes = Inboxes::default();
        let ids: Vec<_> = (0..3).map(|_| post(&inboxes, "a", 1)).collect();
        let after = |id| -> Vec<_> {
            let arrived = inboxes.with("a", |tray| tray.arrived(id));
            arrived.iter().map(|arrived| arrived.id).collect()
        };
        assert_eq!(after(None), [ids[2], ids[1], ids[0]]);
        assert_eq!(after(Some(ids[0])), [ids[2], ids[1]]);
        assert_eq!(after(Some(ids[2])), []);
    }

    #[test]
    fn the_inbox_that_rested_longest_makes_room() {
        let inboxes = Inboxes::default();
        for token in 0..=MOST_INBOXES {
            inboxes.with(&token.to_string(), |tray| tray.mode = Mode::Gone);
        }
        assert_eq!(inboxes.0.lock().len(), MOST_INBOXES);
        assert!(inboxes.0.lock().contains_key(&MOST_INBOXES.to_string()));
    }
}
