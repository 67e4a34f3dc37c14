//! Publishes a message exactly if the application's own data are committed.
//!
//! `cargo run -p scaleout --features postgres --example transactional_publish -- \
//! postgres://postgres@127.0.0.1/test`

use std::{env, error::Error, time::Duration};

use scaleout::{Event, Start};
use tokio_postgres::NoTls;

const ORDERS: &str = "CREATE TEMPORARY TABLE orders (id bigint PRIMARY KEY, state text NOT NULL)";
const PAY: &str = "INSERT INTO orders (id, state) VALUES ($1, 'paid')";
const PUBLISH: &str = "SELECT scaleout.publish('orders', format('order %s is paid', $1::bigint))";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1);
    let url = url.unwrap_or_else(|| "postgres://postgres@127.0.0.1/test".to_owned());

    // A server that listens. It also makes the schema, if there is none yet.
    let backplane = scaleout::connect(&url).await?;
    let mut orders = backplane.subscribe("orders", Start::Latest).await?;

    // The application, with a database client and transactions of its own.
    let (mut client, driver) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(driver);
    client.batch_execute(ORDERS).await?;

    // What is rolled back is never published.
    let transaction = client.transaction().await?;
    transaction.execute(PAY, &[&41_i64]).await?;
    transaction.execute(PUBLISH, &[&41_i64]).await?;
    transaction.rollback().await?;

    let transaction = client.transaction().await?;
    transaction.execute(PAY, &[&42_i64]).await?;
    transaction.execute(PUBLISH, &[&42_i64]).await?;
    transaction.commit().await?;

    match orders.next().await {
        Some(Event::Message(entry)) => println!("{}", String::from_utf8_lossy(entry.payload())),
        other => return Err(format!("instead of the message: {other:?}").into()),
    }
    backplane.close(Duration::from_secs(5)).await?;
    Ok(())
}
