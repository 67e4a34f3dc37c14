//! The chat itself: everything that an application writes.

use scaleout::{
    Backplane,
    hub::{Context, Hub, HubError},
};

struct Chat;

impl Chat {
    /// Everybody, on every node, gets `broadcastMessage(user, text)`.
    async fn send(&self, ctx: Context, user: String, text: String) -> Result<(), HubError> {
        let everybody = ctx.clients().all();
        everybody.send("broadcastMessage", (user, text)).await?;
        Ok(())
    }

    async fn join(&self, ctx: Context, room: String) -> Result<(), HubError> {
        ctx.join(room).await?;
        Ok(())
    }

    async fn leave(&self, ctx: Context, room: String) -> Result<(), HubError> {
        ctx.leave(room).await?;
        Ok(())
    }

    /// Who has joined the room gets `roomMessage(room, user, text)`.
    async fn send_to_room(
        &self,
        ctx: Context,
        room: String,
        user: String,
        text: String,
    ) -> Result<(), HubError> {
        let members = ctx.clients().group(room.as_str());
        members.send("roomMessage", (room, user, text)).await?;
        Ok(())
    }
}

pub(super) async fn hub(backplane: &Backplane) -> scaleout::Result<Hub> {
    Hub::builder(Chat)
        .name("chat")
        .method("Send", Chat::send)
        .method("Join", Chat::join)
        .method("Leave", Chat::leave)
        .method("SendToRoom", Chat::send_to_room)
        .build(backplane)
        .await
}
