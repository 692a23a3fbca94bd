//! Memory, file descriptors and listening ports, read from `/proc` when they are asked for.
//! Elsewhere than on Linux there is nothing to read, and the metrics say 0.

use std::collections::BTreeSet;
use std::fs;

/// Bytes of memory that are resident.
pub fn resident_bytes() -> i64 {
    status_kib("VmRSS:").saturating_mul(1024)
}

/// Open file descriptors; reading them opens one.
pub fn open_files() -> i64 {
    fs::read_dir("/proc/self/fd")
        .map_or(0, |entries| i64::try_from(entries.count().saturating_sub(1)).unwrap_or(i64::MAX))
}

/// The TCP ports of this network namespace that are listened on. `None` where that cannot be known.
pub fn listening_ports() -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    let mut known = false;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // One of the two may be missing: a kernel without IPv6.
        let Ok(text) = fs::read_to_string(table) else { continue };
        known = true;
        ports.extend(text.lines().skip(1).filter_map(listening_port));
    }
    known.then_some(ports)
}

/// `sl local_address rem_address st …`: the address as hexadecimal `IP:PORT`, the state 0A for
/// LISTEN (proc(5), include/net/tcp_states.h).
fn listening_port(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let port = local.rsplit(':').next()?;
    (state == "0A").then(|| u16::from_str_radix(port, 16).ok()).flatten()
}

fn status_kib(field: &str) -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_open_files() {
        assert!(resident_bytes() > 100 * 1024);
        let before = open_files();
        let file = fs::File::open("/proc/self/status").unwrap();
        assert_eq!(open_files(), before + 1);
        drop(file);
    }

    #[test]
    fn a_port_is_listened_on_while_its_listener_lives() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let other = connected.local_addr().unwrap().port();
        let ports = listening_ports().unwrap();
        assert!(ports.contains(&port) && !ports.contains(&other), "{ports:?}");
        drop(listener);
        assert!(!listening_ports().unwrap().contains(&port));
    }
}
