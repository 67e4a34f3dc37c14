//! Publishing from SQL.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use scaleout_core::{Backend, Backplane, Event, Frame, Message, Start};

use crate::support::{Cluster, append, arrival, log};

#[tokio::test]
async fn sql_builds_the_frame_that_the_library_builds() {
    let cluster = Cluster::start().await;
    cluster.backend().probe().await.unwrap();
    let client = cluster.client().await;
    let call = "SELECT scaleout.frame_of($1, 513, 1700000000123, $2, $3::text::jsonb)";
    for payload in [0, 1, 127, 128, 16_383, 16_384, 300_000].map(|size| vec![b'x'; size]) {
        let headers = r#"{"a": "1", "content-type": "text/plain; é", "empty": ""}"#;
        let row = client
            .query_one(call, &[&vec![7_u8; 16], &payload, &headers])
            .await
            .unwrap();
        let bytes: Vec<u8> = row.get(0);
        let frame = Frame::decode(Bytes::from(bytes)).unwrap();
        assert_eq!(frame.counter(), 513);
        assert_eq!(frame.publisher().as_bytes(), &[7; 16]);
        assert_eq!(frame.published_at_millis(), 1_700_000_000_123);
        let wanted = Message::new(payload)
            .with_header("a", "1")
            .with_header("content-type", "text/plain; é")
            .with_header("empty", "");
        let [message] = frame.messages() else {
            panic!("{frame:?}");
        };
        assert_eq!(message.payload(), wanted.payload());
        let mut headers: Vec<_> = message.headers().collect();
        headers.sort_unstable();
        assert_eq!(headers, wanted.headers().collect::<Vec<_>>());
    }
    // Byte for byte, as the documentation of the encoding has it.
    let row = client
        .query_one(
            "SELECT encode(scaleout.frame_of($1, 2, 3, 'hi', '{}'), 'hex')",
            &[&vec![1_u8; 16]],
        )
        .await
        .unwrap();
    let golden = format!(
        "0100{}{}{}0100026869",
        "01".repeat(16),
        "0200000000000000",
        "0300000000000000"
    );
    assert_eq!(row.get::<_, String>(0), golden);
}

#[tokio::test]
async fn a_message_is_published_exactly_if_the_transaction_commits() {
    let cluster = Cluster::start().await;
    let connector = scaleout_postgres::connector(&cluster.url()).unwrap();
    let node = Backplane::connect(connector).await.unwrap();
    let mut orders = node.subscribe("orders", Start::Latest).await.unwrap();
    let mut client = cluster.client().await;
    client
        .batch_execute("CREATE TEMPORARY TABLE orders (id bigint)")
        .await
        .unwrap();
    for (id, commit) in [(1_i64, false), (2, true), (3, false), (4, true)] {
        let transaction = client.transaction().await.unwrap();
        let insert = "INSERT INTO orders VALUES ($1)";
        transaction.execute(insert, &[&id]).await.unwrap();
        let publish = "SELECT scaleout.publish('orders', $1::bigint::text)";
        transaction.execute(publish, &[&id]).await.unwrap();
        match commit {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
    }
    // From a trigger, by a user of the table who knows nothing of it.
    client
        .batch_execute(
            "CREATE FUNCTION pg_temp.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM scaleout.publish('orders', NEW.id::text); RETURN NULL; END $$;
             CREATE TRIGGER tell AFTER INSERT ON orders
             FOR EACH ROW EXECUTE FUNCTION pg_temp.tell();
             INSERT INTO orders VALUES (5), (6)",
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    for sequence in 1..=4 {
        match orders.next().await {
            Some(Event::Message(entry)) => {
                assert_eq!(entry.sequence().get(), sequence);
                seen.push(String::from_utf8(entry.payload().to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["2", "4", "5", "6"]);
    node.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_transaction_held_open_delays_its_log_and_no_other_and_hides_nothing() {
    let cluster = Cluster::start().await;
    let (backend, other) = (cluster.backend(), cluster.backend());
    let mut listener = other.listen(&log("held"), None).await.unwrap();
    append(&backend, &log("held"), "before").await;
    let mut client = cluster.client().await;
    let transaction = client.transaction().await.unwrap();
    let publish = "SELECT scaleout.publish('held', 'of the transaction')";
    transaction.execute(publish, &[]).await.unwrap();

    // Number 2 is taken and not visible; number 3 must not become visible before it.
    let waiting = {
        let backend = backend.clone();
        tokio::spawn(async move { append(&backend, &log("held"), "after").await })
    };
    for _ in 0..50 {
        append(&backend, &log("free"), "x").await;
        let page = other.read(&log("held"), None, 10).await.unwrap();
        assert_eq!((page.head.get(), page.frames.len()), (1, 1));
    }
    // In one transaction with others, it delays them by a moment and not until its own end.
    let others: Vec<_> = (0..100)
        .map(|number| log(&format!("free/{number}")))
        .collect();
    join_all(others.iter().map(|log| append(&backend, log, "x"))).await;
    assert!(!waiting.is_finished());
    transaction.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().1, 3);
    for sequence in 1..=3 {
        assert_eq!(arrival(&mut listener).await.first.get(), sequence);
    }
}

#[tokio::test]
async fn what_cannot_be_a_message_is_refused_in_sql_too() {
    let cluster = Cluster::start().await;
    cluster.backend().probe().await.unwrap();
    let client = cluster.client().await;
    for bad in [
        "'', 'x'",
        "repeat('é', 128), 'x'",
        "NULL, 'x'",
        "'t', NULL::text",
        "'t', 'x', 'name space'",
        "'t', 'x', 'ok', '[]'",
    ] {
        let call = format!("SELECT scaleout.publish({bad})");
        let error = client.execute(&call, &[]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "22023", "{bad}: {error}");
    }
}
