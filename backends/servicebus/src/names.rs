//! What the entities are called.

use scaleout_core::{Carries, Epoch, LogName, Namespace, Result};

use crate::config::{Config, invalid};

/// The topic that carries log `index` of `count`.
///
/// Entity names take what a namespace's name is made of, but no case: `A` and `a` are one. So a capital
/// letter is written as `_` and the small one, and `_` as `__`. Up to 150 characters of 260.
pub(crate) fn topic(namespace: &Namespace, index: u16, count: u16) -> String {
    let mut name = String::from("scaleout/");
    for letter in namespace.as_str().chars() {
        if letter.is_ascii_uppercase() || letter == '_' {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    // A name may not end with some of the characters that a namespace may end with.
    format!("{name}/{count}/{index}")
}

/// A subscription that nobody else has or had: 32 hexadecimal digits. At most 50 characters are taken.
pub(crate) fn subscription() -> String {
    format!("{:032x}", Epoch::random().get())
}

/// Which share of the topics the log carries.
pub(crate) fn index(log: &LogName, config: &Config) -> Result<u16> {
    let count = config.logs.get();
    match *log.carries() {
        Carries::Share { index, count: of } if of == count => Ok(index),
        _ => Err(invalid(format!(
            "{log} is not one of the {count} logs of this node"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn named(namespace: &str) -> String {
        topic(&Namespace::new(namespace).unwrap(), 0, 4).to_lowercase()
    }

    #[test]
    fn names_differ_where_namespaces_do_though_the_service_knows_no_case() {
        let names: HashSet<_> = ["a", "A", "_a", "_A", "__a", "aA", "Aa"]
            .iter()
            .map(|namespace| named(namespace))
            .collect();
        assert_eq!(names.len(), 7);
    }

    proptest! {
        #[test]
        fn no_two_namespaces_share_a_topic(a in "[aA_.-]{1,6}", b in "[aA_.-]{1,6}") {
            prop_assert_eq!(a == b, named(&a) == named(&b));
        }

        #[test]
        fn names_are_what_the_service_takes(namespace in "[A-Za-z0-9_.-]{1,64}", index: u16) {
            let name = topic(&Namespace::new(namespace).unwrap(), index, u16::MAX);
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
            prop_assert!(name.len() <= 260 && name.bytes().all(allowed), "{}", name);
        }
    }
}
