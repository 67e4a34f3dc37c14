//! The list of cases that a backend's run leaves out, kept in a file beside its tests.

use std::collections::BTreeMap;

use crate::{Case, Verdict};

/// Compares the cases that were left out with a list of `ID reason` lines, in which `#` begins a
/// comment. Returns what differs.
pub(crate) fn differences<'a>(
    list: &str,
    outcomes: impl IntoIterator<Item = (&'a Case, Option<&'a Verdict>)>,
) -> Vec<String> {
    let mut listed: BTreeMap<&str, &str> = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(char::is_whitespace).unwrap_or((line, "")))
        .collect();
    let mut differences = Vec::new();
    for (case, excuse) in outcomes {
        let reason = match excuse {
            Some(Verdict::Skipped(reason)) => Some(*reason),
            Some(Verdict::NotApplicable) => Some("not applicable"),
            _ => None,
        };
        match (reason, listed.remove(case.id)) {
            (Some(reason), None) => {
                differences.push(format!("{} is left out ({reason}) and not listed", case.id));
            }
            (None, Some(_)) => {
                differences.push(format!("{} is listed as left out, and is not", case.id));
            }
            (Some(_), Some(why)) if why.trim().is_empty() => {
                differences.push(format!(
                    "{} is listed as left out without a reason",
                    case.id
                ));
            }
            _ => {}
        }
    }
    differences.extend(
        listed
            .keys()
            .map(|id| format!("{id} is listed as left out, and is no case")),
    );
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Case = Case::new("X01", "a", &[], |_| Box::pin(async { Ok(()) }));
    const B: Case = Case::new("X02", "b", &[], |_| Box::pin(async { Ok(()) }));
    const SKIPPED: Verdict = Verdict::Skipped("no proxy");

    #[test]
    fn what_is_listed_with_a_reason_is_fine() {
        let list = "# comment\n\nX01 no TCP here # why\n";
        assert!(differences(list, [(&A, Some(&SKIPPED)), (&B, None)]).is_empty());
    }

    #[test]
    fn every_difference_is_named() {
        let found = differences("X02 why\nX03 why\n", [(&A, Some(&SKIPPED)), (&B, None)]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(differences("X01\n", [(&A, Some(&SKIPPED))]).len(), 1);
    }
}
