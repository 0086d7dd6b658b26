//! All networks of this host and who has which address, as they are kept on its disk. Whoever has them is the
//! only one who changes them, and what the kernel has of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::Definition;
use super::firewall;
use super::lease::Lease;
use super::link::Links;
use super::{ContainerId, LauncherError, NetworkError, NetworkName, Tried, files};
use crate::launcher::{lock, state};

/// Where each network has a file of its name.
const DIR: &str = "/var/lib/shrike/networks";

/// What such a file's name ends with.
const EXTENSION: &str = "json";

/// Where the leases are: no network has this name.
const LEASES: &str = ".leases";

/// The networks of this host. While one has them, nobody else changes anything.
pub(super) struct Networks {
    pub(super) definitions: BTreeMap<NetworkName, Definition>,
    pub(super) leases: Vec<Lease>,
    _lock: Lock,
}

/// The folder goes with the last network.
struct Lock(#[expect(dead_code, reason = "held until the end")] Flock<File>);

impl Networks {
    /// Waits until nobody else has them, as long as `go_on` holds.
    pub(super) fn open(
        go_on: impl Fn() -> Result<(), LauncherError>,
    ) -> Result<Self, LauncherError> {
        let dir = Path::new(DIR);
        let lock = Lock(lock::take(
            dir,
            FlockArg::LockExclusiveNonblock,
            "another launcher that changes networks",
            go_on,
        )?);
        let mut definitions = BTreeMap::new();
        for entry in fs::read_dir(dir).tried(|| format!("list {DIR}"))? {
            let path = entry.tried(|| format!("list {DIR}"))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Some(network) = read::<Definition>(&path)?
            {
                definitions.insert(network.name.clone(), network);
            }
        }
        let leases = read(&leases_file())?.unwrap_or_default();
        Ok(Self { definitions, leases, _lock: lock })
    }

    /// The same, so that nobody makes any meanwhile; `None` where nobody can, on a disk that cannot be written.
    pub(super) fn keep() -> Result<Option<Self>, LauncherError> {
        match Self::open(|| Ok(())) {
            Err(LauncherError::System { source, .. })
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem
                    && !Path::new(DIR).exists() =>
            {
                Ok(None)
            }
            networks => networks.map(Some),
        }
    }

    /// Those that there are, if there are any.
    pub(super) fn find() -> Result<Option<Self>, LauncherError> {
        if Path::new(DIR).exists() { Self::open(|| Ok(())).map(Some) } else { Ok(None) }
    }

    /// The network of this name.
    pub(super) fn network(&self, name: &NetworkName) -> Result<&Definition, NetworkError> {
        self.definitions.get(name).ok_or_else(|| NetworkError::Missing(name.clone()))
    }

    /// The leases of a network.
    pub(super) fn leases_of<'a>(
        &'a self,
        name: &'a NetworkName,
    ) -> impl Iterator<Item = &'a Lease> {
        self.leases.iter().filter(move |lease| lease.network == *name)
    }

    /// Adds a network.
    pub(super) fn add(&mut self, network: Definition) -> Result<(), LauncherError> {
        write(&file(&network.name), &network)?;
        self.definitions.insert(network.name.clone(), network);
        Ok(())
    }

    /// Removes a network.
    pub(super) fn remove(&mut self, name: &NetworkName) -> Result<(), LauncherError> {
        self.definitions.remove(name);
        remove(&file(name))
    }

    /// Keeps the leases as they are now, and tells the containers that run whose names have which address.
    pub(super) fn save_leases(&self) -> Result<(), LauncherError> {
        let path = leases_file();
        if self.leases.is_empty() { remove(&path) } else { write(&path, &self.leases) }?;
        for (index, lease) in self.leases.iter().enumerate() {
            let is_first =
                !self.leases.iter().take(index).any(|other| other.container == lease.container);
            if is_first {
                files::update(&lease.container, &self.leases)?;
            }
        }
        Ok(())
    }

    /// Has the kernel keep the networks apart, and every port to its container's addresses.
    pub(super) fn apply_rules(&self) -> Result<(), LauncherError> {
        firewall::apply(self.definitions.values(), &self.leases).tried(|| {
            "set the rules that keep networks apart (by nftables: the modules nf_tables, nft_ct, \
             nft_chain_nat, nft_masq and nft_meta_bridge)"
                .to_owned()
        })
    }

    /// Takes addresses back from containers that do not run any more, or that one, and returns them.
    pub(super) fn take_back(
        &mut self,
        id: Option<&ContainerId>,
    ) -> Result<Vec<Lease>, LauncherError> {
        let mut dead = Vec::new();
        for lease in &self.leases {
            if id == Some(&lease.container) || !state::runs_anywhere(&lease.container)? {
                dead.push(lease.clone());
            }
        }
        self.leases.retain(|lease| !dead.contains(lease));
        if dead.is_empty() {
            return Ok(dead);
        }
        let mut links = Links::here().tried(|| "list network devices".to_owned())?;
        let names = dead.iter().flat_map(|lease| [lease.port(), lease.queue()]);
        // What one cannot be is no reason to leave the others.
        let removed = names
            .map(|name| links.remove(&name).tried(|| format!("remove the network device {name}")));
        removed.collect::<Vec<_>>().into_iter().collect::<Result<(), _>>().map(|()| dead)
    }

    /// Those that a container does not run with any more.
    pub(super) fn dead_leases(&self) -> Result<Vec<&Lease>, LauncherError> {
        let mut dead = Vec::new();
        for lease in &self.leases {
            if !state::runs_anywhere(&lease.container)? {
                dead.push(lease);
            }
        }
        Ok(dead)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It fails while something is in it.
        if fs::remove_dir(DIR).is_ok() {
            let _ = Path::new(DIR).parent().map(fs::remove_dir);
        }
    }
}

/// Where the leases are.
pub(super) fn leases_file() -> PathBuf {
    Path::new(DIR).join(LEASES)
}

fn file(name: &NetworkName) -> PathBuf {
    // Not by `with_extension`: a name may have dots.
    Path::new(DIR).join(format!("{name}.{EXTENSION}"))
}

/// What a file says; `None` if it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LauncherError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.tried(|| format!("read {}", path.display()))?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| NetworkError::File { path: path.to_owned(), source }.into())
}

/// Writes a file so that it is whole whenever it is there.
fn write(path: &Path, content: &impl Serialize) -> Result<(), LauncherError> {
    let what = || format!("write {}", path.display());
    let text = serde_json::to_vec_pretty(content).map_err(io::Error::from).tried(what)?;
    let new = path.with_extension("new");
    let file = File::create(&new).and_then(|mut file| {
        io::Write::write_all(&mut file, &text)?;
        file.sync_all()
    });
    file.and_then(|()| fs::rename(&new, path)).tried(what)
}

fn remove(path: &Path) -> Result<(), LauncherError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.tried(|| format!("remove {}", path.display())),
    }
}
