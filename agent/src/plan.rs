//! The filter plan: what the probes are to send, computed from the rules. Each table of
//! [`shrike_common::Plan`] is filled by asking every alternative about every value of the property,
//! under the name that the rules know it by.

use std::collections::BTreeMap;

use shrike_common::{Alternatives, Kind, Membership, Need, Plan};
use shrike_rules::{Alternative, FieldId, KindSet, Ruleset, Value};

use crate::detect::{HOST, property};

/// Prefixes of paths, and the alternatives that accept what starts so.
pub(crate) type Prefixes = BTreeMap<Vec<u8>, Alternatives>;

/// What is wanted of every kind.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    kinds: Vec<KindPlan>,
    /// Whether containers are to be watched: not if somebody only looks at events.
    watches: bool,
}

/// What is wanted of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KindPlan {
    /// The tables.
    pub(crate) tables: Plan,
    /// The prefixes of paths that decide; a text ends with NUL if it is a whole path.
    pub(crate) prefixes: Prefixes,
}

impl KindPlan {
    const NONE: Self = Self { tables: Plan::NONE, prefixes: Prefixes::new() };
}

/// The fields that the probes can decide by.
const KNOWN: &[FieldId] = &[
    FieldId::BpfCmd,
    FieldId::ContainerId,
    FieldId::ContainerMembership,
    FieldId::EvtFailed,
    FieldId::EvtIsOpenRead,
    FieldId::EvtIsOpenWrite,
    FieldId::EvtRaw,
    FieldId::EvtRawres,
    FieldId::EvtRes,
    FieldId::FdBoundFilename,
    FieldId::FdDirectory,
    FieldId::FdFilename,
    FieldId::FdFiletype,
    FieldId::FdFstype,
    FieldId::FdMountForeign,
    FieldId::FdName,
    FieldId::FdNum,
    FieldId::PtraceMode,
    FieldId::SocketFamily,
];

/// Whether the probes can decide by a field.
pub(crate) fn is_known(field: FieldId) -> bool {
    KNOWN.contains(&field)
}

impl Plans {
    /// What rules can match.
    pub(crate) fn of_rules(ruleset: &Ruleset) -> Self {
        let plan = |&kind: &Kind| kind_plan(kind, &ruleset.alternatives(kind, &is_known));
        Self { kinds: Kind::ALL.iter().map(plan).collect(), watches: true }
    }

    /// All events of some kinds, or all of them that containers' tasks cause; with what became of
    /// them, or as they begin.
    pub(crate) fn of_kinds(kinds: KindSet, only_containers: bool, results: bool) -> Self {
        let mut all = KindPlan { tables: Plan::ALL, prefixes: Prefixes::new() };
        if results {
            all.tables.outcome = Alternatives::MAX;
            all.tables.attempt = Alternatives::MAX;
        }
        if only_containers {
            for outside in [Membership::None, Membership::Entering] {
                all.tables.scope[outside as usize] = 0;
            }
        }
        let plan = |&kind: &Kind| if kinds.contains(kind) { all.clone() } else { KindPlan::NONE };
        let watches = kinds.contains(Kind::Breach);
        Self { kinds: Kind::ALL.iter().map(plan).collect(), watches }
    }

    /// What is wanted of a kind.
    pub(crate) fn of(&self, kind: Kind) -> &KindPlan {
        static NONE: KindPlan = KindPlan::NONE;
        self.kinds.get(kind as usize).unwrap_or(&NONE)
    }

    /// Whether events of a kind are to be sent at all.
    pub(crate) fn needs(&self, kind: Kind) -> bool {
        match kind {
            Kind::Breach => self.watches,
            _ => {
                kind.need() == Need::Always
                    || self.of(kind).tables.scope.iter().any(|&bits| bits != 0)
            }
        }
    }

    /// Whether it is asked what became of events of a kind.
    pub(crate) fn needs_outcome(&self, kind: Kind) -> bool {
        self.of(kind).tables.outcome != 0
    }
}

