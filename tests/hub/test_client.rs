//! The client that applications test their hubs with.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use scaleout::hub::{
    AuthError, Hub, HubError, HubOptions, Protocol, User,
    test::{TestClient, TestError},
};

use crate::node::Node;

/// What a failed invocation tells.
fn told<T: std::fmt::Debug>(outcome: Result<T, TestError>) -> String {
    match outcome.unwrap_err() {
        TestError::Hub(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_invokes_methods_in_either_protocol() {
    let node = Node::start().await;
    for protocol in Protocol::ALL {
        let builder = TestClient::builder().protocol(protocol);
        let client = builder.connect(&node.hub).await.unwrap();
        assert_eq!(client.invoke::<i64>("Add", (1, 2)).await.unwrap(), 3);
        client.invoke::<()>("Void", ()).await.unwrap();
        let error = told(client.invoke::<()>("Fail", ("boom",)).await);
        assert!(error.ends_with("HubException: boom"), "{error}");
        let error = told(client.invoke::<()>("Nope", ()).await);
        assert!(error.ends_with("Method does not exist."), "{error}");
        let unreadable = client.invoke::<String>("Add", (1, 2)).await;
        assert!(matches!(unreadable, Err(TestError::Unreadable(_))));
    }
}

#[tokio::test]
async fn it_gets_what_it_is_sent_in_order_and_by_name() {
    let node = Node::start().await;
    let client = TestClient::connect(&node.hub).await.unwrap();
    let all = node.hub.context().clients().all();
    for (method, number) in [("a", 1), ("b", 2), ("a", 3)] {
        all.send(method, (number,)).await.unwrap();
    }
    assert_eq!(client.receive::<(i32,)>("B").await.unwrap(), (2,));
    let first = client.next().await.unwrap();
    assert_eq!((first.method(), first.arguments().unwrap()), ("a", (1,)));
    assert_eq!(client.receive::<Vec<i32>>("a").await.unwrap(), [3]);
    assert!(client.try_next().is_none());
}

#[tokio::test]
async fn it_is_whom_its_token_says_or_the_test() {
    let node = Node::start().await;
    let as_token = |token| TestClient::builder().token(token).connect(&node.hub);
    let ada = as_token("ada").await.unwrap();
    let user: Option<String> = ada.invoke("User", ()).await.unwrap();
    assert_eq!(user.as_deref(), Some("ada"));
    assert_eq!(
        told(ada.invoke::<String>("AdminsOnly", ()).await),
        "Failed to invoke 'AdminsOnly' because user is unauthorized"
    );
    let root = User::new("root").with_claim("role", "admin");
    let root = TestClient::builder().user(root).connect(&node.hub);
    let welcome: String = root.await.unwrap().invoke("AdminsOnly", ()).await.unwrap();
    assert_eq!(welcome, "welcome");
    for (token, error) in [
        ("forged", AuthError::Unauthenticated),
        ("nobody", AuthError::Forbidden),
    ] {
        assert_eq!(
            as_token(token).await.unwrap_err(),
            TestError::TurnedAway(error)
        );
    }
}

#[tokio::test]
async fn it_comes_by_a_request_of_the_tests_choice() {
    let node = Node::start().await;
    let client = TestClient::builder().header("x-room", "garden");
    let client = client.connect(&node.hub).await.unwrap();
    let header: Option<String> = client.invoke("Header", ("x-room",)).await.unwrap();
    assert_eq!(header.as_deref(), Some("garden"));
    let refused = TestClient::builder().uri("/chat?refuse").connect(&node.hub);
    let TestError::Closed(closed) = refused.await.unwrap_err() else {
        panic!("not closed");
    };
    let error = closed.error.unwrap();
    assert!(error.ends_with("you are not welcome"), "{error}");
    assert!(!closed.allow_reconnect);
}

#[tokio::test]
async fn it_streams_in_both_directions() {
    let mut node = Node::start().await;
    let client = TestClient::connect(&node.hub).await.unwrap();
    let counted = client.stream::<u32>("Count", (3,)).await.unwrap();
    assert_eq!(counted.try_collect::<Vec<_>>().await.unwrap(), [0, 1, 2]);

    let numbers = stream::iter(1..=100);
    let sum = client.call("Sum", ()).upload(numbers).invoke::<u32>();
    assert_eq!(sum.await.unwrap(), 5050);
    let doubled = client.call("Double", ()).upload(stream::iter([1, 2]));
    let doubled: Vec<u32> = doubled
        .stream::<u32>()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(doubled, [2, 4]);

    let mut broken = client.stream::<u32>("BreakOff", ()).await.unwrap();
    assert_eq!(broken.next().await, Some(Ok(1)));
    let error = told(broken.next().await.unwrap());
    assert!(error.ends_with("HubException: no more"), "{error}");
    assert_eq!(broken.next().await, None);

    // Dropping one that has no end cancels it.
    let mut endless = client.stream::<u32>("CountForEver", ()).await.unwrap();
    endless.next().await.unwrap().unwrap();
    drop(endless);
    node.expect("connected").await;
    node.expect("dropped").await;
}

#[tokio::test]
async fn it_answers_the_hubs_questions() {
    let node = Node::start().await;
    let (asker, asked) = (
        TestClient::connect(&node.hub).await.unwrap(),
        TestClient::connect(&node.hub).await.unwrap(),
    );
    let ask = async || {
        asker
            .invoke::<String>("Ask", (asked.connection_id().as_str(), "why?"))
            .await
    };

    // By hand, ...
    let (answered, ()) = tokio::join!(ask(), async {
        let question = asked.receive_question("question").await.unwrap();
        assert!(question.awaits_result());
        assert_eq!(question.arguments::<(String,)>().unwrap().0, "why?");
        question.answer("because").unwrap();
    });
    assert_eq!(answered.unwrap(), "because");
    let (refused, ()) = tokio::join!(ask(), async {
        asked.next().await.unwrap().refuse("no").unwrap();
    });
    assert!(told(refused).ends_with("HubException: no"));

    // ... or always in the same way.
    asked.on("Question", |(text,): (String,)| {
        Ok(format!("{text} why not?"))
    });
    assert_eq!(ask().await.unwrap(), "why? why not?");
}

#[tokio::test]
async fn it_shows_how_two_nodes_act_as_one() {
    let url = crate::node::memory();
    let nodes = [
        Node::on(&url, HubOptions::new()).await,
        Node::on(&url, HubOptions::new()).await,
    ];
    let a = TestClient::connect(&nodes[0].hub).await.unwrap();
    let b = TestClient::connect(&nodes[1].hub).await.unwrap();
    b.invoke::<()>("Join", ("room",)).await.unwrap();
    a.invoke::<()>("TellGroup", ("room", "hello"))
        .await
        .unwrap();
    assert_eq!(b.receive::<(String,)>("message").await.unwrap().0, "hello");
}

#[tokio::test]
async fn the_hub_learns_how_it_left() {
    let mut node = Node::start().await;
    let connect = || TestClient::connect(&node.hub);
    connect().await.unwrap().close().await.unwrap();
    connect().await.unwrap().lose().await.unwrap();
    drop(connect().await.unwrap());
    for how in [
        "closed by the client",
        "the transport broke",
        "the transport broke",
    ] {
        node.expect("connected").await;
        node.expect(&format!("disconnected: {how}")).await;
    }
}

#[tokio::test]
async fn it_learns_that_the_hub_ends_it() {
    let node = Node::start().await;
    let client = TestClient::connect(&node.hub).await.unwrap();
    client.send("Abort", ()).await.unwrap();
    let closed = client.closed().await.unwrap();
    assert_eq!((closed.error, closed.allow_reconnect), (None, false));
    let late = client.invoke::<i64>("Add", (1, 2)).await;
    assert!(matches!(late, Err(TestError::Closed(_))), "{late:?}");

    let client = TestClient::connect(&node.hub).await.unwrap();
    node.hub.close(Duration::from_secs(5)).await;
    assert!(client.closed().await.unwrap().allow_reconnect);
    let late = TestClient::connect(&node.hub).await.unwrap_err();
    assert!(matches!(late, TestError::Closed(_)), "{late:?}");
}

#[tokio::test]
async fn a_hub_that_is_dropped_leaves_nobody_waiting() {
    let backplane = scaleout::connect(&crate::node::memory()).await.unwrap();
    let hub = Hub::builder(())
        .name("Silent")
        .method("Wait", async |_: &()| {
            std::future::pending::<()>().await;
            Ok::<_, HubError>(())
        });
    let hub = hub.build(&backplane).await.unwrap();
    let client = TestClient::connect(&hub).await.unwrap();
    let waiting = client.invoke::<()>("Wait", ());
    let (outcome, ()) = tokio::join!(waiting, async move { drop(hub) });
    assert!(matches!(outcome, Err(TestError::Closed(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_named() {
    let node = Node::start().await;
    let client = TestClient::builder().patience(Duration::from_secs(2));
    let client = client.connect(&node.hub).await.unwrap();
    client.invoke::<()>("TellCaller", ("hello",)).await.unwrap();
    let error = client.receive::<()>("other").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"other\" did not come within 2s; what came and was not asked for: [\"message\"]"
    );
}
