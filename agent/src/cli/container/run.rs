//! `shrike container run`: what a container is to be.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;

use super::environment;
use crate::capability::Capabilities;
use crate::launcher::{
    self, BitRate, BlockIo, CapabilityChange, ContainerId, CpuList, Cpus, Device, DeviceRule,
    HostEntry, LauncherError, Mount, Network, NetworkOptions, Rate, Resources, Root,
    SecurityOption, Sharing, Size, Spec, StopSignal, Swap, Sysctl, Throttle, TimeOffset, Tmpfs,
    Ulimit, User, UserMode, Volume, Way,
};

const EXAMPLES: &str = "\
Examples:
  shrike container run --rootfs ./rootfs -- sh -c 'id; ls /'
  shrike container run --image shrike.tar --privileged --pid host --network host
  shrike container run --rootfs ./rootfs --network front,back --ip 172.18.0.9 -- httpd -f
  shrike container run --rootfs ./rootfs --memory 64m --pids-limit 32 -v /srv:/data:ro -- sh
  shrike container run --detach --name web --image web.tar

Exit codes:
  125     the container could not be set up
  126     the command cannot be executed
  127     the command cannot be found
  128+N   signal N ended the command
  other   the command's own";

/// Run a command in a new container
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// Leave it running in the background, and print its name; it stays until `shrike container rm`
    #[arg(short, long)]
    detach: bool,

    /// Remove the container when its command has ended; without --detach it always is
    #[arg(long)]
    rm: bool,

    #[command(flatten)]
    spec: SpecArgs,
}

/// Make a container that is started later, by `shrike container start`, and print its name
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    spec: SpecArgs,
}

/// What a container is to be.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[derive(Args, Debug)]
struct SpecArgs {
    #[command(flatten)]
    root: RootArgs,

    /// All capabilities, the host's devices and cgroups, nothing masked: for tests and for agents
    #[arg(long)]
    privileged: bool,

    /// The user namespace: host; remap for a new one, in which root is nobody outside; container:NAME for that
    /// of a running container, or ns:PATH for one by its file
    #[arg(long, value_name = "MODE", default_value = "host")]
    userns: UserMode,

    /// The pid namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    pid: Sharing,

    #[command(flatten)]
    network: NetworkArgs,

    /// The UTS namespace, which has the host name: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    uts: Sharing,

    /// The IPC namespace, with /dev/shm and /dev/mqueue: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "private")]
    ipc: Sharing,

    /// The cgroup namespace: private, host, container:NAME or ns:PATH; private, but for privileged containers
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<Sharing>,

    /// The time namespace, which has the clocks since the boot: host, private, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", default_value = "host")]
    timens: Sharing,

    /// What a clock shows beyond the host's with --timens=private, for example boottime=86400 or
    /// monotonic=-0.5; may be given for each
    #[arg(long, value_name = "CLOCK=SECONDS")]
    time_offset: Vec<TimeOffset>,

    /// Show a file or folder of the host in the container, :ro to protect it, :idmap to show the container
    /// its own users as owners with --userns=remap, :rslave or :rshared to show what is mounted below it
    /// later, :Z or :z to give it to the container or to all of them where SELinux is active; may be given
    /// several times
    #[arg(short, long, value_name = "SRC:DST[:ro,idmap,rslave,Z]")]
    volume: Vec<Volume>,

    /// The same, or a file system in memory, in Docker's other format: type=bind,source=SRC,target=DST
    /// with readonly, idmap and bind-propagation=, or type=tmpfs,target=DST with readonly, tmpfs-size= and
    /// tmpfs-mode=; may be given several times
    #[arg(long, value_name = "FIELDS")]
    mount: Vec<Mount>,

    /// A file system in memory; options are those of tmpfs(5), ro and exec; may be given several times
    #[arg(long, value_name = "DST[:OPTIONS]")]
    tmpfs: Vec<Tmpfs>,

