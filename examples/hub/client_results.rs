//! The server asks: a move is made only if the other player agrees, on whatever node that one is.
//!
//! `cargo run -p scaleout --features hub --example hub_client_results`, and open both pages.

mod page;

use std::error::Error;

use scaleout::hub::{Context, Hub, HubError};

struct Game;

impl Game {
    async fn came(&self, ctx: Context) -> Result<(), HubError> {
        Ok(ctx.join("players").await?)
    }

    /// While this waits, the caller's next invocation can begin.
    async fn propose(&self, ctx: Context, what: String) -> Result<String, HubError> {
        let players = ctx.hub().members("players").await?;
        let me = ctx.connection_id();
        let other = players.into_iter().find(|one| one.connection_id != *me);
        let other = other.ok_or_else(|| HubError::new("nobody else is here"))?;
        let client = ctx.clients().client(other.connection_id);
        // One that leaves, or whose node dies, is an error in bounded time.
        let agrees: bool = client.invoke("agree", (&what,)).await?;
        Ok(format!("{what}: {}", if agrees { "yes" } else { "no" }))
    }
}

const PAGE: &str = "<input id=what value='Queen to e4'> <button id=ask>Propose</button><p><script>
    const hub = new Hub('/hub');
    hub.on('agree', (what) => confirm(`Do you agree to ${what}?`));
    ask.onclick = () => hub.invoke('Propose', what.value).then(log, (error) => log(error.message));
</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Ok(page::serve([node().await?, node().await?], PAGE).await?)
}

async fn node() -> scaleout::Result<Hub> {
    let backplane = scaleout::connect("memory:").await?;
    Hub::builder(Game)
        .on_connected(Game::came)
        .method("Propose", Game::propose)
        .build(&backplane)
        .await
}
