//! How deep JSON may be nested.
//!
//! Whoever makes a tree of a text goes a call deeper for each level, and a stack ends. So what comes from outside, from
//! clients and from plugins alike, is bounded before anybody here or at a receiver does.

/// Most levels of arrays and objects: what `serde_json` allows when it makes a tree.
pub const MAX_DEPTH: usize = 128;

/// Whether JSON is nested deeper than [`MAX_DEPTH`]. The text is known to be valid.
#[must_use]
pub fn is_too_deep(text: &str) -> bool {
    // Few texts open so many at all, and in parts whose count fits into a byte they are counted 16 bytes at a time.
    let openers = |part: &[u8]| usize::from(part.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>());
    if text.as_bytes().chunks(255).map(openers).sum::<usize>() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0usize;
    let mut in_text = false;
    let mut escaped = false;
    for byte in text.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_texts_are_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(MAX_DEPTH)));
        assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
        assert!(!is_too_deep(&format!("[{}{}]", "[],".repeat(500), "{}")));
        assert!(!is_too_deep(&format!("\"{}\\\"{}\"", "[".repeat(500), "{".repeat(500))));
    }
}
