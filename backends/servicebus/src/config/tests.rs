use proptest::prelude::*;

use super::*;

const KEY: &str = "aGFsbG8rLz09hunter2=";

fn string(more: &str) -> String {
    format!(
        "Endpoint=sb://chat.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey={KEY}{more}"
    )
}

fn parse(url: &str) -> Result<Config> {
    read_with(url, None, |_| None).map(|(config, _)| config)
}

fn parse_in(url: &str, variable: &str) -> Result<Config> {
    let environment = |name: &str| (name == VARIABLE).then(|| variable.to_owned());
    read_with(url, None, environment).map(|(config, _)| config)
}

fn refused(url: &str) -> String {
    let error = parse(url).expect_err(url);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    error.to_string()
}

fn key_of(config: &Config) -> (&str, &str) {
    config.credential.exposed_key().unwrap()
}

#[test]
fn a_connection_string_of_the_portal_is_a_url() {
    let config = parse(&string("")).unwrap();
    assert_eq!(
        config.to_string(),
        "amqps://chat.servicebus.windows.net:5671"
    );
    assert_eq!(config.http_base, "https://chat.servicebus.windows.net");
    assert_eq!(key_of(&config), ("root", KEY));
    assert_eq!(config.logs.get(), 4);
    let config = parse(&string(";?namespace=blue&transport=https")).unwrap();
    assert_eq!(config.namespace.as_str(), "blue");
    assert_eq!(config.to_string(), "https://chat.servicebus.windows.net");
}

#[test]
fn names_in_a_connection_string_have_no_case_and_may_have_spaces() {
    let config = parse("endpoint=sb://h.example; SHAREDACCESSKEYNAME = a ;sharedaccesskey=b=;");
    assert_eq!(key_of(&config.unwrap()), ("a", "b="));
}

#[test]
fn an_emulator_with_a_port_has_both_protocols_there_and_the_vendors_has_two() {
    let at = |host: &str, more: &str| {
        let config = parse(&format!(
            "Endpoint=sb://{host};SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true;{more}"
        ));
        let config = config.unwrap();
        assert!(!config.tls);
        (config.to_string(), config.http_base)
    };
    let both = |amqp: &str, http: &str| (amqp.to_owned(), http.to_owned());
    assert_eq!(
        at("127.0.0.1:5673", ""),
        both("amqp://127.0.0.1:5673", "http://127.0.0.1:5673")
    );
    assert_eq!(
        at("localhost", ""),
        both("amqp://localhost:5672", "http://localhost:5300")
    );
    assert_eq!(
        at("[::1]:9", "?http_port=10"),
        both("amqp://[::1]:9", "http://[::1]:10")
    );
}

#[test]
fn a_url_names_the_namespace_and_has_the_key_encoded() {
    let config = parse("servicebus://root:a%2Bb%2F%3D@chat/?tier=premium").unwrap();
    assert_eq!(config.host, "chat.servicebus.windows.net");
    assert_eq!(key_of(&config), ("root", "a+b/="));
    assert_eq!(config.tier, Tier::Premium);
    let config = parse("servicebus://a:b@chat.servicebus.chinacloudapi.cn").unwrap();
    assert_eq!(config.host, "chat.servicebus.chinacloudapi.cn");
    let config = parse("servicebus://a:b@127.0.0.1:5673/?emulator=true").unwrap();
    assert_eq!(config.http_base, "http://127.0.0.1:5673");
}

#[test]
fn a_key_that_is_not_in_the_url_is_in_the_environment() {
    let config = parse_in("servicebus://chat?namespace=x", &string("")).unwrap();
    assert_eq!(key_of(&config), ("root", KEY));
    assert_eq!(
        parse_in("servicebus://", &string("")).unwrap().host,
        config.host
    );
    let error = parse_in("servicebus://other", &string("")).unwrap_err();
    assert!(error.to_string().contains("another namespace"), "{error}");
    let error = parse_in("servicebus://", "hunter2")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(VARIABLE) && !error.contains("hunter2"),
        "{error}"
    );
    assert!(refused("servicebus://chat").contains(VARIABLE));
    assert!(refused("servicebus://").contains(VARIABLE));
}

