//! Memory and file descriptors of this process, read from `/proc` when metrics are asked for.
//! Elsewhere than on Linux there is nothing to read and the metrics say 0.

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
}
