//! The chat itself: everything that an application writes.

use scaleout::{
    Backplane,
    hub::{Context, Hub, HubError},
};
use serde::Serialize;

struct Chat;

/// What a client is told when it comes to a room, for the first time or again.
#[derive(Serialize)]
struct Welcome {
    /// Where it stands: it brings this along when it comes back, or what came with a later message.
    cursor: String,
    /// Whether it has got everything that was said meanwhile.
    complete: bool,
}

/// The group of all who are in a room. The room without a name is everybody's.
fn group(room: &str) -> String {
    format!("room/{room}")
}

impl Chat {
    /// Whoever has come to the room gets `message(room, user, text, cursor)`, on every node.
    async fn say(
        &self,
        ctx: Context,
        room: String,
        user: String,
        text: String,
    ) -> Result<(), HubError> {
        let members = ctx.clients().group(group(&room));
        members.send("message", (room, user, text)).await?;
        Ok(())
    }

    /// Comes to a room. With a cursor the caller is first given what was said after it, whichever node
    /// it was on then.
    async fn join(
        &self,
        ctx: Context,
        room: String,
        cursor: Option<String>,
    ) -> Result<Welcome, HubError> {
        let resumed = ctx.resume(group(&room), cursor.as_deref()).await?;
        Ok(Welcome {
            cursor: resumed.cursor.to_string(),
            complete: resumed.complete,
        })
    }

    async fn leave(&self, ctx: Context, room: String) -> Result<(), HubError> {
        ctx.leave(group(&room)).await?;
        Ok(())
    }

    /// How many are in a room, on all nodes.
    async fn count(&self, ctx: Context, room: String) -> Result<usize, HubError> {
        Ok(ctx.hub().members(group(&room)).await?.len())
    }
}

pub(super) async fn hub(backplane: &Backplane) -> scaleout::Result<Hub> {
    Hub::builder(Chat)
        .name("chat")
        .method("Say", Chat::say)
        .method("Join", Chat::join)
        .method("Leave", Chat::leave)
        .method("Count", Chat::count)
        .build(backplane)
        .await
}
