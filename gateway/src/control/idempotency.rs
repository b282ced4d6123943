//! Answers to writes, remembered by `Idempotency-Key`, so that a client that saw no answer can ask again.
//!
//! Kept in memory, by this process alone, at most 1,000 of them and for at most 24 hours: after a
//! restart, or at another gateway of a cluster, a repeated write is a new write. Events are not here: their
//! duplicates are told by the store, durably.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::later;

/// Most answers remembered; the oldest goes first.
const MOST: usize = 1_000;

/// How long one is remembered.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What became of the same key before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun<T> {
    /// Nothing: go on, and say the answer to [`Answers::finish`].
    New,
    /// The same request was answered with this.
    Answered(T),
    /// The same request is being worked on.
    UnderWay,
    /// It came with another body.
    Other,
}

/// Remembered answers. Cheap to clone.
#[derive(Clone)]
pub struct Answers<T>(Arc<Mutex<Inner<T>>>);

struct Inner<T> {
    entries: HashMap<String, Entry<T>>,
    /// Oldest first. May name entries that are gone.
    order: VecDeque<(Timestamp, String)>,
}

struct Entry<T> {
    body: [u8; 32],
    begun: Timestamp,
    answer: Option<T>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { entries: HashMap::new(), order: VecDeque::new() })))
    }
}

impl<T: Clone> Answers<T> {
    /// Looks the key up, and takes it if it is new. `body` is the SHA-256 of what must be equal.
    #[must_use]
    pub fn begin(&self, key: &str, body: [u8; 32], now: Timestamp) -> Begun<T> {
        let mut inner = self.0.lock();
        inner.forget(now);
        match inner.entries.get(key) {
            Some(entry) if entry.body != body => Begun::Other,
            Some(Entry { answer: Some(answer), .. }) => Begun::Answered(answer.clone()),
            Some(_) => Begun::UnderWay,
            None => {
                inner.entries.insert(key.to_owned(), Entry { body, begun: now, answer: None });
                inner.order.push_back((now, key.to_owned()));
                Begun::New
            }
        }
    }

    /// Remembers the answer; `None`: there is none worth repeating, and the key is free again.
    pub fn finish(&self, key: &str, answer: Option<T>) {
        let mut inner = self.0.lock();
        match answer {
            Some(answer) => {
                if let Some(entry) = inner.entries.get_mut(key) {
                    entry.answer = Some(answer);
                }
            }
            None => {
                inner.entries.remove(key);
            }
        }
    }
}

impl<T> Inner<T> {
    fn forget(&mut self, now: Timestamp) {
        while let Some((begun, _)) = self.order.front() {
            if self.order.len() < MOST && later(*begun, KEPT) > now {
                break;
            }
            let Some((begun, key)) = self.order.pop_front() else { break };
            // The key may have been freed and taken again since.
            if self.entries.get(&key).is_some_and(|entry| entry.begun == begun) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_key() {
        let answers = Answers::<u32>::default();
        let start = Timestamp::UNIX_EPOCH;
        assert_eq!(answers.begin("a", [1; 32], start), Begun::New);
        assert_eq!(answers.begin("a", [1; 32], start), Begun::UnderWay);
        answers.finish("a", Some(7));
        assert_eq!(answers.begin("a", [1; 32], start), Begun::Answered(7));
        assert_eq!(answers.begin("a", [2; 32], start), Begun::Other);
        assert_eq!(answers.begin("a", [2; 32], later(start, KEPT)), Begun::New, "a day later it is forgotten");
        answers.finish("a", None);
        assert_eq!(answers.begin("a", [3; 32], later(start, KEPT)), Begun::New, "a failure frees the key");
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let answers = Answers::<usize>::default();
        let now = Timestamp::UNIX_EPOCH;
        for at in 0..MOST + 10 {
            assert_eq!(answers.begin(&at.to_string(), [0; 32], now), Begun::New);
            answers.finish(&at.to_string(), Some(at));
        }
        assert_eq!(answers.begin("0", [0; 32], now), Begun::New);
        assert_eq!(answers.begin("900", [0; 32], now), Begun::Answered(900));
        assert!(answers.0.lock().entries.len() <= MOST);
    }
}
