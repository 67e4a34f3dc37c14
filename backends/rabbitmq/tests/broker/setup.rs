//! Nodes that do not fit together, and streams that others write to.

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use libtest_mimic::{Failed, Trial};
use scaleout_conformance::{
    Broker,
    broker::{RabbitMq, Server},
};
use scaleout_core::{ErrorKind, Event, Start};

use crate::{expect, next, node, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_node_with_another_number_of_logs_is_refused",
            another_number,
        ),
        trial(
            "what_something_else_wrote_is_told_and_skipped",
            written_by_others,
        ),
    ]
}

async fn another_number(server: Server<RabbitMq>) -> Result<(), Failed> {
    let first = node(&server, "partitioning=4").await?;
    let Err(error) = node(&server, "partitioning=8").await else {
        return Err("it was not refused".into());
    };
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("has 4 logs"), "{error}");
    // Elsewhere it may have as many as it likes.
    node(&server, "partitioning=8&namespace=elsewhere").await?;
    first.publish("t", "m").await?;
    Ok(())
}

async fn written_by_others(server: Server<RabbitMq>) -> Result<(), Failed> {
    let node = node(&server, "partitioning=1").await?;
    let mut tail = node.subscribe("t", Start::Latest).await?;
    let receipt = node.publish("t", "before").await?;
    expect(&mut tail, "before").await?;

    let stream = format!("scaleout/scaleout/0/{}", receipt.epoch());
    let url = server.target().url();
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(url.trim_end_matches('/'), properties).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let publish = channel.basic_publish("".into(), stream.into(), options, b"hi", properties);
    publish.await?.await?;

    node.publish("t", "after").await?;
    let event = next(&mut tail).await?;
    assert!(matches!(event, Event::Unreadable(_)), "{event:?}");
    expect(&mut tail, "after").await
}
