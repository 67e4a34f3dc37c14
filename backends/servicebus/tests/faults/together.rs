//! Nodes over AMQP and nodes over HTTPS in one namespace.

use scaleout_conformance::checker::Plan;

use crate::{GUARD, emulator, load::Load, node, soon};

/// Enough that each of the logs carries some.
const TOPICS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const MESSAGES: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_over_amqp_and_over_https_see_one_order_and_the_same_positions() {
    let emulator = emulator().await;
    let mut nodes = Vec::new();
    for transport in ["amqp", "https"] {
        nodes.push(node(&emulator, transport, "partitioning=3").await);
    }
    let mut load = Load::new(&TOPICS);
    for (number, node) in nodes.iter().enumerate() {
        load.follow(number, node).await;
    }
    for (number, node) in nodes.iter().enumerate() {
        load.publish(number, node);
    }
    load.progress(MESSAGES).await;
    // Each node gets all of them: a value at two positions, or two at one, would be found.
    let plan = Plan::for_backend(nodes[0].capabilities(), false);
    let plan = plan.with_publishes(MESSAGES).with_entries(2 * MESSAGES);
    load.finish(&nodes[0], plan).await;
    for node in nodes {
        soon(node.close(GUARD)).await.unwrap();
    }
}
