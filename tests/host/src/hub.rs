//! The hubs.

use std::{error::Error as StdError, fmt, time::Duration};

use futures_util::{Stream, TryStreamExt, stream};
use scaleout::{
    Backplane,
    hub::{Binary, Context, Hub, HubError, HubOptions, Timestamp, Upload},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

struct TestHub;

/// As .NET's is named, because clients compare the text.
#[derive(Debug)]
struct InvalidOperationException(String);

impl fmt::Display for InvalidOperationException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for InvalidOperationException {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ComplexObject {
    string: String,
    int_array: Vec<i32>,
    byte_array: Binary,
    guid: String,
    date_time: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CustomObject {
    name: String,
    value: i32,
}

type Result<T, E = HubError> = std::result::Result<T, E>;

impl TestHub {
    async fn echo(&self, value: Value) -> Result<Value> {
        Ok(value)
    }

    async fn connection_id(&self, ctx: Context) -> Result<String> {
        Ok(ctx.connection_id().to_string())
    }

    async fn num_redirects(&self, ctx: Context) -> Result<u32> {
        let query = ctx.uri().query().unwrap_or_default();
        let number = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("numRedirects="));
        Ok(number.unwrap_or("0").parse()?)
    }

    async fn throw_exception(&self, message: String) -> Result<()> {
        Err(InvalidOperationException(message).into())
    }

    async fn invoke_with_string(&self, ctx: Context, message: String) -> Result<()> {
        ctx.caller().send("Message", (message,)).await?;
        Ok(())
    }

    async fn send_custom_object(&self, ctx: Context, object: CustomObject) -> Result<()> {
        ctx.caller().send("CustomObject", (object,)).await?;
        Ok(())
    }

    async fn stream(&self) -> Result<impl Stream<Item = Result<&'static str>> + use<>> {
        Ok(stream::iter(["a", "b", "c"].map(Ok)))
    }

    async fn empty_stream(&self) -> Result<impl Stream<Item = Result<i32>> + use<>> {
        Ok(stream::empty())
    }

    async fn infinite_stream(
        &self,
        ctx: Context,
    ) -> Result<impl Stream<Item = Result<i32>> + use<>> {
        let told = TellOfCancel(ctx);
        Ok(stream::unfold((told, 0), async |(told, number)| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok(number), (told, number + 1)))
        }))
    }

    async fn stream_throw_exception(&self, message: String) -> Result<stream::Empty<Result<i32>>> {
        Err(InvalidOperationException(message).into())
    }

    async fn streaming_concat(&self, texts: Upload<String>) -> Result<String> {
        texts.try_collect().await
    }

    async fn active_transport_name(&self, ctx: Context) -> Result<&'static str> {
        Ok(ctx.transport().name())
    }

    async fn echo_complex_object(&self, object: ComplexObject) -> Result<ComplexObject> {
        Ok(object)
    }

    async fn send_complex_object(&self, ctx: Context) -> Result<()> {
        let object = ComplexObject {
            string: "hello world".into(),
            int_array: vec![1, 2, 3],
            byte_array: Binary::from(&[1, 2, 3][..]),
            guid: "00000000-0000-0000-0000-000000000000".into(),
            // 2000-01-01.
            date_time: (std::time::UNIX_EPOCH + Duration::from_secs(946_684_800)).into(),
        };
        ctx.caller().send("ComplexObject", (object,)).await?;
        Ok(())
    }

    async fn header(&self, ctx: Context, name: String) -> Result<Option<String>> {
        let value = ctx
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        Ok(value.map(str::to_owned))
    }

    async fn cookie(&self, ctx: Context, name: String) -> Result<Option<String>> {
        let cookies = ctx.headers().get_all("cookie").iter();
        let mut pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        Ok(pairs
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1.to_owned()))
    }
}

/// Tells the caller when its stream is dropped.
struct TellOfCancel(Context);

impl Drop for TellOfCancel {
    fn drop(&mut self) {
        let caller = self.0.caller();
        tokio::spawn(async move { caller.send("StreamCanceled", ()).await });
    }
}

pub(crate) struct Authorized;

impl Authorized {
    pub(crate) async fn echo(&self, value: Value) -> Result<Value> {
        Ok(value)
    }
}

pub(crate) async fn test_hub(
    name: &str,
    options: HubOptions,
    backplane: &Backplane,
) -> scaleout::Result<Hub> {
    Hub::builder(TestHub)
        .name(name)
        .options(options)
        .method("Echo", TestHub::echo)
        .method("GetCallerConnectionId", TestHub::connection_id)
        .method("GetNumRedirects", TestHub::num_redirects)
        .method("ThrowException", TestHub::throw_exception)
        .method("InvokeWithString", TestHub::invoke_with_string)
        .method("SendCustomObject", TestHub::send_custom_object)
        .stream("Stream", TestHub::stream)
        .stream("EmptyStream", TestHub::empty_stream)
        .stream("InfiniteStream", TestHub::infinite_stream)
        .stream("StreamThrowException", TestHub::stream_throw_exception)
        .method("StreamingConcat", TestHub::streaming_concat)
        .method("GetActiveTransportName", TestHub::active_transport_name)
        .method("EchoComplexObject", TestHub::echo_complex_object)
        .method("SendComplexObject", TestHub::send_complex_object)
        .method("GetHeader", TestHub::header)
        .method("GetCookie", TestHub::cookie)
        .build(backplane)
        .await
}
