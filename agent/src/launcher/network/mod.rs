//! Networks: bridges on the host that containers are joined to, each by a pair of devices of which it has
//! one end. [`store`] has what there is of them and lets one launcher at a time change it, [`link`] makes the
//! devices, [`shape`] holds them to their rates, [`firewall`] keeps networks apart, and [`files`] tells
//! containers of each other by name.
//!
//! What the kernel has of a network is made when the network is, and again when a container joins it: it is
//! gone after the host was started anew.

mod definition;
mod files;
mod firewall;
mod lease;
mod link;
mod netlink;
mod nft;
mod shape;
mod store;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use nix::errno::Errno;
use serde::Serialize;

use self::definition::Taken;
pub(crate) use self::definition::{Definition, NewNetwork};
use self::lease::Lease;
use self::link::{Link, Links, Role};
use self::netlink::Refusal;
use self::store::Networks;
use super::detached::Detached;
use super::rootfs::OwnFile;
use super::signal::Signals;
use super::spec::{Network, NetworkName, NetworkOptions};
use super::state::{self, State};
use super::{ContainerId, LauncherError, Sharing, Spec, Tried, UserMode, userns};

/// What has the host pass on what comes from one of its networks and is for another.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why there is no network as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("there is a network {0} already")]
    Exists(NetworkName),
    #[error("there is no network {0}: make it first (shrike network create {0})")]
    Missing(NetworkName),
    #[error("the network {network} is in use by {}", .containers.join(", "))]
    InUse { network: NetworkName, containers: Vec<String> },
    #[error("a network's subnet has a prefix of 8 to 30 bits")]
    Prefix,
    #[error("{subnet} has bits of a host: is {meant} meant?")]
    HostBits { subnet: Ipv4Net, meant: Ipv4Net },
    #[error("{0} is no subnet for hosts: its addresses have a meaning of their own")]
    Special(Ipv4Net),
    #[error(
        "the subnet {subnet} overlaps with {} of {}",
        .taken.subnet,
        .taken.network.as_ref().map_or("this host's own routes".to_owned(), |name| format!("the network {name}"))
    )]
    Overlap { subnet: Ipv4Net, taken: Taken },
    #[error("no subnet is left to choose: give one (--subnet)")]
    NoSubnet,
    #[error("{gateway} is no address of a host in {subnet} (--gateway)")]
    Gateway { gateway: Ipv4Addr, subnet: Ipv4Net },
    #[error(
        "{address} is no address of a host in {subnet}, which the network {network} has (--ip)"
    )]
    Outside { address: Ipv4Addr, network: NetworkName, subnet: Ipv4Net },
    #[error("{0} is the gateway's (--ip)")]
    GatewayTaken(Ipv4Addr),
    #[error("{address} is in use by the container {container} (--ip)")]
    AddressTaken { address: Ipv4Addr, container: ContainerId },
    #[error("the network {0} has no address left")]
    Full(NetworkName),
    #[error("cannot understand {}", .path.display())]
    File { path: PathBuf, source: serde_json::Error },
    #[error("cannot write networks as JSON")]
    Show(#[source] serde_json::Error),
}

/// A network and who is in it, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    #[serde(flatten)]
    pub(crate) network: Definition,
    /// Its device on the host.
    bridge: String,
    /// Those that run.
    pub(crate) containers: Vec<Member>,
}

/// A container in a network, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Member {
    name: ContainerId,
    address: Ipv4Addr,
    mac: String,
    /// The device that it has, and the other end on the host.
    device: String,
    port: String,
}

/// Makes a network.
pub(crate) fn create(new: NewNetwork) -> Result<Definition, LauncherError> {
    let mut networks = Networks::open(|| Ok(()))?;
    if networks.definitions.contains_key(&new.name) {
        return Err(NetworkError::Exists(new.name).into());
    }
    let mut links = Links::here().tried(|| "list network devices".to_owned())?;
    let of_host =
        links.reached().tried(|| "list the addresses and routes of this host".to_owned())?;
    let own = |network: &Definition| Taken {
        subnet: network.subnet,
        network: Some(network.name.clone()),
    };
    // A network's own route is the host's as well: who has it is told from the first.
    let mut taken: Vec<Taken> = networks.definitions.values().map(own).collect();
    taken.extend(of_host.into_iter().map(|subnet| Taken { subnet, network: None }));
    let network = Definition::new(new, &taken)?;
    networks.add(network.clone())?;
    let made = provide(&network, &mut links).and_then(|()| networks.apply_rules());
    if let Err(error) = made {
        let undone = withdraw(&network, &mut networks, &mut links);
        undone.unwrap_or_else(|error| tracing::warn!("{:#}", anyhow::Error::from(error)));
        return Err(error);
    }
    Ok(network)
}

