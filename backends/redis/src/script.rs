//! Scripts: by their hash, and whole where the server does not know the hash.

use std::sync::LazyLock;

use redis::{RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

/// A script, and its name by which the server caches it.
pub(crate) struct Script {
    source: &'static str,
    hash: String,
}

pub(crate) static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/life.lua"),
        include_str!("lua/append.lua")
    ))
});
pub(crate) static QUICK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/quick.lua")));
pub(crate) static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/life.lua"),
        include_str!("lua/look.lua")
    ))
});

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }

    /// Runs the script with what `arguments` adds: number of keys, keys, values.
    ///
    /// The server answers that it does not know a script before it runs anything, so that sending the
    /// script whole is not a second attempt.
    pub(crate) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        arguments: impl Fn(&mut redis::Cmd),
    ) -> RedisResult<Value> {
        let answer = connection
            .send_packed_command(&self.by_hash(&arguments))
            .await?;
        if is_unknown_script(&answer) {
            let mut whole = redis::cmd("EVAL");
            whole.arg(self.source);
            arguments(&mut whole);
            return connection.send_packed_command(&whole).await;
        }
        Ok(answer)
    }

    /// The command that runs the script if the server knows it.
    fn by_hash(&self, arguments: impl Fn(&mut redis::Cmd)) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash);
        arguments(&mut command);
        command
    }
}

/// Whether the server did not run the script because it does not know it.
fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
