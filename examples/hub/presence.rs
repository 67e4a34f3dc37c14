//! Who is here, on all nodes: also right after a node has died.
//!
//! `cargo run -p scaleout --features hub --example hub_presence`, and open both pages, several times.
//!
//! With a broker the nodes can be processes of their own, one for each port, and be killed:
//! `cargo run -p scaleout --features hub,redis --example hub_presence -- redis://127.0.0.1/ 5001`

mod page;

use std::{error::Error, time::Duration};

use scaleout::hub::{Context, Hub, HubContext, HubError, HubOptions, Member};

struct Lobby;

impl Lobby {
    async fn came(&self, ctx: Context) -> Result<(), HubError> {
        ctx.join("lobby").await?;
        tell(&ctx.hub()).await?;
        Ok(())
    }

    /// It is out of its groups already when this runs.
    async fn went(&self, ctx: Context) -> Result<(), HubError> {
        tell(&ctx.hub()).await?;
        Ok(())
    }
}

async fn tell(hub: &HubContext) -> scaleout::Result<Vec<Member>> {
    let members = hub.members("lobby").await?;
    let lobby = hub.clients().group("lobby");
    lobby.send("present", (&members,)).await?;
    Ok(members)
}

/// A node that dies says goodbye for none of its clients, so the others look from time to time.
async fn watch(hub: HubContext) -> scaleout::Result<()> {
    let mut known = Vec::new();
    loop {
        if hub.members("lobby").await? != known {
            known = tell(&hub).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

const PAGE: &str = "<p>Here: <output id=count>nobody</output><script>
    const hub = new Hub('/hub');
    hub.on('present', (members) => {
        document.getElementById('count').value = members.length;
        log(members.length, 'are here:', members.map((one) => one.connectionId).join(', '));
    });
</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("memory:".to_owned());
    match arguments.next() {
        Some(port) => page::serve_from(port.parse()?, [node(&url).await?], PAGE).await?,
        None => page::serve([node(&url).await?, node(&url).await?], PAGE).await?,
    }
    Ok(())
}

async fn node(url: &str) -> scaleout::Result<Hub> {
    let backplane = scaleout::connect(url).await?;
    // So that a node that was killed soon counts as dead.
    let options = HubOptions::new()
        .with_node_heartbeat_interval(Duration::from_secs(1))
        .with_node_timeout(Duration::from_secs(3));
    let hub = Hub::builder(Lobby)
        .options(options)
        .on_connected(Lobby::came)
        .on_disconnected(Lobby::went)
        .build(&backplane)
        .await?;
    tokio::spawn(watch(hub.context()));
    Ok(hub)
}