/// Removes a network, which no container may be joined to.
pub(crate) fn remove(name: &NetworkName) -> Result<(), LauncherError> {
    let mut networks = Networks::find()?.ok_or_else(|| NetworkError::Missing(name.clone()))?;
    let network = networks.network(name)?.clone();
    if !networks.take_back(None)?.is_empty() {
        networks.save_leases()?;
    }
    let containers: Vec<String> =
        networks.leases_of(name).map(|lease| lease.container.to_string()).collect();
    if !containers.is_empty() {
        return Err(NetworkError::InUse { network: network.name, containers }.into());
    }
    let mut links = Links::here().tried(|| "list network devices".to_owned())?;
    withdraw(&network, &mut networks, &mut links)
}

/// All networks.
pub(crate) fn list() -> Result<Vec<Listed>, LauncherError> {
    let Some(networks) = Networks::find()? else { return Ok(Vec::new()) };
    networks.definitions.values().map(|network| listed(network, &networks)).collect()
}

/// One network.
pub(crate) fn inspect(name: &NetworkName) -> Result<Listed, LauncherError> {
    let networks = Networks::find()?.ok_or_else(|| NetworkError::Missing(name.clone()))?;
    listed(networks.network(name)?, &networks)
}

fn listed(network: &Definition, networks: &Networks) -> Result<Listed, LauncherError> {
    let mut containers = Vec::new();
    for lease in networks.leases_of(&network.name) {
        if state::runs_anywhere(&lease.container)? {
            containers.push(Member {
                name: lease.container.clone(),
                address: lease.address,
                mac: lease.mac().to_string(),
                device: lease.device(),
                port: lease.port(),
            });
        }
    }
    Ok(Listed { network: network.clone(), bridge: network.bridge(), containers })
}

/// Sees to it that the kernel has a network's bridge, and that the host passes on what a network with a way
/// out takes there.
fn provide(network: &Definition, links: &mut Links) -> Result<(), LauncherError> {
    let Definition { name, subnet, gateway, internal } = network;
    let bridge = network.bridge();
    let mut make = || -> Result<(), Refusal> {
        links.ensure_bridge(&bridge, network.mac())?;
        let index = links.index(&bridge)?;
        links.name_owner(index, "network", name.as_str())?;
        links.add_address(index, *gateway, *subnet)?;
        links.bring_up(index)
    };
    make()
        .map_err(|refusal| missing(refusal, "bridge"))
        .tried(|| format!("make the bridge {bridge} of the network {name}"))?;
    if *internal { Ok(()) } else { let_forward() }
}

/// Adds to a refusal which module the kernel lacks.
fn missing(refusal: Refusal, module: &str) -> Refusal {
    match refusal.errno {
        Errno::EOPNOTSUPP => refusal.because(&format!("is there no module {module}?")),
        _ => refusal,
    }
}

/// Removes what there is of a network.
fn withdraw(
    network: &Definition,
    networks: &mut Networks,
    links: &mut Links,
) -> Result<(), LauncherError> {
    let bridge = network.bridge();
    links.remove(&bridge).tried(|| format!("remove the bridge {bridge}"))?;
    networks.remove(&network.name)?;
    networks.apply_rules()
}

fn let_forward() -> Result<(), LauncherError> {
    let forwards = fs::read_to_string(FORWARDING).tried(|| format!("read {FORWARDING}"))?;
    if forwards.trim() != "0" {
        return Ok(());
    }
    tracing::warn!(
        "this host passes on packets between its networks from now on, which a network with a way out \
         needs: net.ipv4.ip_forward is set"
    );
    fs::write(FORWARDING, "1").tried(|| format!("write {FORWARDING}"))
}

/// A container's place in its networks, which it gives up when this is dropped.
pub(super) struct Membership {
    container: ContainerId,
    options: NetworkOptions,
    joined: Vec<(Definition, Lease)>,
}

