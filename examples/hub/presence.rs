//! Who is here, on all nodes: also right after a node has died.
//!
//! `cargo run -p scaleout --features hub --example hub_presence`, and open both pages, several times.

mod page;

use std::error::Error;

use scaleout::hub::{Context, Hub, HubError};

struct Lobby;

impl Lobby {
    async fn came(&self, ctx: Context) -> Result<(), HubError> {
        ctx.join("lobby").await?;
        tell(&ctx).await
    }

    /// It is out of its groups already when this runs.
    async fn went(&self, ctx: Context) -> Result<(), HubError> {
        tell(&ctx).await
    }
}

async fn tell(ctx: &Context) -> Result<(), HubError> {
    let members = ctx.hub().members("lobby").await?;
    let lobby = ctx.clients().group("lobby");
    lobby.send("present", (members,)).await?;
    Ok(())
}

const PAGE: &str = "<script>
    const hub = new Hub('/hub');
    hub.on('present', (members) => log(members.length, 'are here:', members.map((one) => one.connectionId).join(', ')));
</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Ok(page::serve([node().await?, node().await?], PAGE).await?)
}

async fn node() -> scaleout::Result<Hub> {
    let backplane = scaleout::connect("memory:").await?;
    Hub::builder(Lobby)
        .on_connected(Lobby::came)
        .on_disconnected(Lobby::went)
        .build(&backplane)
        .await
}
