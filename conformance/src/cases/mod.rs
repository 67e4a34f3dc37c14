//! All cases, a list for each idea.

mod receipts;

use crate::Case;

/// The lists, in the order of the report.
const LISTS: &[&[Case]] = &[receipts::CASES];

/// All cases, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Case> {
    LISTS.iter().copied().flatten()
}

/// The case of that id.
pub fn find(id: &str) -> Option<&'static Case> {
    all().find(|case| case.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_id_is_used_once_and_looks_like_one() {
        let mut ids = BTreeSet::new();
        for case in super::all() {
            let (group, number) = case.id.split_at(1);
            assert!(group.bytes().all(|b| b.is_ascii_uppercase()), "{}", case.id);
            assert!(
                number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()),
                "{}",
                case.id
            );
            assert!(ids.insert(case.id), "{} is used twice", case.id);
            assert!(
                !case.title.is_empty() && !case.title.ends_with('.'),
                "{}",
                case.id
            );
        }
    }
}
