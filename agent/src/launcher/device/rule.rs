//! What a container may do with which devices.

use std::fmt;

use crate::launcher::spec::{Access, DeviceKind, DeviceRule};

/// What may be done with devices, or may not. Of several that hold, the last one counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) verdict: Verdict,
    pub(super) devices: DeviceRule,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// If all of what is wanted is among what may be done.
    Allow,
    /// If any of what is wanted is among what may not be done.
    Deny,
}

/// Terminals: the console, the multiplexer, and those in `/dev/pts`.
const TERMINALS: [(u32, Option<u32>); 3] = [(5, Some(1)), (5, Some(2)), (136, None)];

/// All devices.
const ANY: DeviceRule = DeviceRule { kind: None, major: None, minor: None, access: Access::ALL };

impl Rule {
    pub(super) const fn allow(devices: DeviceRule) -> Self {
        Self { verdict: Verdict::Allow, devices }
    }

    /// Whether it holds for everything.
    pub(super) fn is_of_all(self) -> bool {
        self.devices == ANY
    }
}

/// What Docker and runc let every container do beside using the standard devices: files may be made of
/// all devices, since only opening them does something.
pub(super) fn defaults() -> Vec<Rule> {
    let mut rules = vec![Rule { verdict: Verdict::Deny, devices: ANY }];
    rules.extend(
        [DeviceKind::Char, DeviceKind::Block]
            .map(|kind| Rule::allow(DeviceRule { kind: Some(kind), access: Access::MAKE, ..ANY })),
    );
    rules.extend(TERMINALS.map(|(major, minor)| {
        Rule::allow(DeviceRule { kind: Some(DeviceKind::Char), major: Some(major), minor, ..ANY })
    }));
    rules
}

/// Allows something more. What is allowed with the same devices is allowed at once.
pub(super) fn allow(rules: &mut Vec<Rule>, devices: DeviceRule) {
    let is_same =
        |rule: &&mut Rule| rule.verdict == Verdict::Allow && rule.devices.is_of_same(devices);
    match rules.iter_mut().find(is_same) {
        Some(same) => same.devices.access = same.devices.access.union(devices.access),
        None => rules.push(Rule::allow(devices)),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        write!(f, "{verdict} {}", self.devices)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Reads them as they are shown.
    pub(in crate::launcher::device) fn rules(lines: &[&str]) -> Vec<Rule> {
        let rule = |line: &&str| {
            let (verdict, devices) = line.split_once(' ').unwrap();
            let verdict = if verdict == "allow" { Verdict::Allow } else { Verdict::Deny };
            Rule { verdict, devices: devices.parse().unwrap() }
        };
        lines.iter().map(rule).collect()
    }

    #[test]
    fn the_defaults_are_those_of_docker() {
        let lines = [
            "deny a *:* rwm",
            "allow c *:* m",
            "allow b *:* m",
            "allow c 5:1 rwm",
            "allow c 5:2 rwm",
            "allow c 136:* rwm",
        ];
        assert_eq!(defaults(), rules(&lines));
        let shown: Vec<String> = defaults().iter().map(ToString::to_string).collect();
        assert_eq!(shown, lines);
    }

    #[test]
    fn what_is_allowed_twice_is_allowed_at_once() {
        let mut found = rules(&["deny a *:* rwm", "allow b 7:0 r"]);
        for more in ["b 7:1 r", "b 7:0 w", "c 7:0 w", "a *:* rwm"] {
            allow(&mut found, more.parse().unwrap());
        }
        let lines = [
            "deny a *:* rwm",
            "allow b 7:0 rw",
            "allow b 7:1 r",
            "allow c 7:0 w",
            "allow a *:* rwm",
        ];
        assert_eq!(found, rules(&lines));
    }
}
