//! What clients that are connected learn when the broker has lost messages.

use scaleout::{
    Backplane,
    hub::{Context, Hub, HubError, Lost, LostReason, User, test::TestClient},
};

use crate::no_history::forgetful;

struct News;

impl News {
    async fn join(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.join(group).await?)
    }
}

fn tell(_: &News, lost: &Lost) {
    let whom = (lost.group(), lost.user(), lost.concerns_everybody());
    match lost.reason() {
        LostReason::Reset => lost.tell("missed", whom).unwrap(),
        reason => lost.tell(format!("{reason:?}"), whom).unwrap(),
    }
}

/// A node on the broker of this name.
async fn node(name: &str) -> Hub {
    let url = format!("memory:{name}");
    hub(&scaleout::connect(&url).await.unwrap()).await
}

async fn hub(backplane: &Backplane) -> Hub {
    let hub = Hub::builder(News).method("Join", News::join).on_lost(tell);
    hub.build(backplane).await.unwrap()
}

/// The next invocation: a message's number, or who has missed something.
async fn next(client: &TestClient) -> (String, serde_json::Value) {
    let received = client.next().await.unwrap();
    (received.method().to_owned(), received.arguments().unwrap())
}

fn missed(whom: serde_json::Value) -> (String, serde_json::Value) {
    ("missed".to_owned(), whom)
}

#[tokio::test]
async fn whoever_may_have_missed_something_is_told_before_anything_newer() {
    let hub = node("lost-group").await;
    let member = TestClient::connect(&hub).await.unwrap();
    let other = TestClient::connect(&hub).await.unwrap();
    member.invoke::<()>("Join", ("room",)).await.unwrap();
    let room = hub.context().clients().group("room");
    room.send("message", (1,)).await.unwrap();
    assert_eq!(next(&member).await, ("message".into(), [1].into()));

    scaleout::memory::Memory::named("lost-group")
        .unwrap()
        .wipe();
    room.send("message", (2,)).await.unwrap();
    let mut told = Vec::new();
    // The topic of all, and that of this node's connections, may have lost something too.
    loop {
        match next(&member).await {
            (method, arguments) if method == "missed" => told.push(arguments),
            message => {
                assert_eq!(message, ("message".into(), [2].into()));
                break;
            }
        }
    }
    assert!(
        told.contains(&serde_json::json!(["room", null, false])),
        "{told:?}"
    );
    // Who is not in the group has missed nothing of it.
    let all = hub.context().clients().all();
    all.send("message", (3,)).await.unwrap();
    loop {
        let (method, arguments) = next(&other).await;
        if method == "message" {
            break;
        }
        assert_eq!(
            (method, arguments),
            missed(serde_json::json!([null, null, true]))
        );
    }
}

#[tokio::test]
async fn a_user_is_told_too() {
    let hub = node("lost-user").await;
    let client = TestClient::builder().user(User::new("ada"));
    let client = client.connect(&hub).await.unwrap();
    let ada = hub.context().clients().user("ada");
    ada.send("message", (1,)).await.unwrap();
    assert_eq!(next(&client).await.0, "message");
    scaleout::memory::Memory::named("lost-user").unwrap().wipe();
    ada.send("message", (2,)).await.unwrap();
    client.receive::<(u32,)>("message").await.unwrap();
    let told = client.receive_question("missed").await.unwrap();
    let mut all = vec![told.arguments::<serde_json::Value>().unwrap()];
    while let Some(more) = client.try_next() {
        all.push(more.arguments().unwrap());
    }
    assert!(
        all.contains(&serde_json::json!([null, "ada", false])),
        "{all:?}"
    );
}

/// Sends one message that something happens to and one that nothing does, and returns what a member of
/// the room, to whom both were sent, gets in place of the first.
async fn in_place_of(text: &str) -> (String, serde_json::Value) {
    let hub = hub(&forgetful().await).await;
    let member = TestClient::connect(&hub).await.unwrap();
    member.invoke::<()>("Join", ("room",)).await.unwrap();
    let room = hub.context().clients().group("room");
    for text in ["before", text, "after"] {
        room.send("message", (text,)).await.unwrap();
    }
    assert_eq!(next(&member).await, ("message".into(), ["before"].into()));
    let told = next(&member).await;
    assert_eq!(next(&member).await, ("message".into(), ["after"].into()));
    told
}

#[tokio::test]
async fn a_gap_is_told_in_the_place_of_what_is_lost() {
    let whom = serde_json::json!(["room", null, false]);
    assert_eq!(in_place_of("vanish").await, ("Gap".into(), whom));
}

#[tokio::test]
async fn what_cannot_be_read_is_told_in_its_place() {
    let whom = serde_json::json!(["room", null, false]);
    assert_eq!(in_place_of("garble").await, ("Unreadable".into(), whom));
}
