//! Follows a topic, and continues after a crash exactly where it was.
//!
//! `cargo run -p scaleout --features redis --example subscribe -- redis://127.0.0.1/ room/42`

use std::{env, fs};

use scaleout::{Cursor, Event, Result, Start};

/// Where this program keeps its place. A real one would store it with what it made of the messages.
const BOOKMARK: &str = "subscribe.cursor";

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "memory:".to_owned());
    let topic = args.next().unwrap_or_else(|| "room/42".to_owned());

    let start = match fs::read_to_string(BOOKMARK) {
        Ok(text) => Start::After(text.parse::<Cursor>()?),
        Err(_) => Start::Earliest,
    };
    let backplane = scaleout::connect(&url).await?;
    let mut subscription = backplane.subscribe(topic, start).await?;
    while let Some(event) = subscription.next().await {
        match event {
            Event::Message(entry) => {
                println!("{}: {}", entry.sequence(), entry.payload().escape_ascii());
                if let Err(error) = fs::write(BOOKMARK, entry.cursor().to_string()) {
                    println!("the place is not kept: {error}");
                }
            }
            // The broker has trimmed these: fetch a snapshot of whatever the messages change.
            Event::Gap(gap) => println!("lost: {} to {}", gap.first, gap.last),
            // The broker lost its data, or fell back to older data: start over.
            Event::Reset(reset) => println!("starting over: {:?}", reset.reason),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