    /// A device of the host's, or all in a folder, where in the container it is, and what may be done with
    /// it (read, write, make its file); may be given several times
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]")]
    device: Vec<Device>,

    /// Devices that may be used if their files are made, for example "c 10:229 rwm"; may be given several
    /// times
    #[arg(long, value_name = "KIND MAJOR:MINOR rwm")]
    device_cgroup_rule: Vec<DeviceRule>,

    /// How much /dev/shm holds
    #[arg(long, value_name = "SIZE", default_value = "64m")]
    shm_size: Size,

    /// A limit of each process, for example nofile=1024:4096; may be given several times
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,

    /// A parameter of the kernel that is the container's own; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<Sysctl>,

    /// How soon the kernel kills the container's processes if memory runs out
    #[arg(long, value_name = "N", allow_hyphen_values = true,
        value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,

    /// A group of the command beside the user's own, by number; may be given several times
    #[arg(long, value_name = "GID")]
    group_add: Vec<u32>,

    /// A capability beyond Docker's default set, or ALL; may be given several times
    #[arg(long, value_name = "CAP", value_parser = launcher::capabilities)]
    cap_add: Vec<Capabilities>,

    /// A capability to take away, or ALL; taken away before others are added
    #[arg(long, value_name = "CAP", value_parser = launcher::capabilities)]
    cap_drop: Vec<Capabilities>,

    /// seccomp=FILE, seccomp=default, seccomp=unconfined, apparmor=PROFILE, apparmor=unconfined,
    /// no-new-privileges[=true|false], systempaths=unconfined, label=disable, or label=type:NAME and its like
    /// for a context of SELinux, as Docker has them; may be given several times
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<SecurityOption>,

    #[command(flatten)]
    resources: ResourceArgs,

    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,

    /// Run the command as this user, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<User>,

    /// An environment variable of the command; NAME alone takes the launcher's own value, if it has one; may
    /// be given several times
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = environment::variable)]
    env: Vec<String>,

    /// A file with environment variables, one in each line; those of --env win; may be given several times
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Where the command starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// What the container is called; random by default
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerId>,

    /// The container's host name; its name by default
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,

    /// Something that others want to know of the container; may be given several times
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = label)]
    label: Vec<(String, String)>,

    /// The signal that the container gets for SIGTERM, which asks it to end; by default what the image says
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<StopSignal>,

    /// Start a first process that starts the command, passes signals on to it, and waits for orphans
    #[arg(long)]
    init: bool,

    /// Give the container a terminal of its own
    #[arg(short, long)]
    tty: bool,

    /// With --tty, pass on what is typed; without it, the standard input always is the launcher's
    #[arg(short, long)]
    interactive: bool,

    /// The program to run, instead of the image's own; \"\" for none: the first argument is one then
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// Write the host's pid of the container's first process to this file before it starts
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// The command and its arguments, or the arguments of the image's own program; an image's own by default
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Args, Debug)]
struct NetworkArgs {
    /// The network: none, which is a loopback device only, host, container:NAME or ns:PATH, or networks to be
    /// joined to, separated by commas (see shrike network); may be given several times
    #[arg(long, value_name = "MODE|NAME", default_value = "none")]
    network: Vec<Network>,

    /// The container's address in its first network; a free one by default
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,

    /// A name that the container knows beside those of its networks; may be given several times
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<HostEntry>,

    /// The server that the container asks for names, instead of the host's; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,

    /// The most bits in a second that the container is sent by each network, for example 10m
    #[arg(long, value_name = "RATE")]
    ingress_bandwidth: Option<BitRate>,

    /// The most bits in a second that the container sends to each network
    #[arg(long, value_name = "RATE")]
    egress_bandwidth: Option<BitRate>,
}

#[derive(Args, Debug)]
struct ResourceArgs {
    /// The most memory that the container may use, for example 64m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<Size>,

    /// Memory that is left to the container while others have more than theirs
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<Size>,

    /// The most memory and swap together, -1 for no limit of swap
    #[arg(long, value_name = "SIZE", requires = "memory", allow_hyphen_values = true)]
    memory_swap: Option<Swap>,

    /// The most processor time, in processors, for example 1.5
    #[arg(long, value_name = "N")]
    cpus: Option<Cpus>,

    /// The container's part of the processors beside others who want them; 1024 is the usual one
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_shares: Option<u64>,

    /// The processors that the container runs on, for example 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<CpuList>,

    /// The most processes and threads that the container may have
    #[arg(long, value_name = "N")]
    pids_limit: Option<u32>,

    /// The container's part of block devices beside others who want them, from 10 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..=1000))]
    blkio_weight: Option<u16>,

