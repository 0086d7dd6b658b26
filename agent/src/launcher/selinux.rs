//! The contexts that `SELinux` knows a container's processes and files by: by default those that the host's policy
//! has for containers, with categories that no other container has, so that none can reach what is another's.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sys::statfs::statfs;
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::security::LabelPart;
use super::signal::Signals;
use super::spec::Joined;
use super::state::{self, State};
use super::{LauncherError, Sharing, Spec, Tried};

/// Where the kernel takes its policy.
const FILE_SYSTEM: &str = "/sys/fs/selinux";

/// `SELINUX_MAGIC` (`linux/magic.h`).
const MAGIC: u32 = 0xf97c_ff8c;

/// Where a host has what belongs to its policies, and which one it has.
const POLICIES: &str = "/etc/selinux";
const CONFIG: &str = "/etc/selinux/config";

/// How many categories policies have.
const CATEGORIES: u16 = 1024;

/// What a container's processes and files are known by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Contexts {
    /// The context of its processes.
    pub(crate) process: String,
    /// That of the files in file systems of its own.
    pub(crate) files: String,
    /// That of files which other containers may use as well: it has no categories.
    pub(crate) shared_files: String,
}

/// A security context: `USER:ROLE:TYPE`, with `:LEVEL` where the policy has levels.
#[derive(Clone, Debug, Eq, PartialEq)]
struct SecurityContext {
    user: String,
    role: String,
    kind: String,
    level: Option<String>,
}

/// What a policy says of containers (`lxc_contexts`).
struct Defaults {
    process: SecurityContext,
    files: SecurityContext,
}

impl Contexts {
    /// Those of a container that is about to be started; none if it is not to have any, or where `SELinux` is not
    /// active. They are written down before anything has them, and are the same at its next start.
    pub(super) fn provide(
        state: &mut State,
        signals: &Signals,
    ) -> Result<Option<Self>, LauncherError> {
        let Some(defaults) = Defaults::of(state.spec())? else {
            state.take_contexts(None)?;
            return Ok(None);
        };
        // No other container gets the same categories meanwhile.
        let _lock = state::lock_all(|| signals.check())?;
        let spec = state.spec();
        let joined = joined(spec)?;
        let kept = state.contexts().and_then(|contexts| level(&contexts.process));
        let own = || {
            kept.map_or_else(|| free_categories(spec), |level| Ok(categories(&level).to_owned()))
        };
        let contexts = Self::of(defaults, spec.security.label(), joined, own)?;
        check(&contexts.process)?;
        check(&contexts.files)?;
        state.take_contexts(Some(contexts.clone()))?;
        Ok(Some(contexts))
    }

    /// Those that are asked for by `parts`; what is not, is as `joined` has it, or else the policy's, with
    /// categories of its own.
    fn of(
        defaults: Defaults,
        parts: &[LabelPart],
        joined: Option<Self>,
        own: impl FnOnce() -> Result<String, LauncherError>,
    ) -> Result<Self, LauncherError> {
        let Defaults { mut process, mut files } = defaults;
        let joined = joined.and_then(|joined| joined.parsed());
        let is_joined = joined.is_some();
        if let Some(joined) = joined {
            (process, files) = joined;
        }
        let mut asked = None;
        for part in parts.iter().cloned() {
            match part {
                LabelPart::User(user) => {
                    files.user.clone_from(&user);
                    process.user = user;
                }
                LabelPart::Role(role) => process.role = role,
                LabelPart::Type(kind) => process.kind = kind,
                LabelPart::FileType(kind) => files.kind = kind,
                LabelPart::Level(level) => asked = Some(level),
                LabelPart::Disable => {}
            }
        }
        if asked.is_none()
            && !is_joined
            && let Some(policys) = &process.level
        {
            asked = Some(format!("{}:{}", sensitivity(policys), own()?));
        }
        if asked.is_some() {
            files.level.clone_from(&asked);
            process.level = asked;
        }
        let level = files.level.as_deref().map(|level| sensitivity(level).to_owned());
        let shared = SecurityContext { level, ..files.clone() };
        Ok(Self {
            process: process.to_string(),
            files: files.to_string(),
            shared_files: shared.to_string(),
        })
    }

    fn parsed(&self) -> Option<(SecurityContext, SecurityContext)> {
        Some((self.process.parse().ok()?, self.files.parse().ok()?))
    }
}

