//! [`Binary`] and [`Timestamp`]: values that the protocols write in different ways.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};

thread_local! {
    /// Whether a value is being written in MessagePack. Serde's own question whether a format is for
    /// humans cannot tell: to it both answer yes, so that ids, addresses and dates of other crates are
    /// text in both, as .NET has them.
    static BINARY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `write`, within which values know that they are written in MessagePack.
pub(super) fn in_binary<R>(write: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            BINARY.set(self.0);
        }
    }
    let _reset = Reset(BINARY.replace(true));
    write()
}

/// Bytes, as .NET and JavaScript clients exchange them: base64 in JSON, binary in MessagePack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Bytes);

impl<T: Into<Bytes>> From<T> for Binary {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if BINARY.get() {
            serializer.serialize_bytes(&self.0)
        } else {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        }
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BinaryVisitor;

        impl<'de> Visitor<'de> for BinaryVisitor {
            type Value = Binary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes, or their base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Binary, E> {
                STANDARD.decode(text).map(Binary::from).map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Binary, E> {
                Ok(Bytes::copy_from_slice(bytes).into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Binary, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element::<u8>()? {
                    bytes.push(byte);
                }
                Ok(bytes.into())
            }
        }

        deserializer.deserialize_any(BinaryVisitor)
    }
}

/// A moment, as .NET and JavaScript clients exchange it: ISO 8601 text in JSON, a timestamp in
/// MessagePack. Years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970, in UTC.
    seconds: i64,
    nanos: u32,
}

/// 0001-01-01 and 10000-01-01.
const RANGE: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
const DAY: i64 = 86_400;
const EXTENSION: i8 = -1;

impl Timestamp {
    /// Now, by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (RANGE.contains(&seconds) && nanos < 1_000_000_000).then_some(Self { seconds, nanos })
    }

    /// The date's civil form; after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    fn date(self) -> (i64, i64, i64) {
        let days = self.seconds.div_euclid(DAY) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', 't', ' '])?;
        let zone = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
        let (time, zone) = time.split_at(zone);
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time, ':')?;
        let offset = match zone.as_bytes() {
            [] | [b'Z' | b'z'] => 0,
            [sign, ..] => {
                let [hours, minutes] = numbers(&zone[1..], ':')?;
                let offset = hours * 3_600 + minutes * 60;
                if *sign == b'-' { -offset } else { offset }
            }
        };
        let valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        if !valid || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        let shifted_year = year - i64::from(month <= 2);
        let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds = days * DAY + hour * 3_600 + minute * 60 + second - offset;
        Self::new(seconds, nanos)
    }

    /// As MessagePack's timestamp extension has it: 4, 8 or 12 bytes.
    fn to_extension(self) -> Vec<u8> {
        match (u32::try_from(self.seconds), self.seconds as u64 >> 34) {
            (Ok(seconds), _) if self.nanos == 0 => seconds.to_be_bytes().into(),
            (_, 0) => (u64::from(self.nanos) << 34 | self.seconds as u64)
                .to_be_bytes()
                .into(),
            _ => [&self.nanos.to_be_bytes()[..], &self.seconds.to_be_bytes()].concat(),
        }
    }

    fn from_extension(bytes: &[u8]) -> Option<Self> {
        if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
            return Self::new(u32::from_be_bytes(bytes).into(), 0);
        }
        if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
            let both = u64::from_be_bytes(bytes);
            let seconds = i64::try_from(both & ((1 << 34) - 1)).ok()?;
            return Self::new(seconds, u32::try_from(both >> 34).ok()?);
        }
        let (nanos, seconds) = bytes.split_first_chunk()?;
        let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
        Self::new(seconds, u32::from_be_bytes(*nanos))
    }
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for number in &mut numbers {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 4 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// In ISO 8601, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let time = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if self.nanos > 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                since.subsec_nanos(),
            ),
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanos => (seconds.saturating_sub(1), 1_000_000_000 - nanos),
                }
            }
        };
        Self {
            seconds: seconds.clamp(RANGE.start, RANGE.end - 1),
            nanos,
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let seconds = Duration::from_secs(time.seconds.unsigned_abs());
        let moment = if time.seconds < 0 {
            UNIX_EPOCH - seconds
        } else {
            UNIX_EPOCH + seconds
        };
        moment + Duration::from_nanos(time.nanos.into())
    }
}

struct Raw<T>(T);

impl<T: AsRef<[u8]>> Serialize for Raw<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_ref())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if BINARY.get() {
            let extension = (EXTENSION, Raw(self.to_extension()));
            serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &extension)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;

        impl<'de> Visitor<'de> for TimestampVisitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timestamp, or a date and time in ISO 8601")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                extension: D,
            ) -> Result<Timestamp, D::Error> {
                let (kind, bytes) = <(i8, Binary)>::deserialize(extension)?;
                (kind == EXTENSION)
                    .then(|| Timestamp::from_extension(&bytes.0))
                    .flatten()
                    .ok_or_else(|| de::Error::custom("not a timestamp"))
            }
        }

        deserializer.deserialize_any(TimestampVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::hub::protocol::Protocol;

    fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
        for protocol in Protocol::ALL {
            let encoded = protocol.value(value).unwrap();
            assert_eq!(&encoded.bind::<T>().unwrap(), value, "{protocol:?}");
        }
    }

    fn encoded(protocol: Protocol, value: &impl Serialize) -> Bytes {
        protocol.value(value).unwrap().as_bytes().clone()
    }

    #[test]
    fn bytes_are_base64_or_binary() {
        let bytes = Binary::from(&b"\x01\x02\x03"[..]);
        assert_eq!(encoded(Protocol::Json, &bytes), "\"AQID\"");
        assert_eq!(
            encoded(Protocol::MessagePack, &bytes),
            b"\xc4\x03\x01\x02\x03".as_slice()
        );
        there_and_back(&bytes);
    }

    #[test]
    fn a_moment_is_text_or_a_timestamp() {
        let time = Timestamp::parse("2002-04-01T10:20:15Z").unwrap();
        assert_eq!(encoded(Protocol::Json, &time), "\"2002-04-01T10:20:15Z\"");
        assert_eq!(
            encoded(Protocol::MessagePack, &time),
            b"\xd6\xff\x3c\xa8\x34\x5f".as_slice()
        );
        there_and_back(&time);
    }

    #[test]
    fn moments_are_read_as_they_are_written_elsewhere() {
        for (text, expected) in [
            ("1970-01-01T00:00:00", "1970-01-01T00:00:00Z"),
            ("2000-02-29T12:00:00.250+02:00", "2000-02-29T10:00:00.25Z"),
            (
                "0001-01-01T00:00:00.0000001Z",
                "0001-01-01T00:00:00.0000001Z",
            ),
            (
                "9999-12-31T23:59:59.999999999Z",
                "9999-12-31T23:59:59.999999999Z",
            ),
        ] {
            let time = Timestamp::parse(text).unwrap();
            assert_eq!(time.to_string(), expected);
            there_and_back(&time);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
        for text in [
            "",
            "2000-01-01",
            "2000-13-01T00:00:00Z",
            "x-y-zT1:2:3",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(seconds in RANGE, nanos in 0_u32..1_000_000_000) {
            let time = Timestamp::new(seconds, nanos).unwrap();
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            there_and_back(&time);
        }

        #[test]
        fn any_text_is_a_moment_or_not(text: String) {
            let _ = Timestamp::parse(&text);
        }
    }
}
