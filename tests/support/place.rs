//! Where a part lives: a temporary directory and a port that no other test can take.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "tollgate-test-";

/// A directory that goes with the value. It lies in the system's temporary directory and not
/// under `target/`, because PostgreSQL's unprivileged user must be able to reach it.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{count}", std::process::id()));
        fs::create_dir(&path).expect("a new temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it, with the directories above.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, text).expect("a written file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that cannot be removed is left to the next run's sweep.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what test processes that were killed have left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A loopback port that is this test's alone until the value is dropped, whether something
/// listens on it or not: a killed server can come back on it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reserved: File,
}

impl Port {
    /// Takes a port below the range from which the kernel serves outgoing connections, and locks
    /// a file for it; the lock goes with the process, however that ends.
    pub(crate) fn reserve() -> Self {
        let dir = std::env::temp_dir().join(format!("tollgate-ports-{}", user_id()));
        fs::create_dir_all(&dir).expect("a directory for port reservations");
        let first = 12_000_u32;
        let count = 18_000_u32;
        let offset = std::process::id().wrapping_mul(37) % count;
        for step in 0..count {
            let number = u16::try_from(first + (offset + step) % count).expect("a port");
            let file = File::create(dir.join(number.to_string())).expect("a reservation file");
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _reserved: file };
            }
        }
        panic!("no free loopback port between {first} and {}", first + count);
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// The user this process runs as.
pub(crate) fn user_id() -> u32 {
    fs::metadata("/proc/self").expect("/proc").uid()
}
