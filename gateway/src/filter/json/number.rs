//! Numbers, compared as the decimals they are written as.
//!
//! An amount of `0.1`, an id of twenty digits: neither survives a trip through `f64`, so the text is
//! compared and nothing is ever converted. Nothing is allocated either.

use std::cmp::Ordering;

/// Exponents beyond this are taken as this: they are far outside of what a number's own digits (at most a
/// few million of them) could make up for.
const MAX_EXPONENT: i64 = 1_000_000_000_000_000;

/// A number's text, taken apart: its value is `0.d₁d₂d₃… × 10^point`, with `d₁` the first digit that is not 0.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    point: i64,
}

impl<'a> Decimal<'a> {
    /// Takes apart the text of a JSON number. Text that is none gives some number, and no panic.
    fn of(text: &'a str) -> Self {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = trim_zeros(whole.as_bytes());
        let significant = trim_zeros(fraction.as_bytes());
        let scale = if whole.is_empty() { -length(fraction.len() - significant.len()) } else { length(whole.len()) };
        Self {
            negative,
            whole,
            fraction: if whole.is_empty() { significant } else { fraction.as_bytes() },
            point: scale.saturating_add(exponent_of(exponent)),
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn is_zero(&self) -> bool {
        self.digits().all(|digit| digit == b'0')
    }

    /// Compares sizes, signs apart; neither is zero.
    fn compare_size(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| {
            let (mut left, mut right) = (self.digits(), other.digits());
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ordering::Equal,
                    (left, right) => match left.unwrap_or(b'0').cmp(&right.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        })
    }
}

/// Compares two JSON numbers by value: exactly, whatever their length. `0.1` equals `0.10`, `100` equals
/// `1e2`, and `-0` equals `0`.
///
/// Exponents beyond ±10¹⁵ are taken as ±10¹⁵.
#[must_use]
pub fn compare_numbers(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    let (left, right) = (Decimal::of(left), Decimal::of(right));
    match (left.is_zero(), right.is_zero()) {
        (true, true) => Ordering::Equal,
        (true, false) => sign(right.negative).reverse(),
        (false, true) => sign(left.negative),
        (false, false) => match (left.negative, right.negative) {
            (false, false) => left.compare_size(&right),
            (true, true) => right.compare_size(&left),
            (negative, _) => sign(negative),
        },
    }
}

fn sign(negative: bool) -> Ordering {
    if negative { Ordering::Less } else { Ordering::Greater }
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn length(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(MAX_EXPONENT)
}

fn exponent_of(text: &str) -> i64 {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let size = digits.iter().fold(0_i64, |sum, digit| {
        let next = sum.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0')));
        next.min(MAX_EXPONENT)
    });
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comparisons_are_exact() {
        use Ordering::{Equal, Greater, Less};
        for (left, expected, right) in [
            ("1", Equal, "1"),
            ("0.1", Equal, "0.10"),
            ("1e2", Equal, "100"),
            ("1E+2", Equal, "100.000"),
            ("100", Equal, "1000e-1"),
            ("0.001", Equal, "1e-3"),
            ("0", Equal, "-0"),
            ("0e99", Equal, "0.000"),
            ("-0.0", Equal, "0e-5"),
            ("0", Less, "0.0000001"),
            ("0", Greater, "-1e-400"),
            ("12345678901234567890", Less, "12345678901234567891"),
            ("-12345678901234567890", Greater, "-12345678901234567891"),
            ("9007199254740993", Greater, "9007199254740992"),
            ("0.30000000000000004", Greater, "0.3"),
            ("9.99", Less, "50"),
            ("50", Equal, "50.00"),
            ("-1", Less, "1"),
            ("1", Greater, "-2"),
            ("-2", Less, "-1"),
            ("1e400", Greater, "1e399"),
            ("1e-400", Greater, "0"),
            ("10", Greater, "9"),
            ("1.5", Greater, "1.49999999999999999999999999"),
            ("1e9999999999999999999999", Greater, "1e5"),
            ("1e-9999999999999999999999", Less, "1e-5"),
        ] {
            assert_eq!(compare_numbers(left, right), expected, "{left} and {right}");
            assert_eq!(compare_numbers(right, left), expected.reverse(), "{right} and {left}");
        }
    }

    proptest! {
        #[test]
        fn integers_compare_as_integers(left: i128, right: i128) {
            prop_assert_eq!(compare_numbers(&left.to_string(), &right.to_string()), left.cmp(&right));
        }

        #[test]
        fn scaling_changes_nothing(value: i64, zeros in 0_usize..30) {
            let plain = value.to_string();
            let scaled = format!("{value}{}e-{zeros}", "0".repeat(zeros));
            let pointed = format!("{value}.{}e0", "0".repeat(zeros + 1));
            prop_assert_eq!(compare_numbers(&plain, &scaled), Ordering::Equal);
            prop_assert_eq!(compare_numbers(&plain, &pointed), Ordering::Equal);
        }

        #[test]
        fn any_text_is_survived(left in ".*", right in ".*") {
            let _ = compare_numbers(&left, &right);
        }
    }
}