fn kind_plan(kind: Kind, alternatives: &[Alternative<'_>]) -> KindPlan {
    let mut tables = Plan::NONE;
    let bits = |allows: &dyn Fn(&Alternative<'_>) -> bool| accepting(alternatives, allows);
    for membership in Membership::ALL {
        // What others are called is not known in the kernel.
        let is_named = |one: &Alternative<'_>| {
            membership != Membership::None || allows(one, FieldId::ContainerId, HOST)
        };
        tables.scope[membership as usize] = bits(&|one| {
            allows(one, FieldId::ContainerMembership, membership.name()) && is_named(one)
        });
    }
    for (flags, entry) in (0..).zip(&mut tables.access) {
        *entry = bits(&|one| {
            allows(one, FieldId::EvtIsOpenRead, property::reads(flags))
                && allows(one, FieldId::EvtIsOpenWrite, property::writes(flags))
        });
    }
    for (class, entry) in (0..).zip(&mut tables.class) {
        // The last one stands for all that follow, too.
        let is_last = Plan::class_index(class + 1) == Plan::class_index(class);
        let fields = if is_last { Vec::new() } else { property::class(kind, class) };
        *entry =
            bits(&|one| fields.iter().all(|(field, value)| one.allows(*field, value.as_ref())));
    }
    tables.outcome = bits(&|one| one.asks_for_result());
    tables.given = bits(&|one| one.asks_for_given());
    tables.attempt = bits(&|one| one.asks_for_result() && property::can_fail(one));
    for foreign in [false, true] {
        tables.foreign[usize::from(foreign)] =
            bits(&|one| allows(one, FieldId::FdMountForeign, foreign));
    }
    // A file system without a name may have any number.
    tables.magic.fill(bits(&|one| one.allows(FieldId::FdFstype, None)));
    for (magic, name) in property::FILE_SYSTEMS {
        tables.magic[Plan::magic_index(magic)] |= bits(&|one| allows(one, FieldId::FdFstype, name));
    }
    for (number, alternative) in alternatives.iter().enumerate() {
        names(alternative, bit(number), &mut tables);
    }
    let prefixes = prefixes(alternatives, &mut tables);
    KindPlan { tables, prefixes }
}

/// The bit of an alternative. Those that are too many share one.
fn bit(number: usize) -> Alternatives {
    1 << number.min(Plan::ALTERNATIVES - 1)
}

fn accepting(
    alternatives: &[Alternative<'_>],
    allows: &dyn Fn(&Alternative<'_>) -> bool,
) -> Alternatives {
    let accepting = alternatives.iter().enumerate().filter(|(_, alternative)| allows(alternative));
    accepting.fold(0, |bits, (number, _)| bits | bit(number))
}

fn allows<'v>(alternative: &Alternative<'_>, field: FieldId, value: impl Into<Value<'v>>) -> bool {
    alternative.allows(field, Some(&value.into()))
}

/// The last names of paths that an alternative accepts.
fn names(alternative: &Alternative<'_>, bit: Alternatives, tables: &mut Plan) {
    let names = alternative.texts(FieldId::FdFilename).or_else(|| {
        let paths = alternative.texts(FieldId::FdName)?;
        // Of the root directory, the last name is its own.
        let name = |path: &Vec<u8>| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
        paths.iter().map(name).collect::<Option<Vec<_>>>()
    });
    let Some(names) = names.filter(|names| names.iter().all(|name| !name.is_empty())) else {
        tables.name.iter_mut().for_each(|entry| *entry |= bit);
        return;
    };
    for name in names {
        let Ok(len) = u32::try_from(name.len()) else { continue };
        let mut start = [0; 8];
        let count = name.len().min(start.len());
        start[..count].copy_from_slice(&name[..count]);
        tables.name[Plan::name_index(len, u64::from_le_bytes(start))] |= bit;
    }
}

/// The prefixes of paths that alternatives accept, and which of these the path decides.
fn prefixes(alternatives: &[Alternative<'_>], tables: &mut Plan) -> Prefixes {
    let mut wanted: Vec<(Vec<u8>, Alternatives)> = Vec::new();
    for (number, alternative) in alternatives.iter().enumerate() {
        let bit = bit(number);
        // Where several share a bit, no path decides.
        let shares = number + 1 >= Plan::ALTERNATIVES;
        let Some(prefixes) = path_prefixes(alternative).filter(|_| !shares) else { continue };
        tables.path |= bit;
        wanted.extend(prefixes.into_iter().map(|prefix| (prefix, bit)));
    }
    // The longest match answers alone: it has the bits of all that it starts with.
    let accepted = |text: &[u8]| {
        wanted
            .iter()
            .filter(|(prefix, _)| text.starts_with(prefix))
            .fold(0, |bits, (_, bit)| bits | bit)
    };
    wanted.iter().map(|(prefix, _)| (prefix.clone(), accepted(prefix))).collect()
}

/// Texts with one of which the path must start; with a NUL at the end, it is the whole path.
fn path_prefixes(alternative: &Alternative<'_>) -> Option<Vec<Vec<u8>>> {
    let with = |mut text: Vec<u8>, end: u8| {
        text.push(end);
        text
    };
    if let Some(paths) = alternative.texts(FieldId::FdName) {
        return Some(paths.into_iter().map(|path| with(path, 0)).collect());
    }
    if let Some(folders) = alternative.texts(FieldId::FdDirectory) {
        let inside = |folder: Vec<u8>| if folder == b"/" { folder } else { with(folder, b'/') };
        return Some(folders.into_iter().map(inside).collect());
    }
    alternative.prefixes(FieldId::FdName).or_else(|| alternative.prefixes(FieldId::FdDirectory))
}

#[cfg(test)]
mod soundness;
#[cfg(test)]
mod tests {
    use shrike_rules::Source;

    use super::*;

    fn plans(conditions: &[&str]) -> Plans {
        let rules: Vec<String> = conditions
            .iter()
            .enumerate()
            .map(|(number, condition)| {
                format!(
                    "- rule: R{number}\n  desc: d\n  output: o\n  priority: NOTICE\n  \
                     condition: >-\n    {condition}\n"
                )
            })
            .collect();
        let loaded = Ruleset::load(&[Source::new("r", &rules.concat())]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        Plans::of_rules(&loaded.ruleset)
    }

    fn name(plan: &Plan, name: &[u8]) -> Alternatives {
        let mut start = [0xAA; 8];
        let count = name.len().min(8);
        start[..count].copy_from_slice(&name[..count]);
        plan.name[Plan::name_index(u32::try_from(name.len()).unwrap(), u64::from_le_bytes(start))]
    }

    #[test]
    fn paths_as_they_were_given_are_read_for_those_who_ask() {
        let rule = |name: &str, condition: &str, output: &str| {
            format!(
                "- {{rule: {name}, desc: d, priority: info, output: '{output}', \
                 condition: evt.type = open and {condition}}}\n"
            )
        };
        let rules = [
            rule("A", "fd.nameraw contains x", "o"),
            rule("B", "fd.name = /x", "o"),
            rule("C", "fd.name = /y", "%fd.nameraw"),
        ];
        let loaded = Ruleset::load(&[Source::new("r", &rules.concat())]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        assert_eq!(Plans::of_rules(&loaded.ruleset).of(Kind::FileOpen).tables.given, 0b101);
    }

    #[test]
    fn what_no_rule_asks_for_is_not_needed() {
        let plans = plans(&["evt.type = openat and container.membership = member"]);
        assert!(plans.needs(Kind::FileOpen) && plans.needs(Kind::Exec));
        assert!(!plans.needs(Kind::Mount));
        assert_eq!(plans.of(Kind::FileOpen).tables.scope, [0, 1, 0]);
    }

    #[test]
    fn the_host_is_left_out_as_falco_says_it() {
        let of = |condition: &str| plans(&[condition]).of(Kind::Mount).tables.scope;
        assert_eq!(of("evt.type = mount and container.id != host"), [0, 1, 1]);
        assert_eq!(of("evt.type = mount and container.id = 0123456789ab"), [0, 1, 1]);
        assert_eq!(of("evt.type = mount and container.membership = entering"), [0, 0, 1]);
        assert_eq!(of("evt.type = mount and container.membership = member"), [0, 1, 0]);
    }

    #[test]
    fn files_are_told_apart_by_all_that_is_cheap() {
        let plans = plans(&[
            "evt.type = openat and fd.name in (/etc/shadow, /etc/a-name-of-more-than-31-characters)",
            "evt.type = openat and fd.filetype = block",
            "evt.type = openat and evt.is_open_write = true and fd.fstype = cgroup",
        ]);
        let KindPlan { tables, prefixes } = plans.of(Kind::FileOpen);
        assert_eq!(name(tables, b"shadow"), 0b111);
        assert_eq!(name(tables, b"a-name-of-more-than-31-characters"), 0b111);
        assert_eq!(name(tables, b"passwd"), 0b110);
        assert_eq!((tables.class[0o6], tables.class[0o10]), (0b111, 0b101));
        assert_eq!(tables.access, [0b011, 0b111, 0b111, 0b111]);
        assert_eq!(tables.magic[Plan::magic_index(0x27_E0EB)], 0b111);
        assert_eq!(tables.magic[Plan::magic_index(0xEF53)], 0b011);
        assert_eq!(tables.path, 0b001);
        assert_eq!(prefixes.get(&b"/etc/shadow\0"[..]), Some(&1));
    }

    #[test]
    fn the_longest_prefix_answers_for_the_shorter_ones() {
        let plans = plans(&[
            "evt.type = openat and fd.name startswith /etc",
            "evt.type = openat and fd.directory = /etc/ssh",
            "evt.type = openat and fd.name = /etc/ssh/key",
        ]);
        let prefixes = &plans.of(Kind::FileOpen).prefixes;
        let of = |text: &str| prefixes.get(text.as_bytes()).copied();
        assert_eq!(of("/etc"), Some(0b001));
        assert_eq!(of("/etc/ssh/"), Some(0b011));
        assert_eq!(of("/etc/ssh/key\0"), Some(0b111));
    }

    #[test]
    fn classes_are_the_kinds_own() {
        let plans = plans(&[
            "evt.type = socket and socket.family = AF_PACKET",
            "evt.type = bpf and not bpf.cmd = BPF_PROG_LOAD",
            "evt.type = ptrace and ptrace.mode = attach",
            "evt.type = connect and (fd.filename = a.sock or fd.bound.filename = a.sock)",
        ]);
        let class = |kind| plans.of(kind).tables.class;
        assert_eq!((class(Kind::Socket)[17], class(Kind::Socket)[2]), (1, 0));
        assert_eq!((class(Kind::Bpf)[5], class(Kind::Bpf)[28]), (0, 1));
        assert_eq!((class(Kind::Ptrace)[0], class(Kind::Ptrace)[1]), (0, 1));
        assert_eq!((class(Kind::Connect)[1], class(Kind::Connect)[2]), (0b11, 0));
        assert_eq!(class(Kind::Socket)[63], 1, "stands for unknown families");
    }

    #[test]
    fn too_many_alternatives_are_still_all_accepted() {
        let conditions: Vec<String> =
            (0..80).map(|n| format!("evt.type = openat and fd.name = /f{n}")).collect();
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let plans = plans(&conditions);
        let KindPlan { tables, prefixes } = plans.of(Kind::FileOpen);
        for n in 0..80_usize {
            let path = format!("/f{n}");
            let accepted = name(tables, &path.as_bytes()[1..]);
            assert_ne!(accepted & bit(n), 0, "{path}");
            let by_path = prefixes.get(format!("{path}\0").as_bytes()).copied().unwrap_or(0);
            assert_ne!(bit(n) & (by_path | !tables.path), 0, "{path}");
        }
    }

    #[test]
    fn watching_containers_leaves_out_the_host() {
        let plans = Plans::of_kinds([Kind::Mount].into_iter().collect(), true, false);
        assert_eq!(plans.of(Kind::Mount).tables.scope, [0, Alternatives::MAX, 0]);
        assert!(!plans.needs(Kind::Ptrace));
    }
}
