//! Which process this is, and whether another one of this machine still lives.

use crate::types::Time;

/// This process among those that ever ran.
pub struct Here {
    pub host: String,
    /// Never given twice: machine, its boot and its view of processes, process, instant.
    pub boot: String,
}

impl Here {
    pub fn now(now: Time) -> Here {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "here".to_string(),
            host => host.to_string(),
        };
        let boot = format!("{host}/{}/{}/{}", view(), std::process::id(), now.timestamp_micros());
        Here { host, boot }
    }

    /// Whether a process that called itself `boot` is certainly gone. Where it cannot be seen from here, its lease decides.
    pub fn is_gone(&self, boot: &str) -> bool {
        let mut parts = boot.rsplit('/').skip(1);
        let (Some(process), Some(seen_from)) = (parts.next().and_then(|process| process.parse::<u32>().ok()), parts.next()) else {
            return false;
        };
        let here = view();
        !here.is_empty()
            && seen_from == here
            && process != std::process::id()
            && !std::path::Path::new(&format!("/proc/{process}")).exists()
    }
}

/// The machine's boot and the container's own numbering of processes; empty where processes cannot be seen.
fn view() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let numbering = std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    let digits: String = numbering.chars().filter(char::is_ascii_digit).collect();
    match (boot.trim().get(..8), digits.is_empty()) {
        (Some(boot), false) => format!("{boot}-{digits}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_seen_to_be_missing_is_gone() {
        let here = Here::now("2027-03-01T10:00:00Z".parse().unwrap());
        assert!(!here.is_gone(&here.boot), "this one lives");
        if view().is_empty() {
            return;
        }
        let other = |view: &str, process: u32| format!("{}/{view}/{process}/1", here.host);
        assert!(here.is_gone(&other(&view(), 4_194_305)), "beyond the highest number of a process");
        assert!(!here.is_gone(&other("another-boot", 4_194_305)));
        assert!(!here.is_gone(&other(&view(), std::process::id())));
        assert!(!here.is_gone("nonsense"));
    }
}
