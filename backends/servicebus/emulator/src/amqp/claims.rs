//! What a connection may do: by its user name and key, or by tokens that it sent.

use std::collections::BTreeMap;

use crate::{
    clock::Moment,
    sas::{Grant, Rights},
};

/// The rights of one connection.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// From SASL PLAIN: for everything, for as long as the connection lasts.
    pub(super) plain: Option<Rights>,
    /// From tokens, by what they are about. A new one takes the place of the old one.
    grants: BTreeMap<String, Grant>,
}

/// Tokens that one connection may hold: more than there are entities to talk to.
const MAX_GRANTS: usize = 10_000;

impl Claims {
    pub(super) fn put(&mut self, grant: Grant) {
        if self.grants.len() < MAX_GRANTS || self.grants.contains_key(&grant.resource) {
            self.grants.insert(grant.resource.clone(), grant);
        }
    }

    pub(super) fn expire(&mut self) {
        self.grants.clear();
    }

    /// What may be done at this path, now.
    pub(super) fn at(&self, path: &str, now: Moment) -> Rights {
        let mut all = self.plain.unwrap_or_default();
        for grant in self.grants.values().filter(|grant| grant.covers(path, now)) {
            all.manage |= grant.rights.manage;
            all.send |= grant.rights.send;
            all.listen |= grant.rights.listen;
        }
        all
    }
}
