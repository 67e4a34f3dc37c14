//! [`Call`]: one call of a hub method by a test client, and [`Items`], the stream that it may give.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use super::{Line, TestError, line::Answer};
use crate::hub::{
    clients::{self, Arguments},
    protocol::{EncodeError, Outcome, Protocol, Value},
};

/// A call on its way: [`TestClient::call`](super::TestClient::call).
#[must_use = "a call is made by `invoke`, `send` or `stream`"]
pub struct Call<'a> {
    line: &'a Arc<Line>,
    method: String,
    arguments: Result<Value, EncodeError>,
    uploads: Vec<Upload>,
}

type Upload = Pin<Box<dyn Stream<Item = Result<Value, EncodeError>> + Send>>;

impl<'a> Call<'a> {
    pub(super) fn new(line: &'a Arc<Line>, method: String, arguments: &impl Arguments) -> Self {
        Self {
            arguments: clients::encode(arguments, line.protocol),
            line,
            method,
            uploads: Vec::new(),
        }
    }

    /// Sends a stream as the method's next [`Upload`](crate::hub::Upload), as fast as the hub reads it.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::{TryStreamExt, stream};
    /// use scaleout::hub::{Hub, HubError, Upload, test::TestClient};
    ///
    /// async fn sum(_: &(), numbers: Upload<u32>) -> Result<u32, HubError> {
    ///     numbers.try_fold(0, async |sum, number| Ok(sum + number)).await
    /// }
    ///
    /// # let backplane = scaleout::connect("memory:").await?;
    /// let hub = Hub::builder(()).name("Sums").method("Sum", sum).build(&backplane).await?;
    /// let client = TestClient::connect(&hub).await?;
    /// let sum: u32 = client.call("Sum", ()).upload(stream::iter([1, 2, 3])).invoke().await?;
    /// assert_eq!(sum, 6);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// ```
    pub fn upload<T: Serialize + 'static>(
        mut self,
        items: impl Stream<Item = T> + Send + 'static,
    ) -> Self {
        let protocol = self.line.protocol;
        self.uploads
            .push(Box::pin(items.map(move |item| protocol.value(&item))));
        self
    }

    /// Waits for the result: [`TestClient::invoke`](super::TestClient::invoke).
    ///
    /// # Errors
    ///
    /// As [`TestClient::invoke`](super::TestClient::invoke).
    ///
    /// # Cancellation
    ///
    /// As [`TestClient::invoke`](super::TestClient::invoke).
    pub async fn invoke<R: DeserializeOwned>(self) -> Result<R, TestError> {
        let (line, method) = (self.line.clone(), self.method.clone());
        let (id, mut answers) = line.expect()?;
        let call = Forget { line: &line, id };
        self.start(false, Some(&call.id)).await?;
        let what = format!("the result of {method:?}");
        loop {
            return match line.within(&what, answers.recv()).await? {
                Some(Answer::Item(_)) => continue,
                Some(Answer::End(Outcome::Value(value))) => bind(&value),
                Some(Answer::End(Outcome::Error(error))) => Err(TestError::Hub(error)),
                Some(Answer::End(Outcome::Nothing)) => {
                    Err(TestError::Unreadable("there is no result".to_owned()))
                }
                None => Err(line.is_over()),
            };
        }
    }

    /// Asks for no answer: [`TestClient::send`](super::TestClient::send).
    ///
    /// # Errors
    ///
    /// As [`TestClient::send`](super::TestClient::send).
    ///
    /// # Cancellation
    ///
    /// As [`TestClient::send`](super::TestClient::send).
    pub async fn send(self) -> Result<(), TestError> {
        self.start(false, None).await
    }

    /// Begins to stream: [`TestClient::stream`](super::TestClient::stream).
    ///
    /// # Errors
    ///
    /// As [`TestClient::stream`](super::TestClient::stream).
    ///
    /// # Cancellation
    ///
    /// As [`TestClient::stream`](super::TestClient::stream).
    pub async fn stream<T: DeserializeOwned>(self) -> Result<Items<T>, TestError> {
        let line = self.line.clone();
        let (id, answers) = line.expect()?;
        let items = Items {
            line,
            id,
            answers: Some(answers),
            waiting: None,
            items: PhantomData,
        };
        self.start(true, Some(&items.id)).await?;
        Ok(items)
    }

    async fn start(self, streaming: bool, id: Option<&str>) -> Result<(), TestError> {
        let line = self.line;
        let arguments = self.arguments.map_err(TestError::Unwritable)?;
        let streams: Vec<_> = self.uploads.iter().map(|_| line.stream_id()).collect();
        let call = line
            .protocol
            .call(streaming, id, &self.method, arguments.as_bytes(), &streams);
        line.write(call).await?;
        for (id, upload) in streams.into_iter().zip(self.uploads) {
            line.spawn(send(line.clone(), id, upload));
        }
        Ok(())
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Sends a stream to its end, or to that of the connection.
async fn send(line: Arc<Line>, id: String, mut items: Upload) {
    let protocol: Protocol = line.protocol;
    let end = loop {
        match items.next().await {
            Some(Ok(item)) => {
                if line.write(protocol.stream_item(&id, &item)).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => break Outcome::Error(error.to_string()),
            None => break Outcome::Nothing,
        }
    };
    let _ = line.write(protocol.completion(&id, &end)).await;
}

/// The items of a streaming method: a [`Stream`] that ends with the method's, and with an error if that
/// or the connection did. Dropping it cancels the method.
pub struct Items<T> {
    line: Arc<Line>,
    id: String,
    /// `None` once it has ended.
    answers: Option<mpsc::UnboundedReceiver<Answer>>,
    /// Since the last item.
    waiting: Option<Pin<Box<Sleep>>>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stream for Items<T> {
    type Item = Result<T, TestError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answers) = &mut self.answers else {
            return Poll::Ready(None);
        };
        let end = match answers.poll_recv(cx) {
            Poll::Ready(Some(Answer::Item(value))) => {
                self.waiting = None;
                return Poll::Ready(Some(bind(&value)));
            }
            Poll::Ready(Some(Answer::End(Outcome::Error(error)))) => {
                Some(Err(TestError::Hub(error)))
            }
            Poll::Ready(Some(Answer::End(Outcome::Nothing | Outcome::Value(_)))) => None,
            Poll::Ready(None) => Some(Err(self.line.is_over())),
            Poll::Pending => {
                let deadline = Instant::now() + self.line.patience();
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
                return Poll::Ready(Some(Err(self.line.timed_out("the next item"))));
            }
        };
        self.answers = None;
        Poll::Ready(end)
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if self.line.forget(&self.id) {
            self.line.tell(self.line.protocol.cancel(&self.id));
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// Nobody waits for the call's answer any more.
struct Forget<'a> {
    line: &'a Line,
    id: String,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.line.forget(&self.id);
    }
}

fn bind<T: DeserializeOwned>(value: &Value) -> Result<T, TestError> {
    value.bind().map_err(TestError::Unreadable)
}
