//! The files by which a container knows names: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of its
//! own, which the host keeps in the container's folder.
//!
//! There is no name server. The end of `/etc/hosts` lists the containers of the same networks, and is
//! written anew when one of them comes or goes; what is above it is the container's own to change.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::lease::Lease;
use super::{ContainerId, LauncherError, NetworkOptions, Tried};
use crate::launcher::state;

/// What the files are called, in the container's folder and in its `/etc`.
const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";
const RESOLVER: &str = "resolv.conf";

/// Where what follows is written anew.
const MARK: &str = "# shrike: containers of the same networks\n";

/// Where a host has its name servers, and where it has them if that names its own resolver.
const HOST_RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Writes the files into the container's folder, and returns where each is and where the container has it.
pub(super) fn write(
    folder: &Path,
    hostname: &str,
    leases: &[Lease],
    options: &NetworkOptions,
) -> Result<Vec<(PathBuf, PathBuf)>, LauncherError> {
    let id = leases.first().map(|lease| &lease.container);
    let [first, second] = HOST_RESOLVERS.map(|path| fs::read_to_string(path).unwrap_or_default());
    let files = [
        (HOSTS, hosts(hostname, id, leases, options)),
        (HOSTNAME, format!("{hostname}\n")),
        (RESOLVER, resolver(&options.nameservers, &first, &second)),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
            .tried(|| format!("write {}", path.display()))?;
        written.push((path, Path::new("/etc").join(name)));
    }
    Ok(written)
}

/// Tells a container whose names have which address.
pub(super) fn update(container: &ContainerId, leases: &[Lease]) -> Result<(), LauncherError> {
    let path = state::folder(container).join(HOSTS);
    match rewrite(&path, &neighbours(container, leases)) {
        // It is only about to start, or just ends.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.tried(|| format!("write {}", path.display())),
    }
}

/// Writes what is behind the mark. The file stays the same one, because it is mounted.
fn rewrite(path: &Path, text: &str) -> io::Result<()> {
    /// The container may write it as well.
    const LARGEST: u64 = 1 << 20;
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let mut before = Vec::new();
    (&file).take(LARGEST).read_to_end(&mut before)?;
    let new = [above(&before), MARK.as_bytes(), text.as_bytes()].concat();
    if new == before {
        return Ok(());
    }
    file.rewind()?;
    file.write_all(&new)?;
    file.set_len(u64::try_from(new.len()).map_err(io::Error::other)?)
}

/// What is in front of the mark.
fn above(text: &[u8]) -> &[u8] {
    let mark = MARK.as_bytes();
    let at = text.windows(mark.len()).position(|part| part == mark);
    at.and_then(|at| text.get(..at)).unwrap_or(text)
}

fn hosts(
    hostname: &str,
    id: Option<&ContainerId>,
    leases: &[Lease],
    options: &NetworkOptions,
) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for lease in leases {
        text += &line(lease.address.into(), hostname, id);
    }
    for entry in &options.hosts {
        text += &line(entry.address, &entry.name, None);
    }
    text + MARK
}

/// A line for each container that shares a network with this one.
fn neighbours(container: &ContainerId, leases: &[Lease]) -> String {
    let own = leases.iter().filter(|lease| lease.container == *container);
    let others = own.flat_map(|own| {
        let of_network = leases.iter().filter(|other| other.network == own.network);
        of_network.filter(|other| other.container != *container)
    });
    others
        .map(|other| line(other.address.into(), &other.hostname, Some(&other.container)))
        .collect()
}

fn line(address: IpAddr, hostname: &str, id: Option<&ContainerId>) -> String {
    match id.map(ContainerId::as_str).filter(|id| *id != hostname) {
        Some(id) => format!("{address}\t{hostname} {id}\n"),
        None => format!("{address}\t{hostname}\n"),
    }
}

/// The name servers that are asked for, or those of the host that a container can reach: no loopback device
/// is another's, and networks have no IPv6.
fn resolver(asked: &[IpAddr], first: &str, second: &str) -> String {
    let nameserver = |line: &str| -> Option<IpAddr> {
        let address = line.trim().strip_prefix("nameserver")?.trim();
        // A zone is behind a percent sign, and makes it one that cannot be reached.
        Some(address.parse().unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)))
    };
    let is_reached = |address: IpAddr| address.is_ipv4() && !address.is_loopback();
    let has_any = |text: &str| text.lines().filter_map(nameserver).any(is_reached);
    let text = if has_any(first) || second.is_empty() { first } else { second };
    let mut lines: Vec<String> =
        asked.iter().map(|address| format!("nameserver {address}")).collect();
    for line in text.lines() {
        let is_kept = match nameserver(line) {
            Some(address) => asked.is_empty() && is_reached(address),
            None => !line.trim_start().starts_with(['#', ';']) && !line.trim().is_empty(),
        };
        if is_kept {
            lines.push(line.to_owned());
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_knows_those_of_its_networks() {
        let leases = [
            Lease::example("web", "front", "10.1.0.2"),
            Lease { hostname: "database".into(), ..Lease::example("db", "back", "10.2.0.2") },
            Lease::example("web", "back", "10.2.0.3"),
            Lease::example("alone", "other", "10.3.0.2"),
        ];
        let of = |container: &str| neighbours(&container.parse().unwrap(), &leases);
        assert_eq!(of("web"), "10.2.0.2\tdatabase db\n");
        assert_eq!(of("db"), "10.2.0.3\tweb\n");
        assert_eq!(of("alone"), "");
    }

    #[test]
    fn what_a_container_has_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HOSTS);
        let leases = [Lease::example("web", "front", "10.1.0.2")];
        let entry = "db:10.9.9.9".parse().unwrap();
        let options = NetworkOptions { hosts: vec![entry], ..NetworkOptions::default() };
        let text = hosts("www", Some(&leases[0].container), &leases, &options);
        let own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.0.2\twww web\n\
                   10.9.9.9\tdb\n";
        assert_eq!(text, format!("{own}{MARK}"));
        fs::write(&path, format!("127.0.0.1\tmine\n{MARK}10.1.0.3\told\n10.1.0.4\tolder\n"))
            .unwrap();
        rewrite(&path, "10.1.0.5\tnew\n").unwrap();
        let expected = format!("127.0.0.1\tmine\n{MARK}10.1.0.5\tnew\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        fs::write(&path, b"\xFF no mark\n").unwrap();
        rewrite(&path, "").unwrap();
        assert_eq!(fs::read(&path).unwrap(), [b"\xFF no mark\n", MARK.as_bytes()].concat());
    }

    #[test]
    fn name_servers_are_those_that_can_be_reached() {
        let host = "# by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver 10.0.0.53\n\
                    nameserver fe80::1%eth0\noptions edns0\n";
        let expected = "search example.org\nnameserver 10.0.0.53\noptions edns0\n";
        assert_eq!(resolver(&[], host, "nameserver 10.7.7.7\n"), expected);
        let stub = "nameserver 127.0.0.53\nsearch .\n";
        assert_eq!(resolver(&[], stub, "nameserver 10.7.7.7\n"), "nameserver 10.7.7.7\n");
        assert_eq!(resolver(&[], stub, ""), "search .\n");
        let asked = ["1.2.3.4".parse().unwrap()];
        let expected = "nameserver 1.2.3.4\nsearch example.org\noptions edns0\n";
        assert_eq!(resolver(&asked, host, ""), expected);
    }
}
