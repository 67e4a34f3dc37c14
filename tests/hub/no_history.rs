//! A backplane that keeps no history, as Azure Service Bus: who comes back goes on from now.

use scaleout::{
    AnyBackend, Appended, Arrival, Backend, Backplane, Capabilities, Connector, EncodedFrame,
    Error, ErrorKind, Listener, LogName, Page, Position, Result,
    hub::{HubOptions, test::TestClient},
};
use tokio::{task::JoinSet, time::Instant};

use crate::node::{Node, memory};

/// Memory that forgets, and that hands on neither a message with `vanish` in it nor what could be read of
/// one with `garble`.
#[derive(Debug)]
struct Forgetful(AnyBackend);

impl Backend for Forgetful {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.history = false;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        self.0.probe().await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.0.append(log, frame).await
    }

    async fn read(&self, _: &LogName, _: Option<Position>, _: usize) -> Result<Page> {
        Err(Error::new(ErrorKind::Unsupported, "there is no history"))
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        Ok(spoiled(self.0.listen(log, after).await?))
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.0.close(deadline).await
    }
}

fn spoiled(mut inner: Listener) -> Listener {
    let (sender, outer) = Listener::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            match inner.next().await {
                Ok(Arrival::Frame { epoch, mut frame }) => {
                    let says = |word: &[u8]| frame.bytes.windows(word.len()).any(|w| w == word);
                    if says(b"vanish") {
                        continue;
                    }
                    if says(b"garble") {
                        frame.bytes = "?".into();
                    }
                    sender.send(Arrival::Frame { epoch, frame });
                }
                Ok(other) => drop(sender.send(other)),
                Err(error) => return sender.end(error),
            }
        }
    });
    outer.with_guard(tasks)
}

pub(crate) async fn forgetful() -> Backplane {
    let url = format!("{}&hole_timeout=100ms", memory());
    let Connector { backend, options } = scaleout::connector(&url).unwrap();
    let backend = AnyBackend::new(Forgetful(backend));
    Backplane::connect(Connector { backend, options })
        .await
        .unwrap()
}

async fn node() -> Node {
    Node::over(forgetful().await, HubOptions::new()).await
}

#[tokio::test]
async fn who_comes_without_a_cursor_has_missed_nothing_and_gets_what_follows() {
    let node = node().await;
    let client = TestClient::connect(&node.hub).await.unwrap();
    let resumed: (String, u64, bool) = client.invoke("Resume", ("room", ())).await.unwrap();
    assert_eq!((resumed.1, resumed.2), (0, true));
    let room = node.hub.context().clients().group("room");
    for text in ["one", "two"] {
        room.send("message", (text,)).await.unwrap();
        let (heard, cursor): (String, String) = client.receive("message").await.unwrap();
        assert_eq!(heard, text);
        assert_ne!(cursor, resumed.0);
    }
}

#[tokio::test]
async fn who_comes_back_is_told_that_it_may_have_missed_something() {
    let node = node().await;
    let room = node.hub.context().clients().group("room");
    let first = TestClient::connect(&node.hub).await.unwrap();
    let _: (String, u64, bool) = first.invoke("Resume", ("room", ())).await.unwrap();
    room.send("message", ("one",)).await.unwrap();
    let (_, cursor): (String, String) = first.receive("message").await.unwrap();
    drop(first);
    room.send("message", ("missed",)).await.unwrap();

    let again = TestClient::connect(&node.hub).await.unwrap();
    let resumed: (String, u64, bool) = again.invoke("Resume", ("room", cursor)).await.unwrap();
    assert_eq!((resumed.1, resumed.2), (0, false));
    room.send("message", ("two",)).await.unwrap();
    let (heard, _): (String, String) = again.receive("message").await.unwrap();
    assert_eq!(heard, "two");
}
