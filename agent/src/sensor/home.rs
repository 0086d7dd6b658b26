//! The cgroups that containers have, as the tables of membership know them: a container that was there before the
//! agent is named by its own, wherever its tasks are by now.

use aya::maps::{HashMap, Map, MapError};
use aya::{Ebpf, Pod};
use shrike_common::{CgroupId, ContainerId, Filler};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Entry(Filler);

// SAFETY: it consists of integers, without padding.
unsafe impl Pod for Entry {}

/// Reads them.
pub(super) fn read(ebpf: &Ebpf) -> Result<Vec<(CgroupId, ContainerId)>, MapError> {
    const NAME: &str = "FILLERS";
    let no_map = || MapError::InvalidName { name: NAME.to_owned() };
    let map: &Map = ebpf.map(NAME).ok_or_else(no_map)?;
    let fillers: HashMap<_, u64, Entry> = HashMap::try_from(map)?;
    let mut homes = Vec::new();
    for entry in &fillers {
        let (cgroup, Entry(filler)) = entry?;
        if filler.container != 0 {
            homes.push((CgroupId(cgroup), ContainerId(filler.container)));
        }
    }
    Ok(homes)
}
