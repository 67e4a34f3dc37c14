//! Who may do what: tokens, users with several connections, and a method for some of them.
//!
//! `cargo run -p scaleout --features hub --example hub_auth`
//!
//! The tokens here are names and prove nothing. A real server verifies a signature.

#![expect(clippy::unused_async, reason = "hub methods are async")]

mod page;

use std::error::Error;

use scaleout::hub::{AuthError, Context, Credentials, Hub, HubError, User};

struct Office;

impl Office {
    async fn who_am_i(&self, ctx: Context) -> Result<String, HubError> {
        Ok(ctx.user().id().unwrap_or_default().to_owned())
    }

    /// Reaches all connections of the user, on all nodes.
    async fn tell(&self, ctx: Context, user: String, text: String) -> Result<(), HubError> {
        let from = ctx.user().id();
        ctx.clients().user(user).send("told", (from, text)).await?;
        Ok(())
    }

    async fn close_the_office(&self, ctx: Context) -> Result<(), HubError> {
        ctx.clients()
            .all()
            .send("told", ("the boss", "go home"))
            .await?;
        Ok(())
    }
}

async fn authenticate(credentials: Credentials) -> Result<User, AuthError> {
    match credentials.token.as_deref() {
        Some("boss") => Ok(User::new("boss").with_claim("role", "boss")),
        Some(name @ ("ada" | "bob")) => Ok(User::new(name)),
        Some(_) => Err(AuthError::Forbidden),
        None => Err(AuthError::Unauthenticated),
    }
}

const PAGE: &str = "<script>
    const name = prompt('Who are you: ada, bob or boss?', 'ada');
    const hub = new Hub('/hub', name);
    hub.on('told', (from, text) => log(`${from}: ${text}`));
    hub.ready.then(async () => {
        log('You are', await hub.invoke('WhoAmI'));
        await hub.invoke('Tell', 'ada', `${name} says hello`);
        await hub.invoke('CloseTheOffice').catch((error) => log(error.message));
    }, () => log('You are not allowed here.'));
</script>";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backplane = scaleout::connect("memory:").await?;
    let hub = Hub::builder(Office)
        .authenticate(authenticate)
        .method("WhoAmI", Office::who_am_i)
        .method("Tell", Office::tell)
        .method("CloseTheOffice", Office::close_the_office)
        .authorize("CloseTheOffice", |ctx| ctx.user().has_role("boss"))
        .build(&backplane)
        .await?;
    Ok(page::serve([hub], PAGE).await?)
}