#[test]
fn a_credential_stands_in_for_the_key() {
    let credential = || Some(Credential::key("other".into(), Secret::new("k")));
    for url in [
        "servicebus://chat",
        &string(""),
        "Endpoint=sb://chat.servicebus.windows.net/",
    ] {
        let (config, _) = read_with(url, credential(), |_| None).unwrap();
        assert_eq!(key_of(&config), ("other", "k"));
    }
}

#[test]
fn a_frame_is_as_large_as_the_tier_and_the_transport_take() {
    let bytes = |options: &str| {
        let url = format!("servicebus://a:b@chat/?{options}");
        parse(&url).map(|config| config.max_frame_bytes)
    };
    assert_eq!(bytes("").unwrap(), 252 << 10);
    assert_eq!(bytes("transport=https").unwrap(), 252 << 10);
    assert_eq!(bytes("tier=premium").unwrap(), 1020 << 10);
    assert_eq!(
        bytes("tier=premium&max_frame_bytes=9000000").unwrap(),
        9_000_000
    );
    assert!(bytes("max_frame_bytes=9000000").is_err());
    assert!(bytes("tier=premium&transport=https&max_frame_bytes=9000000").is_err());
    assert!(bytes("max_frame_bytes=0").is_err());
}

#[test]
fn a_wrong_url_is_refused_without_repeating_it() {
    for bad in [
        "hunter2",
        "servicebus:hunter2",
        "servicebus://hunter2@chat",
        "servicebus://root:@chat",
        "servicebus://root:hunter2@",
        "servicebus://root:hunter2@chat:port",
        "servicebus://root:hunter2@chat/path",
        "servicebus://root:hunter2%ff@chat",
        "servicebus://root:hunter2@[chat]",
        "Endpoint=sb://chat;hunter2",
        "Endpoint=sb://chat;Password=hunter2",
        "Endpoint=hunter2://chat;SharedAccessKeyName=a;SharedAccessKey=b",
        "Endpoint=sb://chat;SharedAccessKey=hunter2",
        "SharedAccessKeyName=a;SharedAccessKey=hunter2",
    ] {
        refused(bad);
    }
    assert!(refused(&string(";EntityPath=orders")).contains("of one entity"));
    assert!(
        refused("Endpoint=sb://chat;SharedAccessSignature=hunter2").contains("a token instead")
    );
}

#[test]
fn a_message_that_a_lost_answer_took_with_it_is_back_before_publishers_lose_patience() {
    let patience = Options::new().publish_timeout;
    let config = parse(&string("?transport=https")).unwrap();
    assert!(config.lock_duration + crate::listen::GRACE < patience);
}

#[test]
fn options_are_checked() {
    for bad in [
        "retention=5",
        "partitioning=topic",
        "auto_delete_on_idle=4m",
        "emulator=true&auto_delete_on_idle=0s",
        "lock_duration=4s",
        "lock_duration=6m",
        "subscription_ttl=10ms",
        "subscription=",
        "subscription=-a",
        "subscription=a%2Fb",
        "transport=mqtt",
        "tier=basic",
        "ca_cert=/nowhere.pem",
        "emulator=true&ca_cert=/nowhere.pem",
        "liveness=0s",
    ] {
        refused(&format!("servicebus://a:hunter2@chat/?{bad}"));
    }
}

#[test]
fn no_key_is_shown() {
    let config = parse(&string("")).unwrap();
    assert!(!format!("{config:?} {config}").contains("hunter2"));
}

proptest! {
    #[test]
    fn any_key_survives_the_way_through_a_url(policy in "[a-zA-Z0-9 _.-]{1,20}", key in "[ -~äß]{1,40}") {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let url = format!("servicebus://{}:{}@chat", encode(&policy), encode(&key));
        let config = parse(&url).unwrap();
        prop_assert_eq!(key_of(&config), (policy.as_str(), key.as_str()));
    }

    #[test]
    fn a_mistyped_connection_string_never_shows_its_key(
        key in "KEY[A-Za-z0-9+/]{20}=",
        cut in 0..120_usize,
        put in "[;=:/@ ]{0,3}",
    ) {
        let whole = format!("Endpoint=sb://chat/;SharedAccessKeyName=a;SharedAccessKey={key}");
        let cut = cut.min(whole.len());
        let url = format!("{}{put}{}", &whole[..cut], &whole[cut..]);
        if let Err(error) = parse(&url) {
            let text = format!("{error} {error:?}");
            prop_assert!(!text.contains(&key[3..12]), "{}", text);
        }
    }
}
