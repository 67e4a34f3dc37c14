//! Channels that the server closed.

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::broker::{RabbitMq, Server};
use scaleout_core::ErrorKind;

use crate::{node, trial};

/// More than a connection has channels, so that their numbers come again.
const READS: usize = 1_200;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "what_one_channel_ended_with_does_not_come_again_with_its_number",
        numbers_come_again,
    )]
}

/// The node that makes the directory first asks for one that is not there, twice. Each of its reads
/// takes two channels.
async fn numbers_come_again(server: Server<RabbitMq>) -> Result<(), Failed> {
    let node = node(&server, "").await?;
    let receipt = node.publish("t", "m").await?;
    for _ in 0..READS {
        let head = node.head("t").await?;
        assert_eq!(head.cursor.position(), receipt.cursor().position());
    }
    let refused = crate::node(&server, "partitioning=3").await.err();
    assert_eq!(
        refused.map(|error| error.kind()),
        Some(ErrorKind::Incompatible)
    );
    Ok(())
}
