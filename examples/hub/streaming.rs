//! Streams in both directions: a countdown that can be stopped, and a sum of what the client sends.
//!
//! `cargo run -p scaleout --features hub --example hub_streaming`

#![expect(clippy::unused_async, reason = "hub methods are async")]

mod page;

use std::{error::Error, time::Duration};

use futures_util::{Stream, TryStreamExt, stream};
use scaleout::hub::{Hub, HubError, Upload};

struct Numbers;

impl Numbers {
    /// Each number leaves as it comes. When the client stops, the stream is dropped.
    async fn countdown(
        &self,
        from: u32,
    ) -> Result<impl Stream<Item = Result<u32, HubError>> + use<>, HubError> {
        if from > 1_000 {
            return Err(HubError::new("that would take too long"));
        }
        Ok(stream::unfold(from, async |left| {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Some((Ok(left), left.checked_sub(1)?))
        }))
    }

    /// The client sends only as fast as this reads.
    async fn sum(&self, numbers: Upload<i64>) -> Result<i64, HubError> {
        numbers
            .try_fold(0, async |sum, number| Ok(sum + number))
            .await
    }
}

const PAGE: &str = "<button id=stop>Stop</button><p><script>
    const hub = new Hub('/hub');
    hub.ready.then(async () => {
        log('1 + ... + 100 is', await hub.upload('Sum', [...Array(101).keys()]));
        stop.onclick = hub.stream('Countdown', [20], (number) => log(number), () => log('it is over'));
    });
</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backplane = scaleout::connect("memory:").await?;
    let hub = Hub::builder(Numbers)
        .stream("Countdown", Numbers::countdown)
        .method("Sum", Numbers::sum)
        .build(&backplane)
        .await?;
    Ok(page::serve([hub], PAGE).await?)
}
