//! Segments of JSON Pointers (RFC 6901, sections 3 and 4).

/// A name as a segment: `/` and `~` are written as `~1` and `~0`.
#[must_use]
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a segment stands for.
#[must_use]
pub fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        for (name, segment) in [("plain", "plain"), ("a/b", "a~1b"), ("m~n", "m~0n"), ("~1", "~01"), ("", "")] {
            assert_eq!(escape(name), segment);
            assert_eq!(unescape(segment), name);
        }
    }
}