    /// The most that the container may read from a disk in a second, for example /dev/sda:1m; may be given
    /// several times
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = launcher::bytes_per_second)]
    device_read_bps: Vec<Rate>,

    /// The most that it may write to a disk in a second; may be given several times
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = launcher::bytes_per_second)]
    device_write_bps: Vec<Rate>,

    /// How often it may read from a disk in a second; may be given several times
    #[arg(long, value_name = "DEVICE:N", value_parser = launcher::operations_per_second)]
    device_read_iops: Vec<Rate>,

    /// How often it may write to a disk in a second; may be given several times
    #[arg(long, value_name = "DEVICE:N", value_parser = launcher::operations_per_second)]
    device_write_iops: Vec<Rate>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct RootArgs {
    /// A folder with the container's root file system
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,

    /// An image in a tar archive: an OCI image layout, or what `docker save` writes
    #[arg(long, value_name = "ARCHIVE")]
    image: Option<PathBuf>,
}

impl RunArgs {
    pub(super) fn run(self) -> Result<u8, LauncherError> {
        // What is read for the specification is read once.
        launcher::seal()?;
        let spec = self.spec.spec()?;
        if !self.detach {
            return launcher::run(&spec);
        }
        launcher::run_detached(&spec, !self.rm)?;
        println!("{}", spec.id);
        Ok(0)
    }
}

impl CreateArgs {
    pub(super) fn run(self) -> Result<u8, LauncherError> {
        let spec = self.spec.spec()?;
        launcher::create(&spec)?;
        println!("{}", spec.id);
        Ok(0)
    }
}

impl SpecArgs {
    /// What was asked for.
    fn spec(self) -> Result<Spec, LauncherError> {
        let drops = self.cap_drop.into_iter().map(CapabilityChange::Drop);
        let adds = self.cap_add.into_iter().map(CapabilityChange::Add);
        let (network, network_options) = self.network.network()?;
        let (mut volumes, mut tmpfs) = (self.volume, self.tmpfs);
        for mount in self.mount {
            match mount {
                Mount::Volume(volume) => volumes.push(volume),
                Mount::Tmpfs(one) => tmpfs.push(one),
            }
        }
        let spec = Spec {
            id: self.name.unwrap_or_else(ContainerId::random),
            root: self.root.root(),
            entrypoint: self.entrypoint,
            init: self.init,
            tty: self.tty,
            interactive: self.interactive,
            stop_signal: self.stop_signal,
            labels: self.label.into_iter().collect(),
            command: self.command,
            privileged: self.privileged,
            users: self.userns,
            pid: self.pid,
            network,
            network_options,
            uts: self.uts,
            ipc: self.ipc,
            cgroupns: self.cgroupns,
            time: self.timens,
            time_offsets: self.time_offset,
            tmpfs,
            shm_size: self.shm_size,
            ulimits: self.ulimit,
            sysctls: self.sysctl,
            oom_score_adj: self.oom_score_adj,
            groups: self.group_add,
            volumes,
            devices: self.device,
            device_rules: self.device_cgroup_rule,
            capabilities: drops.chain(adds).collect(),
            resources: self.resources.resources(),
            security: self.security_opt.into_iter().collect(),
            read_only: self.read_only,
            user: self.user,
            env: environment::collect(&self.env_file, self.env)?,
            workdir: self.workdir,
            hostname: self.hostname,
            domainname: self.domainname,
            pid_file: self.pid_file,
        };
        spec.absolute()
    }
}

impl NetworkArgs {
    fn network(self) -> Result<(Network, NetworkOptions), LauncherError> {
        let options = NetworkOptions {
            address: self.ip,
            hosts: self.add_host,
            nameservers: self.dns,
            ingress: self.ingress_bandwidth,
            egress: self.egress_bandwidth,
        };
        Ok((Network::of(self.network)?, options))
    }
}

impl ResourceArgs {
    fn resources(self) -> Resources {
        let throttles = [
            (Way::ReadBytes, self.device_read_bps),
            (Way::WriteBytes, self.device_write_bps),
            (Way::ReadOperations, self.device_read_iops),
            (Way::WriteOperations, self.device_write_iops),
        ];
        let throttles = throttles
            .into_iter()
            .flat_map(|(way, rates)| rates.into_iter().map(move |rate| Throttle { way, rate }))
            .collect();
        Resources {
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus,
            pids: self.pids_limit,
            block: BlockIo { weight: self.blkio_weight, throttles },
        }
    }
}

impl RootArgs {
    fn root(self) -> Root {
        match (self.rootfs, self.image) {
            (_, Some(archive)) => Root::Archive(archive),
            // One of them is there: the parser asks for it.
            (folder, None) => Root::Folder(folder.unwrap_or_default()),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("expected KEY=VALUE or KEY".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
