//! `shrike network`: the networks that containers are joined to.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::launcher::network::{self, Listed, NetworkError, NewNetwork};
use crate::launcher::{LauncherError, NetworkName};

const EXAMPLES: &str = "\
Examples:
  shrike network create front
  shrike network create data --internal --subnet 10.9.0.0/24
  shrike container run --rootfs ./rootfs --network front,data -- sh";

/// Make, list and remove networks of containers, which are kept apart from each other
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct NetworkArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(CreateArgs),
    Ls(ListArgs),
    Rm(RemoveArgs),
    Inspect(InspectArgs),
}

/// Make a network; its containers reach each other, and by way of the host what the host reaches
#[derive(Args, Debug)]
struct CreateArgs {
    /// What the network is called
    #[arg(value_name = "NAME")]
    name: NetworkName,

    /// Where its containers have their addresses; a subnet that is not in use by default
    #[arg(long, value_name = "CIDR")]
    subnet: Option<Ipv4Net>,

    /// The host's address in it; its first one by default
    #[arg(long, value_name = "ADDRESS", requires = "subnet")]
    gateway: Option<Ipv4Addr>,

    /// Let its containers reach each other and nobody else
    #[arg(long)]
    internal: bool,
}

/// List the networks
#[derive(Args, Debug)]
struct ListArgs {
    /// Print them as JSON, with the containers in each
    #[arg(long)]
    json: bool,
}

/// Remove a network that no container is joined to
#[derive(Args, Debug)]
struct RemoveArgs {
    /// The network
    #[arg(value_name = "NAME")]
    name: NetworkName,
}

/// Show a network and the containers in it as JSON
#[derive(Args, Debug)]
struct InspectArgs {
    /// The network
    #[arg(value_name = "NAME")]
    name: NetworkName,
}

/// Does what is asked for.
pub(super) fn run(args: NetworkArgs) -> Result<(), LauncherError> {
    match args.action {
        Action::Create(args) => {
            let CreateArgs { name, subnet, gateway, internal } = args;
            let network = network::create(NewNetwork { name, subnet, gateway, internal })?;
            println!("{}", network.name);
        }
        Action::Ls(args) if args.json => print(&network::list()?)?,
        Action::Ls(_) => list(&network::list()?),
        Action::Rm(args) => {
            network::remove(&args.name)?;
            println!("{}", args.name);
        }
        Action::Inspect(args) => print(&network::inspect(&args.name)?)?,
    }
    Ok(())
}

fn list(networks: &[Listed]) {
    let width = networks.iter().map(|listed| listed.network.name.as_str().len()).max();
    let width = width.unwrap_or_default().max("NAME".len());
    println!("{:width$}  {:18}  {:15}  {:7}  CONTAINERS", "NAME", "SUBNET", "GATEWAY", "WAY OUT");
    for Listed { network, containers, .. } in networks {
        println!(
            "{:width$}  {:18}  {:15}  {:7}  {}",
            network.name.as_str(),
            network.subnet.to_string(),
            network.gateway.to_string(),
            if network.internal { "no" } else { "yes" },
            containers.len()
        );
    }
}

fn print(what: &impl Serialize) -> Result<(), LauncherError> {
    println!("{}", serde_json::to_string_pretty(what).map_err(NetworkError::Show)?);
    Ok(())
}
