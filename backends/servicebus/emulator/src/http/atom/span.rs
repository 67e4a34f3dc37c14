//! Spans of time in ISO 8601: `PT1M`, `P10675199DT2H48M5.4775807S`.

use std::time::Duration;

use crate::entity::NEVER;

pub(super) fn write(span: Duration) -> String {
    // The service's longest span, which the SDKs know as "never".
    if span >= NEVER {
        return "P10675199DT2H48M5.4775807S".into();
    }
    let (seconds, millis) = (span.as_secs(), span.subsec_millis());
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    format!("P{days}DT{hours}H{minutes}M{seconds}.{millis:03}S")
}

/// Years and months have no length, and are not taken.
pub(super) fn read(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('P')?;
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    let mut span = 0.0;
    for (part, units) in [
        (days, &[('W', 604_800.0), ('D', 86_400.0)][..]),
        (time, &TIME[..]),
    ] {
        let mut rest = part;
        while !rest.is_empty() {
            let at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..at].parse().ok()?;
            let unit = rest[at..].chars().next()?;
            let (_, seconds) = units.iter().find(|(name, _)| *name == unit)?;
            span += number * seconds;
            rest = &rest[at + unit.len_utf8()..];
        }
    }
    Some(Duration::try_from_secs_f64(span).ok()?.min(NEVER))
}

const TIME: [(char, f64); 3] = [('H', 3_600.0), ('M', 60.0), ('S', 1.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_they_were_written() {
        for millis in [0, 1, 59_999, 300_000, 86_400_000 * 14 + 1] {
            let span = Duration::from_millis(millis);
            assert_eq!(read(&write(span)), Some(span));
        }
        assert_eq!(read(&write(NEVER)), Some(NEVER));
    }

    #[test]
    fn spans_of_the_sdks_are_read() {
        assert_eq!(read("PT1M"), Some(Duration::from_secs(60)));
        assert_eq!(
            read("P1DT2H3M4.5S"),
            Some(Duration::from_millis(93_784_500))
        );
        for text in ["", "1M", "P1Y", "PT", "PTxS", "P1.2.3D", "PT1€"] {
            assert!(read(text).is_none() || text == "PT", "{text}");
        }
    }
}
