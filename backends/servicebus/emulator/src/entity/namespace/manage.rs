//! Creating, changing, listing and deleting entities and rules.

use std::collections::BTreeMap;

use crate::{
    clock::Moment,
    entity::{
        Address, Namespace, QueueSettings, Refusal, Rule, TopicSettings, duplicates::Duplicates,
    },
};

use super::{
    entity, not_found,
    parts::{Mailbox, QueueNode, Scheduled, Subscription, Topic},
    subscription,
};

/// Subscriptions that a topic may have (from the service's documentation).
const MAX_SUBSCRIPTIONS: usize = 2_000;

/// How many messages an entity has, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the service's")]
pub struct Counts {
    pub active: usize,
    pub dead_letter: usize,
    pub scheduled: usize,
    /// Bytes of the messages' encoding.
    pub size: usize,
}

impl Namespace {
    /// Creates a queue.
    ///
    /// # Errors
    ///
    /// `Exists` if there is an entity of that name, `Invalid` if the name or a setting is not allowed.
    pub fn create_queue(
        &mut self,
        now: Moment,
        name: &str,
        settings: QueueSettings,
    ) -> Result<(), Refusal> {
        let key = self.free_name(name)?;
        check(&settings)?;
        let life = self.next_life();
        let node = QueueNode {
            mailbox: Mailbox::new(now, life, name, settings),
            scheduled: Scheduled::default(),
            duplicates: Duplicates::default(),
        };
        self.queues.insert(key, node);
        Ok(())
    }

    /// Creates a topic.
    ///
    /// # Errors
    ///
    /// As `create_queue`.
    pub fn create_topic(
        &mut self,
        now: Moment,
        name: &str,
        settings: TopicSettings,
    ) -> Result<(), Refusal> {
        let key = self.free_name(name)?;
        let topic = Topic {
            name: name.into(),
            life: self.next_life(),
            created: now,
            settings,
            last_number: 0,
            scheduled: Scheduled::default(),
            duplicates: Duplicates::default(),
            subscriptions: BTreeMap::new(),
            last_used: now,
        };
        self.topics.insert(key, topic);
        Ok(())
    }