/// A level, or the lower end of a range, without its categories.
fn sensitivity(level: &str) -> &str {
    level.split([':', '-']).next().unwrap_or_default()
}

/// The categories of a level.
fn categories(level: &str) -> &str {
    level.split_once(':').map_or("", |(_, categories)| categories)
}

/// The options of a file system that is mounted by `mount(2)`, whose files are known by this context.
pub(super) fn options(options: &str, context: Option<&str>) -> String {
    match context {
        // Levels have commas.
        Some(context) if options.is_empty() => format!("context=\"{context}\""),
        Some(context) => format!("{options},context=\"{context}\""),
        None => options.to_owned(),
    }
}

/// The context of the launcher; none where `SELinux` is not active, or has no policy yet.
fn own() -> Result<Option<SecurityContext>, LauncherError> {
    const ATTRIBUTE: &str = "/proc/thread-self/attr/current";
    let is_active = statfs(FILE_SYSTEM).is_ok_and(|stat| {
        u32::try_from(stat.filesystem_type().0).is_ok_and(|magic| magic == MAGIC)
    });
    if !is_active {
        return Ok(None);
    }
    let text = fs::read_to_string(ATTRIBUTE).tried(|| format!("read {ATTRIBUTE}"))?;
    Ok(text.trim_end_matches(['\0', '\n']).parse().ok())
}

/// An error if the policy knows no such context (`security_check_context(3)`).
fn check(context: &str) -> Result<(), LauncherError> {
    let asked = OpenOptions::new().write(true).open(Path::new(FILE_SYSTEM).join("context"));
    // Where nobody may ask, what needs the context will be refused.
    let Ok(mut asked) = asked else { return Ok(()) };
    match asked.write_all(context.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(LauncherError::NoContext(context.to_owned()))
        }
        told => told.tried(|| format!("ask whether there is the context {context}")),
    }
}

/// The file of the host's policy that has contexts for containers.
fn defaults_file() -> Result<PathBuf, LauncherError> {
    let config = match fs::read_to_string(CONFIG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.tried(|| format!("read {CONFIG}"))?,
    };
    let policy = setting(&config, "SELINUXTYPE").unwrap_or_else(|| "targeted".to_owned());
    Ok(Path::new(POLICIES).join(policy).join("contexts/lxc_contexts"))
}

/// What a file of `NAME=VALUE` says.
fn setting(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let value = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value).next_back()?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The contexts of the container whose processes or objects this one shares: it could not reach them with others.
fn joined(spec: &Spec) -> Result<Option<Contexts>, LauncherError> {
    let mut joined: Option<Contexts> = None;
    for sharing in [&spec.pid, &spec.ipc] {
        let Sharing::Joined(Joined::Container(id)) = sharing else { continue };
        let record = Record::read(&state::folder(id))?;
        let Some(contexts) = record.and_then(|record| record.selinux) else { continue };
        if joined.as_ref().is_some_and(|other| other.process != contexts.process) {
            return Err(LauncherError::DifferentContexts);
        }
        joined = Some(contexts);
    }
    Ok(joined)
}

/// Two categories that no other container here has both of.
fn free_categories(spec: &Spec) -> Result<String, LauncherError> {
    /// More than there are pairs: then all are taken.
    const TRIES: u32 = 1 << 20;
    let mut taken = BTreeSet::new();
    for id in state::all().into_iter().filter(|id| *id != spec.id) {
        // One that is being removed, or that another release has written.
        let Ok(Some(record)) = Record::read(&state::folder(&id)) else { continue };
        let level = record.selinux.and_then(|contexts| level(&contexts.process));
        taken.extend(level.map(|level| categories(&level).to_owned()));
    }
    let mut random = fastrand::Rng::new();
    for _ in 0..TRIES {
        let (one, other) = (random.u16(..CATEGORIES), random.u16(..CATEGORIES));
        let categories = format!("c{},c{}", one.min(other), one.max(other));
        if one != other && !taken.contains(&categories) {
            return Ok(categories);
        }
    }
    Err(LauncherError::Setup("all categories of SELinux are taken".to_owned()))
}

/// The level of a context.
fn level(context: &str) -> Option<String> {
    context.parse::<SecurityContext>().ok()?.level
}

