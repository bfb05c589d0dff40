//! Which program listens on a port: by the tables that Linux shows in `/proc` (proc(5), proc_pid_fd(5)). Elsewhere, and
//! for processes of others, whose files only root may look at, nobody knows.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A program that runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its name, as `ps` shows it.
    pub(crate) name: String,
    pub(crate) pid: u32,
}

/// The state of a socket that listens, in the kernel's table.
const LISTEN: &str = "0A";

/// Who keeps others from listening on `address`: by listening there, or on all addresses.
pub(crate) fn find(address: SocketAddr) -> Option<Owner> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let tables: Vec<String> = tables.into_iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let inodes: Vec<String> =
        lines.filter_map(|line| listening(line, address)).map(|inode| format!("socket:[{inode}]")).collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_open(*pid, &inodes)).find_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Owner { name: name.trim_end().to_owned(), pid })
    })
}

/// The inode of the socket in a line of the table, if it listens where `wanted` is.
fn listening(line: &str, wanted: SocketAddr) -> Option<&str> {
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    let (ip, port) = local.split_once(':')?;
    let ip = read_ip(ip)?;
    let same_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
    (state == LISTEN && same_port && (ip == wanted.ip() || ip.is_unspecified())).then_some(inode)
}

/// An address as the kernel prints it: words of 32 bits, each in the byte order of the machine.
fn read_ip(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

/// Whether a process has one of these sockets open.
fn has_open(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_one_who_listens_is_found_there_and_on_all_addresses() {
        let name = fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned();
        let us = Some(Owner { name, pid: std::process::id() });
        for (bound, asked) in [
            ("127.0.0.1", IpAddr::from(Ipv4Addr::LOCALHOST)),
            ("0.0.0.0", Ipv4Addr::LOCALHOST.into()),
            ("[::1]", Ipv6Addr::LOCALHOST.into()),
            ("[::]", Ipv6Addr::LOCALHOST.into()),
        ] {
            let listener = TcpListener::bind(format!("{bound}:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(find(SocketAddr::new(asked, port)), us, "{bound}");
        }
    }

    #[test]
    fn who_listens_elsewhere_is_not_in_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = SocketAddr::from(([127, 0, 0, 77], port));
        assert_eq!(find(elsewhere), None);
        drop(listener);
    }
}
