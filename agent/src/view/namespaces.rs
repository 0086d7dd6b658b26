//! Namespaces in JSON: the number of each that is known, by its name in `/proc/PID/ns`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serializer};
use shrike_common::{Namespaces, NsId, NsType};

/// Writes them.
pub(super) fn serialize<S: Serializer>(ns: &Namespaces, serializer: S) -> Result<S::Ok, S::Error> {
    let all = NsType::ALL.into_iter().map(|ty| (ty.name(), ns.get(ty).0));
    serializer.collect_map(all.filter(|&(_, id)| id != 0))
}

/// Reads them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Namespaces, D::Error> {
    let ids: BTreeMap<String, u32> = BTreeMap::deserialize(from)?;
    let mut ns = Namespaces::default();
    for ty in NsType::ALL {
        *ns.get_mut(ty) = NsId(ids.get(ty.name()).copied().unwrap_or_default());
    }
    Ok(ns)
}