impl Membership {
    /// Gives a container that is to be joined to networks its addresses, and returns the files by which it
    /// knows names, each with its place.
    pub(super) fn join(
        spec: &Spec,
        state: &State,
        signals: &Signals,
    ) -> Result<Option<(Self, Vec<OwnFile>)>, LauncherError> {
        let Network::Named(names) = &spec.network else { return Ok(None) };
        let hostname = hostname(spec)?;
        let mut networks = Networks::open(|| signals.check())?;
        // What an earlier container of the name has left behind is nobody's.
        networks.take_back(Some(&spec.id))?;
        let mut joined = Vec::new();
        for (number, name) in (0..).zip(names) {
            let network = networks.network(name)?.clone();
            let wanted = spec.network_options.address.filter(|_| number == 0);
            let address = lease::free(&network, &networks.leases, wanted)?;
            let lease = Lease {
                container: spec.id.clone(),
                network: name.clone(),
                number,
                address,
                hostname: hostname.clone(),
            };
            networks.leases.push(lease.clone());
            joined.push((network, lease));
        }
        let options = spec.network_options.clone();
        let membership = Self { container: spec.id.clone(), options, joined };
        let files = membership.prepare(&mut networks, spec, state);
        // Before the membership may be dropped, which needs them.
        drop(networks);
        Ok(Some((membership, files?)))
    }

    /// Does what can be done before there is a container.
    fn prepare(
        &self,
        networks: &mut Networks,
        spec: &Spec,
        state: &State,
    ) -> Result<Vec<OwnFile>, LauncherError> {
        let leases: Vec<Lease> = self.joined.iter().map(|(_, lease)| lease.clone()).collect();
        let hostname = leases.first().map(|lease| lease.hostname.as_str()).unwrap_or_default();
        let written = files::write(state.own(), hostname, &leases, &self.options)?;
        networks.save_leases()?;
        let mut links = Links::here().tried(|| "list network devices".to_owned())?;
        for (network, _) in &self.joined {
            provide(network, &mut links)?;
        }
        networks.apply_rules()?;
        let mut files = Vec::new();
        for (path, target) in written {
            if spec.users == UserMode::Remapped {
                userns::give(&path)?;
            }
            files.push(OwnFile { target, mount: Detached::open(&path)? });
        }
        Ok(files)
    }

    /// Gives the container's first task its devices, before it does anything.
    pub(super) fn attach(&self, pid: libc::pid_t) -> Result<(), LauncherError> {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).tried(|| format!("open {path}"))?;
        let mut links = Links::here().tried(|| "list network devices".to_owned())?;
        for (network, lease) in &self.joined {
            connect(network, lease, &mut links, &namespace)
                .map_err(|refusal| missing(refusal, "veth"))
                .tried(|| format!("connect the container with the network {}", network.name))?;
            self.limit(lease, &mut links)?;
        }
        Ok(())
    }

    /// Sets the devices up, in the container's first task.
    pub(super) fn configure(&self) -> Result<(), LauncherError> {
        let mut links = Links::here().tried(|| "list network devices".to_owned())?;
        // Of several networks, the first that leads anywhere.
        let way_out = self.joined.iter().position(|(network, _)| !network.internal);
        for (index, (network, lease)) in self.joined.iter().enumerate() {
            configure(network, lease, &mut links, way_out == Some(index))
                .tried(|| format!("set up {} of the network {}", lease.device(), network.name))?;
        }
        Ok(())
    }

    /// Holds a device to the rates that are asked for.
    fn limit(&self, lease: &Lease, links: &mut Links) -> Result<(), LauncherError> {
        if let Some(rate) = self.options.ingress {
            let what = || "limit what the container is sent (--ingress-bandwidth)".to_owned();
            let port = links.index(&lease.port()).tried(what)?;
            shape::limit(links.netlink(), port, rate).tried(what)?;
        }
        if let Some(rate) = self.options.egress {
            let what = || "limit what the container sends (--egress-bandwidth)".to_owned();
            let name = lease.queue();
            links.make_queue(&name).map_err(|refusal| missing(refusal, "ifb")).tried(what)?;
            let queue = links.index(&name).tried(what)?;
            links.name_owner(queue, "container", lease.container.as_str()).tried(what)?;
            shape::limit(links.netlink(), queue, rate).tried(what)?;
            links.bring_up(queue).tried(what)?;
            let port = links.index(&lease.port()).tried(what)?;
            shape::divert(links.netlink(), port, queue).tried(what)?;
        }
        Ok(())
    }

    fn leave(&self) -> Result<(), LauncherError> {
        let Some(mut networks) = Networks::find()? else { return Ok(()) };
        // Each is done, whatever becomes of the others.
        let taken = networks.take_back(Some(&self.container)).map(drop);
        let saved = networks.save_leases();
        let applied = networks.apply_rules();
        taken.and(saved).and(applied)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            tracing::warn!("{:#}", anyhow::Error::from(error));
        }
    }
}

