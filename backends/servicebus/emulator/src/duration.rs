//! Spans of time as people write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads `250ms`, `10s`, `5m`, `1h`, `2d`.
///
/// # Errors
///
/// One line that says what is allowed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: give 250ms, 10s, 5m, 1h or 2d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(172_800)));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1 s",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
