//! Publishes a message and tells what became of it.
//!
//! `cargo run -p scaleout --features redis --example publish -- redis://127.0.0.1/ room/42 hello`

use std::{env, time::Duration};

use scaleout::{Message, Outcome, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "memory:".to_owned());
    let topic = args.next().unwrap_or_else(|| "room/42".to_owned());
    let text = args.next().unwrap_or_else(|| "hello".to_owned());

    let backplane = scaleout::connect(&url).await?;
    let message = Message::new(text).with_header("content-type", "text/plain");
    match backplane.publish(topic, message).await {
        // The place at which everybody gets it. As text, any node can continue from there.
        Ok(receipt) => println!(
            "stored as number {} at {}",
            receipt.sequence(),
            receipt.cursor()
        ),
        // Safe to publish again: nobody will ever see this one.
        Err(error) if error.outcome() == Outcome::NotStored => println!("not stored: {error}"),
        // It was retried until the publish timeout, and no answer came: look before publishing again.
        Err(error) => println!("perhaps stored: {error}"),
    }
    backplane.close(Duration::from_secs(5)).await
}
