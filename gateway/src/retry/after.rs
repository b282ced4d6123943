//! `Retry-After`, in all the forms it has.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// No wait asked for is believed beyond this. What comes of it is bounded by the schedule anyway.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// The three forms of an HTTP date (RFC 9110, section 5.6.7): IMF-fixdate, and the obsolete ones of
/// RFC 850 and of C's `asctime`, which a recipient must take too.
const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Reads a `Retry-After` value (RFC 9110, section 10.2.3): whole seconds, or a date, which is held against
/// `now`. A date that has passed is no wait; more than [`MAX_RETRY_AFTER`] is cut to it. Fractions of a
/// second (`1.5`, which some products send) are rounded up.
///
/// Anything else is `None`: the endpoint did not say for how long.
#[must_use]
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    // The longest form, `Wednesday, 01-Sep-…`, has 33 characters; numbers beyond that are absurd.
    if value.is_empty() || value.len() > 64 {
        return None;
    }
    seconds(value).or_else(|| date(value, now)).map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // More digits than a u64 has are a very long wait, and not a malformed one.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let part = u64::from(fraction.bytes().any(|byte| byte != b'0'));
    Some(Duration::from_secs(whole.saturating_add(part)))
}

fn date(value: &str, now: Timestamp) -> Option<Duration> {
    let at = FORMS.iter().find_map(|form| DateTime::strptime(form, value).ok())?;
    // Both are UTC, so the calendar's difference is the clock's; and the calendar, unlike a timestamp,
    // reaches to the end of the year 9999, which some send for "never".
    let wait = at.duration_since(now.to_zoned(TimeZone::UTC).datetime());
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_and_dates() {
        // The example of RFC 9110, section 5.6.7, in its three forms.
        let now: Timestamp = "1994-11-06T08:47:37Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("007", Some(7)),
            ("1.5", Some(2)),
            ("1.000", Some(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(120)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(120)),
            ("Sun Nov  6 08:49:37 1994", Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(7 * 86_400)),
            ("604801", Some(7 * 86_400)),
            ("99999999999999999999999999", Some(7 * 86_400)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("１２", None),
        ] {
            assert_eq!(parse_retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(parse_retry_after(&"9".repeat(65), now), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_exceeds_the_cap(value in ".{0,80}", at in -62_135_596_800_i64..=253_402_207_200) {
            let now = Timestamp::from_second(at).unwrap();
            prop_assert!(parse_retry_after(&value, now).unwrap_or_default() <= MAX_RETRY_AFTER);
        }

        #[test]
        fn a_date_is_the_wait_until_then(wait in 0_u64..86_400, at in 0_i64..4_000_000_000) {
            let now = Timestamp::from_second(at).unwrap();
            let then = Timestamp::from_second(at + i64::try_from(wait).unwrap()).unwrap();
            let value = then.strftime(FORMS[0]).to_string();
            prop_assert_eq!(parse_retry_after(&value, now), Some(Duration::from_secs(wait)));
        }
    }
}
