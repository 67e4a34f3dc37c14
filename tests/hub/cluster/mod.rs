//! Two nodes on one backplane. Every test runs on every backplane that is switched on.

mod asking;
mod groups;
mod presence;
mod resume;
mod targets;

use std::time::Duration;

use scaleout::{
    ErrorKind,
    hub::{Hub, HubError, HubOptions},
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    node::{Node, memory},
};

macro_rules! on_every_backplane {
    ($($test:ident,)*) => {
        mod over_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::memory()).await;
            })*
        }

        /// They need a PostgreSQL on its usual port.
        #[cfg(feature = "postgres")]
        mod over_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::postgres()).await;
            })*
        }

        /// They need a RabbitMQ on its usual port.
        #[cfg(feature = "rabbitmq")]
        mod over_rabbitmq {
            $(#[tokio::test]
            async fn $test() {
                let url = crate::node::rabbitmq();
                super::$test(url.clone()).await;
                scaleout_rabbitmq::remove(&url).await.unwrap();
            })*
        }

        /// They need a Redis on its usual port.
        #[cfg(feature = "redis")]
        mod over_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::node::redis()).await;
            })*
        }
    };
}

use on_every_backplane;

struct Cluster {
    nodes: [Node; 2],
}

impl Cluster {
    async fn start(url: &str) -> Self {
        let options = HubOptions::new;
        Self {
            nodes: [
                Node::on(url, options()).await,
                Node::on(url, options()).await,
            ],
        }
    }

    /// A client on each node.
    async fn pair(&self) -> (Client, Client) {
        (self.nodes[0].client().await, self.nodes[1].client().await)
    }
}

async fn id(client: &mut Client) -> Value {
    client.call("Id", json!([])).await["result"].take()
}

/// Calls a method that must not fail.
async fn call(client: &mut Client, target: &str, arguments: Value) {
    let answer = client.call(target, arguments).await;
    assert_eq!(answer.get("error"), None);
}

/// Sends without waiting for an answer, so that no event is missed.
async fn tell(client: &mut Client, target: &str, arguments: Value) {
    client
        .send(json!({"type": 1, "target": target, "arguments": arguments}))
        .await;
}

fn message(text: &str) -> (String, Value) {
    ("message".to_owned(), json!([text]))
}

/// Answers the next question.
async fn answer(client: &mut Client, answer: &str, value: Value) {
    let question = client.receive().await;
    assert_eq!(question["target"], "question");
    client
        .send(json!({"type": 3, "invocationId": question["invocationId"], answer: value}))
        .await;
}

/// Nodes that notice soon when another one has died.
fn impatient() -> HubOptions {
    HubOptions::new()
        .with_node_heartbeat_interval(Duration::from_millis(100))
        .with_node_timeout(Duration::from_millis(500))
}

/// A node that ends without a word, as a process that is killed does.
async fn node_to_die(url: &str) -> Node {
    Node::on(url, impatient()).await
}

#[tokio::test]
async fn a_hub_that_makes_no_sense_is_not_built() {
    struct Hubless;
    let backplane = scaleout::connect(&memory()).await.unwrap();
    let kind = |outcome: scaleout::Result<Hub>| outcome.unwrap_err().kind();
    let twice = Hub::builder(Hubless)
        .method("Do", async |_: &Hubless| Ok::<_, HubError>(()))
        .method("DO", async |_: &Hubless| Ok::<_, HubError>(()));
    assert_eq!(kind(twice.build(&backplane).await), ErrorKind::InvalidInput);
    let named = Hub::builder(Hubless).name("a/b");
    assert_eq!(kind(named.build(&backplane).await), ErrorKind::InvalidInput);
    let options = HubOptions::new().with_maximum_parallel_invocations_per_client(0);
    let hub = Hub::builder(Hubless).options(options);
    assert_eq!(kind(hub.build(&backplane).await), ErrorKind::InvalidInput);
}