    /// Creates a subscription of a topic, which gets what is sent from now on and passes the rule.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such topic, `Quota` if it has as many as it may have; else as `create_queue`.
    pub fn create_subscription(
        &mut self,
        now: Moment,
        topic: &str,
        name: &str,
        settings: QueueSettings,
        rule: Rule,
    ) -> Result<(), Refusal> {
        check(&settings)?;
        let address = subscription_address(topic, name)?;
        let life = self.next_life();
        let topic = self.topic_mut(&address)?;
        if topic.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::Quota(format!(
                "a topic has {MAX_SUBSCRIPTIONS} subscriptions at most"
            )));
        }
        let key = name.to_ascii_lowercase();
        if topic.subscriptions.contains_key(&key) {
            return Err(Refusal::Exists(format!("the subscription '{name}'")));
        }
        let subscription = Subscription {
            mailbox: Mailbox::new(now, life, name, settings),
            rules: vec![rule],
        };
        topic.subscriptions.insert(key, subscription);
        topic.last_used = now;
        Ok(())
    }

    /// Deletes a queue, a topic with its subscriptions, or a subscription.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn delete(&mut self, address: &Address) -> Result<(), Refusal> {
        if let Some(name) = &address.subscription {
            let topic = self.topic_mut(address)?;
            topic
                .subscriptions
                .remove(name)
                .ok_or_else(|| not_found(address))?;
        } else if let Some(topic) = self.topics.remove(&address.entity) {
            for name in topic.subscriptions.keys() {
                self.mark(&subscription(&address.entity, name));
            }
        } else if self.queues.remove(&address.entity).is_none() {
            return Err(not_found(address));
        }
        self.mark(&entity(&address.entity));
        self.mark(address);
        Ok(())
    }

    /// Changes the settings of a queue or subscription, for messages that come and locks that are taken from now on.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity, `Invalid` if a setting is not allowed.
    pub fn update(&mut self, address: &Address, settings: QueueSettings) -> Result<(), Refusal> {
        check(&settings)?;
        self.mailbox(address)?.settings = settings;
        Ok(())
    }

    /// Changes the settings of a topic.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such topic.
    pub fn update_topic(
        &mut self,
        address: &Address,
        settings: TopicSettings,
    ) -> Result<(), Refusal> {
        self.topic_mut(address)?.settings = settings;
        Ok(())
    }

    /// Name and settings of a queue or subscription.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn settings(&mut self, address: &Address) -> Result<(String, QueueSettings), Refusal> {
        let mailbox = self.mailbox(address)?;
        Ok((mailbox.name.clone(), mailbox.settings.clone()))
    }

    /// Name and settings of a topic.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such topic.
    pub fn topic_settings(
        &mut self,
        address: &Address,
    ) -> Result<(String, TopicSettings), Refusal> {
        let topic = self.topic_mut(address)?;
        Ok((topic.name.clone(), topic.settings.clone()))
    }

    /// When a queue, topic or subscription was created.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn created(&mut self, address: &Address) -> Result<Moment, Refusal> {
        if self.is_topic(address) {
            return Ok(self.topic_mut(address)?.created);
        }
        Ok(self.mailbox(address)?.created)
    }

    /// How many messages a queue or subscription has.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such entity.
    pub fn counts(&mut self, address: &Address) -> Result<Counts, Refusal> {
        let queue = &self.mailbox(address)?.queue;
        let dead_letter = queue.dead_letters_ref().map_or(0, |dead| dead.len());
        let mut counts = Counts {
            active: queue.len(),
            dead_letter,
            scheduled: 0,
            size: queue.bytes(),
        };
        if let (None, Some(node)) = (&address.subscription, self.queues.get(&address.entity)) {
            counts.scheduled = node.scheduled.len();
        }
        Ok(counts)
    }

    /// Addresses of all queues.
    #[must_use]
    pub fn queues(&self) -> Vec<Address> {
        self.queues.keys().map(|key| entity(key)).collect()
    }

    /// Addresses of all topics.
    #[must_use]
    pub fn topics(&self) -> Vec<Address> {
        self.topics.keys().map(|key| entity(key)).collect()
    }

    /// Addresses of the subscriptions of a topic.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such topic.
    pub fn subscriptions(&mut self, topic: &Address) -> Result<Vec<Address>, Refusal> {
        let found = self.topic_mut(topic)?;
        let keys = found.subscriptions.keys();
        Ok(keys.map(|key| subscription(&topic.entity, key)).collect())
    }

    /// The rules of a subscription.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such subscription.
    pub fn rules(&mut self, of: &Address) -> Result<&[Rule], Refusal> {
        Ok(&self.subscription_mut(of)?.rules)
    }

    /// Adds a rule to a subscription.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such subscription, `Exists` if it has a rule of that name.
    pub fn add_rule(&mut self, to: &Address, rule: Rule) -> Result<(), Refusal> {
        let rules = &mut self.subscription_mut(to)?.rules;
        if rules
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&rule.name))
        {
            return Err(Refusal::Exists(format!("the rule '{}'", rule.name)));
        }
        rules.push(rule);
        Ok(())
    }

    /// Takes a rule away from a subscription. Without rules it gets nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such subscription or rule.
    pub fn remove_rule(&mut self, from: &Address, name: &str) -> Result<(), Refusal> {
        let rules = &mut self.subscription_mut(from)?.rules;
        let found = rules
            .iter()
            .position(|rule| rule.name.eq_ignore_ascii_case(name));
        let at = found.ok_or_else(|| Refusal::NotFound(format!("the rule '{name}'")))?;
        rules.remove(at);
        Ok(())
    }

    fn free_name(&self, name: &str) -> Result<String, Refusal> {
        let address = Address::parse(name).filter(|found| *found == entity(&found.entity));
        let key = address
            .ok_or_else(|| Refusal::Invalid(format!("'{name}' is no name for an entity")))?
            .entity;
        if self.queues.contains_key(&key) || self.topics.contains_key(&key) {
            return Err(Refusal::Exists(format!("the entity '{name}'")));
        }
        Ok(key)
    }

    fn next_life(&mut self) -> u64 {
        self.last_life += 1;
        self.last_life
    }

    fn topic_mut(&mut self, address: &Address) -> Result<&mut Topic, Refusal> {
        let topic = self.topics.get_mut(&address.entity);
        topic.ok_or_else(|| not_found(&entity(&address.entity)))
    }

    fn subscription_mut(&mut self, address: &Address) -> Result<&mut Subscription, Refusal> {
        let name = address.subscription.clone().unwrap_or_default();
        let topic = self.topic_mut(address)?;
        topic
            .subscriptions
            .get_mut(&name)
            .ok_or_else(|| not_found(address))
    }
}

fn subscription_address(topic: &str, name: &str) -> Result<Address, Refusal> {
    Address::parse(&format!("{topic}/subscriptions/{name}"))
        .filter(|address| address.subscription.as_deref() == Some(&name.to_ascii_lowercase()))
        .ok_or_else(|| Refusal::Invalid(format!("'{name}' is no name for a subscription")))
}

fn check(settings: &QueueSettings) -> Result<(), Refusal> {
    let lock = settings.lock_duration.as_secs_f64();
    if lock <= 0.0 || lock > 300.0 {
        return Err(Refusal::Invalid(
            "the lock duration must be above zero and at most 5 minutes".into(),
        ));
    }
    if settings.max_delivery_count == 0 || settings.time_to_live.is_zero() {
        return Err(Refusal::Invalid(
            "the maximal delivery count and the time to live must be above zero".into(),
        ));
    }
    Ok(())
}
