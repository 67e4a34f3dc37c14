use scaleout_servicebus_emulator::{
    Config as EmulatorConfig, Emulator,
    config::{PolicyConfig, TopicConfig},
    entity::Address,
};
use tokio::net::TcpListener;

use super::*;
use crate::{config::read, http::of_status, sas::Credential};

async fn start(config: EmulatorConfig) -> Emulator {
    Emulator::start(config).await.unwrap()
}

fn manager(url: &str) -> Manager {
    let (config, _) = read(url).unwrap();
    let http = Http::new(&config).unwrap();
    Manager::new(&config, http)
}

fn with_policy(rights: &str) -> EmulatorConfig {
    let mut config = EmulatorConfig::default();
    config
        .policies
        .push(PolicyConfig::parse(&format!("p:KEY:{rights}")).unwrap());
    config
}

fn delete(emulator: &Emulator, path: &str) {
    let address = Address::parse(path).unwrap();
    emulator
        .with(|namespace, _| namespace.delete(&address))
        .unwrap();
}

fn is_there(emulator: &Emulator, path: &str) -> bool {
    let address = Address::parse(path).unwrap();
    emulator
        .with(|namespace, _| namespace.created(&address))
        .is_ok()
}

#[tokio::test]
async fn a_topic_and_its_subscription_come_and_go() {
    let emulator = start(EmulatorConfig::default()).await;
    let manager = manager(&emulator.connection_string());
    assert_eq!(manager.topic("a/4/0").await.unwrap(), None);

    manager.create_topic("a/4/0").await.unwrap();
    let topic = manager.topic("a/4/0").await.unwrap().unwrap();
    assert!(!topic.partitioned);
    manager.create_subscription("a/4/0", "n").await.unwrap();
    assert!(is_there(&emulator, "a/4/0/subscriptions/n"));

    // Nothing of that is new.
    manager.create_topic("a/4/0").await.unwrap();
    manager.create_subscription("a/4/0", "n").await.unwrap();
    assert_eq!(manager.topic("a/4/0").await.unwrap(), Some(topic));

    manager.delete_subscription("a/4/0", "n").await.unwrap();
    manager.delete_subscription("a/4/0", "n").await.unwrap();
    assert!(!is_there(&emulator, "a/4/0/subscriptions/n"));
}

#[tokio::test]
async fn a_topic_that_was_created_again_is_another() {
    let emulator = start(EmulatorConfig::default()).await;
    let manager = manager(&emulator.connection_string());
    manager.create_topic("t").await.unwrap();
    let first = manager.topic("t").await.unwrap().unwrap();
    delete(&emulator, "t");
    // Times are told in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    manager.create_topic("t").await.unwrap();
    let second = manager.topic("t").await.unwrap().unwrap();
    assert!(second.created > first.created);
}

#[tokio::test]
async fn a_subscription_is_what_the_url_says() {
    let emulator = start(EmulatorConfig::default()).await;
    let url = format!(
        "{}?subscription_ttl=90s&auto_delete_on_idle=7m&lock_duration=30s",
        emulator.connection_string()
    );
    let manager = manager(&url);
    manager.create_topic("t").await.unwrap();
    manager.create_subscription("t", "Node").await.unwrap();
    let address = Address::parse("t/subscriptions/node");
    let (name, settings) = emulator
        .with(|namespace, _| namespace.settings(&address.unwrap()))
        .unwrap();
    assert_eq!(name, "Node");
    assert_eq!(settings.time_to_live, Duration::from_secs(90));
    assert_eq!(settings.auto_delete_on_idle, Duration::from_secs(7 * 60));
    assert_eq!(settings.lock_duration, Duration::from_secs(30));
    assert_eq!(settings.max_delivery_count, MAX_DELIVERY_COUNT);
    assert!(!settings.dead_letter_on_expiration);
}

#[tokio::test]
async fn a_partitioned_topic_is_seen() {
    let mut config = EmulatorConfig::default();
    let mut topic = TopicConfig::default();
    topic.name = "t".into();
    topic.partitioned = true;
    config.topics.push(topic);
    let emulator = start(config).await;
    let manager = manager(&emulator.connection_string());
    assert!(manager.topic("t").await.unwrap().unwrap().partitioned);
}

#[tokio::test]
async fn a_subscription_of_no_topic_is_an_error() {
    let emulator = start(EmulatorConfig::default()).await;
    let manager = manager(&emulator.connection_string());
    let error = manager.create_subscription("t", "n").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn missing_rights_are_named() {
    let emulator = start(with_policy("send+listen")).await;
    let at = emulator.address();
    for url in [
        format!("servicebus://p:KEY@{at}?emulator=true"),
        format!("servicebus://p:hunter2@{at}?emulator=true"),
    ] {
        let manager = manager(&url);
        for error in [
            manager.topic("t").await.unwrap_err(),
            manager.create_topic("t").await.unwrap_err(),
            manager.delete_subscription("t", "s").await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(
                error.to_string().contains("Manage, Send and Listen"),
                "{error}"
            );
            assert!(!format!("{error:?}").contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_expired_token_passes_with_the_next_one() {
    let emulator = start(EmulatorConfig::default()).await;
    let (mut config, _) = read(&emulator.connection_string()).unwrap();
    config.credential = config.credential.clone().with_life(Duration::ZERO);
    let manager = Manager::new(&config, Http::new(&config).unwrap());
    let error = manager.topic("t").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("ExpiredToken"), "{error}");
    config.credential = Credential::key(
        "RootManageSharedAccessKey".into(),
        scaleout_core::Secret::new("SAS_KEY_VALUE"),
    );
    let manager = Manager::new(&config, Http::new(&config).unwrap());
    assert_eq!(manager.topic("t").await.unwrap(), None);
}

#[tokio::test]
async fn a_busy_service_is_asked_again_later() {
    let emulator = start(EmulatorConfig::default()).await;
    let manager = manager(&emulator.connection_string());
    emulator.faults().busy_for(Duration::from_secs(60));
    let error = manager.create_topic("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker, "{error}");
    assert!(error.is_transient());
    assert!(error.to_string().contains("503"), "{error}");
}

#[tokio::test]
async fn nobody_at_the_other_end_is_unavailable_and_silence_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let url = format!("servicebus://p:KEY@{at}?emulator=true&request_timeout=200ms");
    let manager = manager(&url);
    let error = manager.topic("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop(listener);
    let error = manager.topic("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn what_is_said_about_a_quota_is_no_matter_of_rights() {
    let body = "<Error><Code>403</Code><Detail>SubCode=40300. The maximum entity quota has been reached.</Detail></Error>";
    let error = of_status("creating t", StatusCode::FORBIDDEN, body, None);
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert_eq!(
        error.to_string(),
        "servicebus: creating t: 403 SubCode=40300. The maximum entity quota has been reached."
    );
}

#[test]
fn how_long_a_throttled_client_is_to_wait_is_told() {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let error = of_status("creating t", status, "slow down", Some("10"));
    assert_eq!(
        error.to_string(),
        "servicebus: creating t: 429 slow down (it asks to wait for 10 s)"
    );
    assert_eq!(error.outcome(), scaleout_core::Outcome::NotStored);
}
