//! [`Clock`]: what the clock of a process shows.

use std::time::{Duration, SystemTime};

use crate::{Failure, failure::ensure};

/// How far a clock that is asked may be from what it should show: the machine is slow, and some tell
/// whole seconds.
const ROOM: Duration = Duration::from_secs(60);

/// What the clock of a process shows, beside this machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The same.
    #[default]
    Right,
    /// So much more.
    Ahead(Duration),
    /// So much less.
    Behind(Duration),
}

impl Clock {
    /// That the process really has this clock, which shows `time` now.
    ///
    /// # Errors
    ///
    /// If it has another.
    pub fn shows(self, time: SystemTime) -> Result<(), Failure> {
        let now = SystemTime::now();
        let right = match self {
            Self::Right => now,
            Self::Ahead(by) => now + by,
            Self::Behind(by) => now - by,
        };
        let apart = time
            .duration_since(right)
            .unwrap_or_else(|error| error.duration());
        ensure!(apart < ROOM, "a clock that is {self:?} is off by {apart:?}");
        Ok(())
    }
}

#[cfg(all(unix, feature = "processes"))]
pub(crate) use processes::{give, is_offered, tidy};

/// `libfaketime` is loaded into the process, and stands between it and the system's clock.
#[cfg(all(unix, feature = "processes"))]
mod processes {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use super::Clock;

    /// The build for programs with threads.
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
    /// The C library's allocator, in front of another one: jemalloc, which Redis has, asks for the time
    /// before the library can answer, and they wait for each other for ever.
    const ALLOCATOR: &str = "libc_malloc_debug.so.0";
    /// Where distributions put libraries, and directories of an architecture among them.
    const PLACES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];

    /// Whether a process can be given another clock here.
    pub(crate) fn is_offered() -> bool {
        library().is_some()
    }

    /// Has the process that the command starts, and those that it starts, see this clock. Where none
    /// can be given they see the right one, so whoever counts on it looks.
    pub(crate) fn give(command: &mut Command, clock: Clock) {
        let (sign, by) = match clock {
            Clock::Right => return,
            Clock::Ahead(by) => ('+', by),
            Clock::Behind(by) => ('-', by),
        };
        let Some(library) = library() else {
            return;
        };
        command
            .env("LD_PRELOAD", format!("{ALLOCATOR}:{}", library.display()))
            .env("FAKETIME", format!("{sign}{}", by.as_secs()))
            // Timeouts go by it, and it never goes back.
            .env("DONT_FAKE_MONOTONIC", "1")
            // Files keep the times that they have.
            .env("NO_FAKE_STAT", "1");
    }

    /// Removes the shared memory that a process with another clock leaves when it is killed.
    pub(crate) fn tidy(process: u32) {
        for name in ["faketime_shm", "sem.faketime_sem"] {
            // Fails where there is none.
            let _ = fs::remove_file(format!("/dev/shm/{name}_{process}"));
        }
    }

    fn library() -> Option<PathBuf> {
        let in_place = |place: &Path| {
            let path = place.join(LIBRARY);
            path.is_file().then_some(path)
        };
        let within = |place: &Path| {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).find_map(|p| in_place(&p))
        };
        let places = PLACES.map(Path::new);
        let found = places.iter().find_map(|place| in_place(place));
        found.or_else(|| places.iter().find_map(|place| within(place)))
    }
}
