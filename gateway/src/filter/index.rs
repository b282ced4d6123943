//! Who wants an event of this type, without asking everyone.

use std::collections::HashMap;

use super::pattern::{EventPattern, Shape};

/// Subscriptions by the event types they name.
///
/// A look-up costs one hash look-up for the exact type, one for each of its dotted prefixes (so `a.b.c` asks
/// for `a` and `a.b`), a pass over the patterns that have an inner wildcard (each distinct pattern once,
/// however many use it), and the matches themselves. What wants other types costs nothing, however much
/// there is of it.
///
/// Built once per change of a tenant's subscriptions and read by all; it has no insert or remove.
#[derive(Debug, Clone)]
pub struct TypeIndex<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    prefixes: HashMap<Box<str>, Vec<T>>,
    everything: Vec<T>,
    inner: Vec<(EventPattern, Vec<T>)>,
}

impl<T: Clone + Ord> TypeIndex<T> {
    /// Builds the index from what each `T` names.
    #[must_use]
    pub fn new<I: IntoIterator<Item = (Vec<EventPattern>, T)>>(subscriptions: I) -> Self {
        let mut exact: HashMap<Box<str>, Vec<T>> = HashMap::new();
        let mut prefixes: HashMap<Box<str>, Vec<T>> = HashMap::new();
        let mut everything = Vec::new();
        let mut inner: HashMap<EventPattern, Vec<T>> = HashMap::new();
        for (patterns, subscriber) in subscriptions {
            for pattern in patterns {
                let list = match pattern.shape() {
                    Shape::Exact => exact.entry(pattern.as_str().into()).or_default(),
                    Shape::Prefix => prefixes.entry(pattern.prefix().into()).or_default(),
                    Shape::Everything => &mut everything,
                    Shape::Inner => inner.entry(pattern).or_default(),
                };
                list.push(subscriber.clone());
            }
        }
        let mut inner: Vec<_> = inner.into_iter().collect();
        inner.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Self { exact, prefixes, everything, inner }
    }

    /// Everything that wants an event of this type: in order, each once.
    #[must_use]
    pub fn lookup(&self, event_type: &str) -> Vec<T> {
        let mut found = Vec::new();
        if let Some(list) = self.exact.get(event_type) {
            found.extend_from_slice(list);
        }
        if !self.prefixes.is_empty() {
            for (at, _) in event_type.match_indices('.').filter(|(at, _)| at + 1 < event_type.len()) {
                if let Some(list) = self.prefixes.get(&event_type[..at]) {
                    found.extend_from_slice(list);
                }
            }
        }
        if !event_type.is_empty() && !event_type.starts_with(crate::domain::RESERVED_PREFIX) {
            found.extend_from_slice(&self.everything);
        }
        for (pattern, list) in &self.inner {
            if pattern.matches(event_type) {
                found.extend_from_slice(list);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<T: Clone + Ord> FromIterator<(Vec<EventPattern>, T)> for TypeIndex<T> {
    fn from_iter<I: IntoIterator<Item = (Vec<EventPattern>, T)>>(subscriptions: I) -> Self {
        Self::new(subscriptions)
    }
}

impl<T> Default for TypeIndex<T> {
    /// An index of nobody.
    fn default() -> Self {
        Self { exact: HashMap::new(), prefixes: HashMap::new(), everything: Vec::new(), inner: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Vec<EventPattern> {
        texts.iter().map(|text| EventPattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn each_is_found_once() {
        let index: TypeIndex<u32> = [
            (patterns(&["a.b", "a.*", "*", "*.b"]), 1),
            (patterns(&["a.b.c", "a.b.*"]), 2),
            (patterns(&["hookmill.*"]), 3),
            (patterns(&["*.b"]), 4),
            (patterns(&[]), 5),
        ]
        .into_iter()
        .collect();
        for (event_type, expected) in [
            ("a.b", &[1, 4][..]),
            ("a.b.c", &[1, 2]),
            ("a.b.c.d", &[1, 2]),
            ("a.b.", &[1]),
            ("a", &[1]),
            ("x", &[1]),
            ("hookmill.b", &[3]),
            ("hookmill", &[1]),
            ("", &[]),
        ] {
            assert_eq!(index.lookup(event_type), expected, "{event_type}");
        }
    }

    /// A subscription that counts how often it is touched.
    #[derive(Clone)]
    struct Counted(u32, Rc<Cell<u32>>);

    impl Counted {
        fn touch(&self) -> u32 {
            self.1.set(self.1.get() + 1);
            self.0
        }
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Ordering::Equal
        }
    }

    impl Eq for Counted {}

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            self.touch().cmp(&other.0)
        }
    }

    #[test]
    fn those_that_do_not_match_are_not_touched() {
        let touched = Rc::new(Cell::new(0));
        let index = TypeIndex::new((0..10_000).map(|n| {
            let names = patterns(&[&format!("type.{n}"), &format!("prefix.{n}.*")]);
            (names, Counted(n, Rc::clone(&touched)))
        }));
        touched.set(0);
        assert_eq!(index.lookup("type.7").len(), 1);
        assert_eq!(index.lookup("prefix.9.x.y").len(), 1);
        assert_eq!(index.lookup("other").len(), 0);
        assert!(touched.get() < 10, "{}", touched.get());
    }

    proptest! {
        #[test]
        fn agrees_with_asking_everyone(
            names in prop::collection::vec(prop::collection::vec("(\\*|[ab]|hookmill)(\\.(\\*|[ab])){0,3}", 0..4), 0..8),
            event_type in "([ab]|hookmill)(\\.[ab]{0,1}){0,3}",
        ) {
            let all: Vec<(Vec<EventPattern>, usize)> = names
                .iter()
                .map(|names| names.iter().map(|name| EventPattern::parse(name).unwrap()).collect())
                .enumerate()
                .map(|(n, names)| (names, n))
                .collect();
            let expected: Vec<usize> = all
                .iter()
                .filter(|(names, _)| names.iter().any(|name| name.matches(&event_type)))
                .map(|&(_, n)| n)
                .collect();
            prop_assert_eq!(TypeIndex::new(all).lookup(&event_type), expected);
        }
    }
}
