//! Reading a stream over AMQP 0.9.1: a consumer that begins somewhere.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

use crate::error::is_missing;

/// How long a stream may seem empty before something is written into it.
pub(crate) const QUIET: Duration = Duration::from_millis(500);

/// Where a consumer begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// At the oldest message.
    First,
    /// At the beginning of the newest chunk, somewhere before the newest message.
    Last,
    /// After the newest message.
    Next,
    /// At this offset. RabbitMQ silently begins elsewhere if it does not have it.
    Offset(u64),
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) body: Bytes,
}

/// The messages of a stream, one after the other. Dropping it ends the consumer.
///
/// It has a channel of its own: RabbitMQ 3.10 was seen to forget a consumer whose channel had had
/// another one on the same stream.
pub(crate) struct Records {
    channel: Channel,
    consumer: Consumer,
    /// How many messages are asked for at a time.
    prefetch: u16,
    unacked: u16,
    tag: u64,
}

impl Records {
    /// Begins to consume. Once this returned, the consumer stands where it begins: what is stored
    /// from then on is after it.
    pub(crate) async fn open(
        channel: Channel,
        stream: &str,
        from: From,
        prefetch: u16,
    ) -> lapin::Result<Self> {
        let offset = match from {
            From::First => AMQPValue::LongString("first".into()),
            From::Last => AMQPValue::LongString("last".into()),
            From::Next => AMQPValue::LongString("next".into()),
            From::Offset(offset) => {
                AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
            }
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), offset);
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        let consume = channel.basic_consume(
            stream.into(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        );
        let (_, consumer) = tokio::try_join!(biased; qos, consume)?;
        let records = Self {
            channel,
            consumer,
            prefetch,
            unacked: 0,
            tag: 0,
        };
        if matches!(from, From::Next) {
            // The server confirms a consumer before it looks where `next` is. The answer to another
            // request comes after that.
            records
                .channel
                .basic_qos(prefetch, BasicQosOptions::default())
                .await?;
        }
        Ok(records)
    }

    /// The next message; `None` when the server has ended the consumer, as it does when the stream
    /// is deleted.
    ///
    /// # Cancellation
    ///
    /// Safe until a message is there; then an acknowledgement may be left for the next call.
    pub(crate) async fn next(&mut self) -> lapin::Result<Option<Record>> {
        if self.unacked >= self.prefetch.div_ceil(2) {
            self.ack().await?;
        }
        let delivery = match self.consumer.next().await.transpose() {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return Ok(None),
            // RabbitMQ (3.10) also says so, now and then.
            Err(error) if is_missing(&error, self.consumer.queue().as_str()) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.unacked += 1;
        self.tag = delivery.delivery_tag;
        let headers = delivery.properties.headers().as_ref();
        let offset = headers.and_then(|headers| headers.inner().get("x-stream-offset"));
        // Every message of a stream has one.
        let offset = match offset {
            Some(AMQPValue::LongLongInt(offset)) => u64::try_from(*offset).unwrap_or_default(),
            _ => 0,
        };
        Ok(Some(Record {
            offset,
            body: delivery.data.into(),
        }))
    }

    /// Acknowledges everything, which asks for more.
    pub(crate) async fn ack(&mut self) -> lapin::Result<()> {
        if self.unacked == 0 {
            return Ok(());
        }
        let all = BasicAckOptions { multiple: true };
        self.channel.basic_ack(self.tag, all).await?;
        self.unacked = 0;
        Ok(())
    }

    /// Whether something is not acknowledged.
    pub(crate) fn has_unacked(&self) -> bool {
        self.unacked > 0
    }

    /// Ends the consumer in order. What comes after is what had been sent before.
    async fn cancel(&self) -> lapin::Result<()> {
        let tag = self.consumer.tag();
        self.channel
            .basic_cancel(tag, BasicCancelOptions::default())
            .await
    }
}

/// The oldest message of a stream.
pub(crate) async fn first(channel: Channel, stream: &str) -> lapin::Result<Option<Record>> {
    let mut records = Records::open(channel, stream, From::First, 1).await?;
    let record = records.next().await?;
    records.cancel().await?;
    Ok(record)
}

/// The newest message of a stream. `revive` writes one if there seems to be none for as long as
/// `quiet`.
///
/// A consumer from `last` gets the whole newest chunk, and nothing tells where it ends. But the
/// server looks for new messages once, and hands over all that it then has and the prefetch allows,
/// before it looks at the next request. No chunk has more messages than the largest prefetch. So
/// what has come when the end of the consumer is confirmed reaches up to what was the newest message
/// at some time during this call.
pub(crate) async fn last<F>(
    channel: Channel,
    stream: &str,
    quiet: Duration,
    revive: impl FnOnce() -> F,
) -> lapin::Result<Option<Record>>
where
    F: Future<Output = lapin::Result<()>>,
{
    let mut records = Records::open(channel, stream, From::Last, u16::MAX).await?;
    let first = match timeout(quiet, records.next()).await {
        Ok(record) => record?,
        Err(_) => {
            revive().await?;
            records.next().await?
        }
    };
    records.cancel().await?;
    let mut last = first;
    while let Some(record) = records.next().await? {
        last = Some(record);
    }
    Ok(last)
}