impl Defaults {
    /// What a container's contexts are made of; none if it is not to have any.
    fn of(spec: &Spec) -> Result<Option<Self>, LauncherError> {
        let parts = spec.security.label();
        // It is to see the host's, as with Docker.
        let is_open = spec.privileged || spec.pid == Sharing::Host || spec.ipc == Sharing::Host;
        if parts.contains(&LabelPart::Disable) || parts.is_empty() && is_open {
            return Ok(None);
        }
        let Some(own) = own()? else {
            return if parts.is_empty() { Ok(None) } else { Err(LauncherError::NoSelinux) };
        };
        let path = defaults_file()?;
        let defaults = match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text)
                .ok_or_else(|| io::Error::other("it has no contexts as `process` and `file`")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) if parts.is_empty() => {
                tracing::warn!(
                    "this host's policy of SELinux has no contexts for containers ({}): the command keeps \
                     the launcher's, {own}",
                    path.display()
                );
                return Ok(None);
            }
            Err(_) if parts.iter().any(|part| matches!(part, LabelPart::FileType(_))) => {
                Ok(Self::like(own))
            }
            Err(_) => return Err(LauncherError::NoFileType(path)),
        };
        defaults.map(Some).tried(|| format!("read {}", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let context = |name| setting(text, name)?.parse().ok();
        Some(Self { process: context("process")?, files: context("file")? })
    }

    /// Those of a policy that has none: like the launcher's own, but for what is asked for.
    fn like(process: SecurityContext) -> Self {
        let files = SecurityContext { role: "object_r".to_owned(), ..process.clone() };
        Self { process, files }
    }
}

impl FromStr for SecurityContext {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some(user), Some(role), Some(kind)) = (part(), part(), part()) else { return Err(()) };
        Ok(Self { user, role, kind, level: part() })
    }
}

impl fmt::Display for SecurityContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, role, kind, level } = self;
        write!(f, "{user}:{role}:{kind}")?;
        level.as_ref().map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LXC_CONTEXTS: &str = "process = \"system_u:system_r:container_t:s0\"\n\
        content = \"system_u:object_r:virt_var_lib_t:s0\"\n\
        file = \"system_u:object_r:container_file_t:s0\"\n";

    fn chosen(parts: &[LabelPart]) -> Contexts {
        let defaults = Defaults::parse(LXC_CONTEXTS).unwrap();
        Contexts::of(defaults, parts, None, || Ok("c1,c2".to_owned())).unwrap()
    }

    #[test]
    fn containers_have_the_policys_contexts_and_categories_of_their_own() {
        let contexts = chosen(&[]);
        assert_eq!(contexts.process, "system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(contexts.files, "system_u:object_r:container_file_t:s0:c1,c2");
        assert_eq!(contexts.shared_files, "system_u:object_r:container_file_t:s0");
    }

    #[test]
    fn each_part_can_be_another() {
        let contexts = chosen(&[
            LabelPart::User("u".into()),
            LabelPart::Role("r".into()),
            LabelPart::Type("t".into()),
            LabelPart::FileType("f".into()),
            LabelPart::Level("s0:c5.c7".into()),
        ]);
        assert_eq!(contexts.process, "u:r:t:s0:c5.c7");
        assert_eq!(contexts.files, "u:object_r:f:s0:c5.c7");
    }

    #[test]
    fn what_is_joined_is_like_the_other() {
        let other = chosen(&[LabelPart::Type("t".into()), LabelPart::Level("s0:c8,c9".into())]);
        let own = || panic!("it has the other's");
        let of = |parts: &[LabelPart]| {
            let defaults = Defaults::parse(LXC_CONTEXTS).unwrap();
            Contexts::of(defaults, parts, Some(other.clone()), own).unwrap()
        };
        assert_eq!(of(&[]), other);
        assert_eq!(of(&[LabelPart::Type("x".into())]).process, "system_u:system_r:x:s0:c8,c9");
    }

    #[test]
    fn a_policy_without_levels_has_none() {
        let own: SecurityContext = "u:r:t".parse().unwrap();
        let contexts = Contexts::of(Defaults::like(own), &[], None, || panic!("there are none"));
        let contexts = contexts.unwrap();
        assert_eq!((&*contexts.process, &*contexts.files), ("u:r:t", "u:object_r:t"));
        assert!(
            "u:r".parse::<SecurityContext>().is_err()
                && "kernel".parse::<SecurityContext>().is_err()
        );
    }

    #[test]
    fn file_systems_are_told_in_quotes() {
        assert_eq!(options("", None), "");
        assert_eq!(options("size=1", Some("u:r:t:s0:c1,c2")), "size=1,context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(options("", Some("u:r:t")), "context=\"u:r:t\"");
    }
}
