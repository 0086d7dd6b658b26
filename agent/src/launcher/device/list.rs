//! The devices that a cgroup of v1 lists: one that is not listed cannot be used.

use std::collections::BTreeSet;

use cgroups_rs::fs::DeviceResource;
use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::fs::error::Error;

use super::rule::{Rule, Verdict};
use crate::launcher::spec::{Access, DeviceKind, DeviceRule};

/// Why a list is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(
        "cannot have the cgroup {0}: where the launcher itself may not use a device, its containers \
         may not either"
    )]
    Write(String, #[source] Error),
    #[error("cannot read the devices of the cgroup")]
    Read(#[source] Error),
    #[error("the cgroup should list the devices {wanted:?} and lists {found:?}")]
    NotTaken { wanted: BTreeSet<String>, found: BTreeSet<String> },
}

/// What stands for any number.
const ANY: i64 = -1;

/// Writes the rules one after the other, and reads what the kernel has made of them.
pub(super) fn set(controller: &DevicesController, rules: &[Rule]) -> Result<(), ListError> {
    for rule in rules {
        write(controller, *rule).map_err(|source| ListError::Write(rule.to_string(), source))?;
    }
    let wanted: BTreeSet<String> = listed(rules).iter().map(ToString::to_string).collect();
    let found = controller.allowed_devices().map_err(ListError::Read)?;
    let found: BTreeSet<String> = found.iter().map(line).collect();
    if found == wanted { Ok(()) } else { Err(ListError::NotTaken { wanted, found }) }
}

fn write(controller: &DevicesController, rule: Rule) -> Result<(), Error> {
    let DeviceRule { kind, major, minor, access } = rule.devices;
    let kind = match kind {
        None => DeviceType::All,
        Some(DeviceKind::Block) => DeviceType::Block,
        Some(DeviceKind::Char) => DeviceType::Char,
    };
    let [major, minor] = [major, minor].map(|number| number.map_or(ANY, i64::from));
    let all = [
        (Access::READ, DevicePermissions::Read),
        (Access::WRITE, DevicePermissions::Write),
        (Access::MAKE, DevicePermissions::MkNod),
    ];
    let access: Vec<_> =
        all.into_iter().filter(|&(one, _)| access.has(one)).map(|(_, name)| name).collect();
    match rule.verdict {
        Verdict::Allow => controller.allow_device(kind, major, minor, &access),
        Verdict::Deny => controller.deny_device(kind, major, minor, &access),
    }
}

/// What the kernel lists after such rules: one line for the same numbers.
fn listed(rules: &[Rule]) -> Vec<DeviceRule> {
    let mut list: Vec<DeviceRule> = Vec::new();
    for &Rule { verdict, devices } in rules {
        let has_all = list.iter().any(|listed| listed.kind.is_none());
        let is_same = |listed: &&mut DeviceRule| listed.is_of_same(devices);
        match (verdict, list.iter_mut().find(is_same)) {
            (Verdict::Deny, _) if devices.kind.is_none() => list.clear(),
            (Verdict::Allow, _) if devices.kind.is_none() => list = vec![devices],
            (Verdict::Deny, Some(same)) => same.access = same.access.without(devices.access),
            (Verdict::Allow, Some(same)) => same.access = same.access.union(devices.access),
            (Verdict::Allow, None) if !has_all => list.push(devices),
            (_, None) => {}
        }
    }
    list.retain(|listed| listed.access != Access::NONE);
    list
}

/// A line as it was read.
fn line(listed: &DeviceResource) -> String {
    let [major, minor] = [listed.major, listed.minor].map(|number| match number {
        ANY => "*".to_owned(),
        number => number.to_string(),
    });
    let access: String = listed.access.iter().map(DevicePermissions::to_char).collect();
    format!("{} {major}:{minor} {access}", listed.devtype.to_char())
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::rules;
    use super::*;

    #[test]
    fn rules_become_lines_as_the_kernel_has_them() {
        let lines = |texts: &[&str]| -> Vec<String> {
            listed(&rules(texts)).iter().map(ToString::to_string).collect()
        };
        let some = ["deny a *:* rwm", "allow c 1:3 r", "allow b 7:0 rw", "allow c 1:3 wm"];
        assert_eq!(lines(&some), ["c 1:3 rwm", "b 7:0 rw"]);
        let taken = [&some[..], &["deny c 1:3 wm", "deny b 7:0 rwm", "deny b 8:0 r"]].concat();
        assert_eq!(lines(&taken), ["c 1:3 r"]);
        let all = [&some[..], &["allow a *:* rwm", "allow c 5:1 r"]].concat();
        assert_eq!(lines(&all), ["a *:* rwm"]);
        assert!(lines(&[&some[..], &["deny a *:* rwm"]].concat()).is_empty());
        let read = DeviceResource {
            allow: true,
            devtype: DeviceType::Block,
            major: 7,
            minor: ANY,
            access: vec![DevicePermissions::Read, DevicePermissions::MkNod],
        };
        assert_eq!(line(&read), "b 7:* rm");
    }
}