/// Makes the pair of devices.
fn connect(
    network: &Definition,
    lease: &Lease,
    links: &mut Links,
    namespace: &File,
) -> Result<(), Refusal> {
    let port = lease.port();
    let bridge = links.index(&network.bridge())?;
    links.make_pair(&port, bridge, (&lease.device(), lease.mac()), namespace)?;
    let index = links.index(&port)?;
    links.name_owner(index, "container", lease.container.as_str())?;
    links.bring_up(index)
}

/// Sets up the container's end.
fn configure(
    network: &Definition,
    lease: &Lease,
    links: &mut Links,
    is_way_out: bool,
) -> Result<(), Refusal> {
    let index = links.index(&lease.device())?;
    links.add_address(index, lease.address, network.subnet)?;
    links.bring_up(index)?;
    if is_way_out { links.add_default_route(index, network.gateway) } else { Ok(()) }
}

/// What a container calls itself.
fn hostname(spec: &Spec) -> Result<String, LauncherError> {
    if spec.uts == Sharing::Host {
        let name = nix::unistd::gethostname().tried(|| "ask for the host's name".to_owned())?;
        return Ok(name.to_string_lossy().into_owned());
    }
    Ok(spec.hostname.clone().unwrap_or_else(|| spec.id.to_string()))
}

/// Removes what is left of networks that nobody defined, and of containers that do not run any more, and
/// returns what that was; only tells it if it is to be kept.
pub(super) fn clean_up(is_kept: bool) -> Result<Vec<PathBuf>, LauncherError> {
    let mut networks = if is_kept { Networks::find()? } else { Networks::keep()? };
    let mut left = Vec::new();
    if let Some(networks) = &mut networks
        && !networks.dead_leases()?.is_empty()
    {
        left.push(store::leases_file());
        if !is_kept {
            networks.take_back(None)?;
            networks.save_leases()?;
            networks.apply_rules()?;
        }
    }
    let mut links = Links::here().tried(|| "list network devices".to_owned())?;
    let all = links.all().tried(|| "list network devices".to_owned())?;
    let nobodys = leftovers(&all, networks.as_ref())?;
    // Those of launchers that have other files than this one: they need the rules.
    let are_others = all.iter().any(|link| link.role().is_some() && !nobodys.contains(&link));
    for link in nobodys {
        if !is_kept {
            links
                .remove(&link.name)
                .tried(|| format!("remove the network device {}", link.name))?;
        }
        left.push(PathBuf::from("/sys/class/net").join(&link.name));
    }
    let is_empty = networks.as_ref().is_none_or(|networks| networks.definitions.is_empty());
    if is_empty
        && !are_others
        && firewall::is_there().tried(|| "look for rules of networks".to_owned())?
    {
        left.push(PathBuf::from("nftables/inet/shrike"));
        if !is_kept {
            firewall::apply([].into_iter(), &[])
                .tried(|| "remove the rules of networks".to_owned())?;
        }
    }
    Ok(left)
}

/// The devices of ours that belong to nobody.
fn leftovers<'a>(
    all: &'a [Link],
    networks: Option<&Networks>,
) -> Result<Vec<&'a Link>, LauncherError> {
    let mut known = Vec::new();
    if let Some(networks) = networks {
        known.extend(networks.definitions.values().map(Definition::bridge));
        for lease in &networks.leases {
            if state::runs_anywhere(&lease.container)? {
                known.extend([lease.port(), lease.queue()]);
            }
        }
    }
    let mut left: Vec<&Link> = Vec::new();
    for link in all {
        let runs_elsewhere = || {
            let owner: Option<ContainerId> = link.owner().and_then(|owner| owner.parse().ok());
            owner.map_or(Ok(false), |owner| state::runs_anywhere(&owner))
        };
        let is_left = match link.role() {
            Some(Role::Port | Role::Queue) => !known.contains(&link.name) && !runs_elsewhere()?,
            _ => false,
        };
        if is_left {
            left.push(link);
        }
    }
    // A bridge with other ports is in use, by a launcher that has other files than this one.
    let bridges = all.iter().filter(|link| {
        let is_port = |other: &&Link| other.master == Some(link.index);
        link.role() == Some(Role::Bridge)
            && !known.contains(&link.name)
            && all.iter().filter(is_port).all(|port| left.contains(&port))
    });
    let bridges: Vec<&Link> = bridges.collect();
    left.extend(bridges);
    Ok(left)
}
