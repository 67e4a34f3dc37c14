//! Server-sent events: the response that carries what the server sends.

use std::{convert::Infallible, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, stream};

use super::{Next, Outbound};

/// The body of the response, until the connection ends. `guard` lives as long as the client listens.
pub(crate) fn body<G: AsRef<Outbound> + Send + Sync + 'static>(
    guard: Arc<G>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    // The comment makes some browsers notice that the stream is open.
    let first = stream::iter([Ok(Bytes::from_static(b":\r\n"))]);
    let rest = stream::unfold(guard, |guard| async {
        match guard.as_ref().as_ref().next().await {
            Next::Unit(unit) => Some((Ok(event(&unit)), guard)),
            Next::Finish | Next::Abort => None,
        }
    });
    stream::StreamExt::chain(first, rest)
}

/// One unit as an event: a field for each of its lines, and an empty line. Clients take a carriage return,
/// a line feed, and both together for the end of a line; what stood there is a line feed to them.
pub(crate) fn event(unit: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(unit.len() + 16);
    let mut rest = unit;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest);
        out.put_slice(b"data: ");
        out.put_slice(&rest[..end.unwrap_or(rest.len())]);
        out.put_slice(b"\r\n");
        let Some(end) = end else { break };
        rest = rest[end..]
            .strip_prefix(b"\r\n")
            .unwrap_or(&rest[end + 1..]);
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_field() {
        assert_eq!(event(b"{}\x1e{}\x1e"), "data: {}\x1e{}\x1e\r\n\r\n");
        for unit in ["a\r\nb\nc", "a\rb\nc"] {
            let event = event(unit.as_bytes());
            assert_eq!(event, "data: a\r\ndata: b\r\ndata: c\r\n\r\n");
        }
        assert_eq!(event(b"\r\r"), "data: \r\ndata: \r\ndata: \r\n\r\n");
    }
}
