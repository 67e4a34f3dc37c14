//! [`Query`]: the options in a URL.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use crate::{Error, ErrorKind, Namespace, Partitioning, Result, WhenFull};

/// The query parameters of a connection URL. Every reader takes what it knows; what is left at the
/// end is an error that lists what would have been allowed.
///
/// ```
/// # use scaleout_core::Query;
/// let (base, mut query) = Query::split("redis://localhost/?frames=500&nmespace=chat")?;
/// assert_eq!(base, "redis://localhost/");
/// let mut frames = 100_usize;
/// let mut namespace = String::new();
/// query.take("frames", &mut frames)?;
/// query.take("namespace", &mut namespace)?;
/// assert_eq!(frames, 500);
/// let error = query.finish().unwrap_err().to_string();
/// assert_eq!(error, "unknown option \"nmespace\" in the URL; allowed are: frames, namespace");
/// # Ok::<(), scaleout_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Query {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Query {
    /// Splits a URL at its `?` into what stands before it and the parameters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if a parameter is given twice.
    pub fn split(url: &str) -> Result<(&str, Self)> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut given = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if given.insert(name.to_string(), value.to_string()).is_some() {
                return Err(invalid(format!(
                    "option {name:?} is given twice in the URL"
                )));
            }
        }
        let known = Vec::new();
        Ok((base, Self { given, known }))
    }

    /// Reads parameter `name` into `value`, which stays as it is if the URL does not have it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the text is not such a value; the message says what is.
    pub fn take<T: OptionValue>(&mut self, name: &'static str, value: &mut T) -> Result<()> {
        self.known.push(name);
        if let Some(text) = self.given.remove(name) {
            *value = T::parse(&text).map_err(|allowed| {
                invalid(format!(
                    "option {name}={text:?} is not valid; allowed is {allowed}"
                ))
            })?;
        }
        Ok(())
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] naming a parameter that nobody knew, and those that are known.
    pub fn finish(mut self) -> Result<()> {
        let Some(unknown) = self.given.keys().next() else {
            return Ok(());
        };
        self.known.sort_unstable();
        Err(invalid(format!(
            "unknown option {unknown:?} in the URL; allowed are: {}",
            self.known.join(", ")
        )))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// A value that can stand in a URL's query.
pub trait OptionValue: Sized {
    /// Reads the value, or says what is allowed.
    fn parse(text: &str) -> Result<Self, String>;
}

impl OptionValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl OptionValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false".to_owned())
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl OptionValue for $type {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("a whole number up to {}", <$type>::MAX))
            }
        }
    )*};
}
numbers!(u16 u32 u64 usize);

impl OptionValue for Duration {
    /// `250ms`, `10s`, `5m` or `24h`.
    fn parse(text: &str) -> Result<Self, String> {
        let allowed = || "a whole number with a unit: 250ms, 10s, 5m or 24h".to_owned();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| allowed())?;
        let millis = match &text[digits..] {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        millis.map(Self::from_millis).ok_or_else(allowed)
    }
}

impl OptionValue for Namespace {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|_| "1 to 64 characters of A-Z a-z 0-9 _ . -".to_owned())
    }
}

impl OptionValue for Partitioning {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "topic" {
            return Ok(Self::PerTopic);
        }
        text.parse::<NonZeroU16>()
            .map(Self::Shared)
            .map_err(|_| "topic, or a number of shared logs from 1 to 65535".to_owned())
    }
}

impl OptionValue for WhenFull {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "wait" => Ok(Self::Wait),
            "reject" => Ok(Self::Reject),
            _ => Err("wait or reject".to_owned()),
        }
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(Duration::parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Duration::parse("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "99999999999999999h"] {
            assert!(Duration::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_value_says_what_is_allowed() {
        let (_, mut query) = Query::split("memory:?when_full=drop").unwrap();
        let error = query.take("when_full", &mut WhenFull::Wait).unwrap_err();
        assert_eq!(
            error.to_string(),
            "option when_full=\"drop\" is not valid; allowed is wait or reject"
        );
    }

    #[test]
    fn an_option_given_twice_is_refused() {
        assert!(Query::split("memory:?a=1&a=2").is_err());
    }
}
