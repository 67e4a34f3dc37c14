//! [`Process`]: a child process that ends with its owner, whatever happens.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// How often a process is looked at while its end is awaited.
const LOOK: Duration = Duration::from_millis(5);
/// How much of what it wrote is shown when it fails.
const TOLD: usize = 2_000;

/// A running child process. Dropping it kills it: by its id, while nobody else can have that id,
/// because the child has not been waited for.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it writes goes to the file `log`.
    pub(super) fn spawn(mut command: Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(kill_process(pid, signal)?)
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        while !self.has_ended()? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The end of what it wrote.
    pub(super) fn told(&self) -> String {
        let written = fs::read(&self.log).unwrap_or_default();
        let from = written.len().saturating_sub(TOLD);
        String::from_utf8_lossy(&written[from..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already. A stopped process dies of this too.
        let _ = self.child.kill();
        // At once, after SIGKILL; without it a zombie would stay.
        let _ = self.child.wait();
        clock::tidy(self.child.id());
    }
}
