//! What a container sees beside its root file system.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Size, SpecError};

/// A file system in memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Tmpfs {
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    /// Whether nobody can write it.
    pub(crate) read_only: bool,
    /// Whether programs on it can be executed.
    pub(crate) exec: bool,
    /// What the file system itself is told (`tmpfs(5)`).
    pub(crate) options: String,
}

/// A file or folder of the host that the container sees.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Volume {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    /// Whether the container cannot write it.
    pub(crate) read_only: bool,
    /// Whether its files belong to the users of the container who have the same ids as their owners.
    pub(crate) idmap: bool,
    /// Whether it shows what is mounted later.
    pub(crate) propagation: Propagation,
    /// Whose its files are, to `SELinux`; if not given, whose they were.
    pub(crate) relabel: Option<Relabel>,
}

/// To whom the label of `SELinux` gives a volume's files.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Relabel {
    /// To all containers.
    Shared,
    /// To this one.
    Private,
}

/// Where that shows which is mounted below a volume later (`mount_namespaces(7)`). It holds for what is mounted there
/// already, too, with or without the `r` that Docker has for that.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Propagation {
    /// Where it is mounted: on the host, or in the container.
    #[default]
    Private,
    /// In the container, too, if it is mounted on the host.
    Slave,
    /// In both.
    Shared,
}

/// What `--mount` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mount {
    Volume(Volume),
    Tmpfs(Tmpfs),
}

impl Propagation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "private" | "rprivate" => Some(Self::Private),
            "slave" | "rslave" => Some(Self::Slave),
            "shared" | "rshared" => Some(Self::Shared),
            _ => None,
        }
    }
}

impl FromStr for Volume {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = text.split(':');
        let (source, target) = match (parts.next(), parts.next()) {
            (Some(source), Some(target)) => (PathBuf::from(source), PathBuf::from(target)),
            _ => return Err(SpecError::Volume),
        };
        let (mut read_only, mut idmap) = (false, false);
        let mut propagation = Propagation::default();
        let mut relabel = None;
        for option in parts.next().into_iter().flat_map(|options| options.split(',')) {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                "idmap" => idmap = true,
                "z" => relabel = Some(Relabel::Shared),
                "Z" => relabel = Some(Relabel::Private),
                _ => propagation = Propagation::parse(option).ok_or(SpecError::Volume)?,
            }
        }
        if parts.next().is_some() || !source.is_absolute() || !target.is_absolute() {
            return Err(SpecError::Volume);
        }
        if !is_below_root(&target) {
            return Err(SpecError::VolumeTarget);
        }
        Ok(Self { source, target, read_only, idmap, propagation, relabel })
    }
}

/// Whether an absolute path names something below the root, and cannot lead out of it.
pub(super) fn is_below_root(path: &Path) -> bool {
    let mut components = path.components().skip(1).peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

impl FromStr for Tmpfs {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const PASSED_ON: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let target = PathBuf::from(target);
        if !target.is_absolute() || !is_below_root(&target) {
            return Err(SpecError::Tmpfs);
        }
        let mut tmpfs = Self { target, read_only: false, exec: false, options: String::new() };
        let mut passed_on = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => tmpfs.read_only = true,
                "rw" => tmpfs.read_only = false,
                "exec" => tmpfs.exec = true,
                "noexec" => tmpfs.exec = false,
                _ if option.split_once('=').is_some_and(|(name, _)| PASSED_ON.contains(&name)) => {
                    passed_on.push(option);
                }
                _ => return Err(SpecError::Tmpfs),
            }
        }
        tmpfs.options = passed_on.join(",");
        Ok(tmpfs)
    }
}

/// A `--mount` that is being read.
#[derive(Default)]
struct Fields {
    source: Option<PathBuf>,
    target: Option<PathBuf>,
    is_tmpfs: Option<bool>,
    read_only: bool,
    idmap: Option<bool>,
    propagation: Option<Propagation>,
    /// What tmpfs is told.
    options: Vec<String>,
}

impl FromStr for Mount {
    type Err = SpecError;

    /// Fields in Docker's format: `NAME=VALUE` or `NAME`, separated by commas, and quoted if they have some.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut fields = Fields::default();
        for field in split(text)? {
            fields.add(&field)?;
        }
        fields.mount()
    }
}

impl Fields {
    fn add(&mut self, field: &str) -> Result<(), SpecError> {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field, None),
        };
        let wrong = |what: &str| SpecError::Mount(format!("{field:?}: {what}"));
        let yes = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(wrong("expected true or false")),
        };
        let given =
            || value.filter(|value| !value.is_empty()).ok_or_else(|| wrong("expected a value"));
        let path = || {
            let path = PathBuf::from(given()?);
            if path.is_absolute() { Ok(path) } else { Err(wrong("expected an absolute path")) }
        };
        match name {
            "type" => {
                self.is_tmpfs = match given()? {
                    "bind" => Some(false),
                    "tmpfs" => Some(true),
                    _ => return Err(wrong("there are type=bind and type=tmpfs")),
                };
            }
            "source" | "src" => self.source = Some(path()?),
            "target" | "destination" | "dst" => self.target = Some(path()?),
            "readonly" | "ro" => self.read_only = yes()?,
            "idmap" => self.idmap = Some(yes()?),
            "bind-propagation" => {
                let known = || wrong("expected private, slave or shared, with r before it or not");
                self.propagation = Some(Propagation::parse(given()?).ok_or_else(known)?);
            }
            "tmpfs-size" => {
                let Size(bytes) =
                    given()?.parse().map_err(|_| wrong("expected a size like 64m"))?;
                self.options.push(format!("size={bytes}"));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(given()?, 8).ok().filter(|&mode| mode <= 0o7777);
                let mode = mode.ok_or_else(|| wrong("expected an octal mode like 1777"))?;
                self.options.push(format!("mode={mode:o}"));
            }
            _ => return Err(wrong("there is no such field")),
        }
        Ok(())
    }

    fn mount(self) -> Result<Mount, SpecError> {
        let Self { source, target, is_tmpfs, read_only, idmap, propagation, options } = self;
        let wrong = |what: &str| SpecError::Mount(what.to_owned());
        let target = target.ok_or_else(|| wrong("expected a target=PATH"))?;
        if !is_below_root(&target) {
            return Err(SpecError::VolumeTarget);
        }
        // Docker takes what has no type for a volume of its own, which there is not.
        match is_tmpfs.ok_or_else(|| wrong("expected type=bind or type=tmpfs"))? {
            true if source.is_some() || idmap.is_some() || propagation.is_some() => {
                Err(wrong("type=tmpfs has no source, idmap or bind-propagation"))
            }
            false if !options.is_empty() => Err(wrong("type=bind has no tmpfs-size or tmpfs-mode")),
            true => {
                let options = options.join(",");
                Ok(Mount::Tmpfs(Tmpfs { target, read_only, exec: false, options }))
            }
            false => Ok(Mount::Volume(Volume {
                source: source.ok_or_else(|| wrong("expected a source=PATH"))?,
                target,
                read_only,
                idmap: idmap.unwrap_or_default(),
                propagation: propagation.unwrap_or_default(),
                relabel: None,
            })),
        }
    }
}

/// The fields of a line of comma-separated values (RFC 4180).
fn split(text: &str) -> Result<Vec<String>, SpecError> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let Some(field) = fields.last_mut() else { break };
        match letter {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                field.push('"');
                rest.next();
            }
            '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    if is_quoted { Err(SpecError::Mount("a quote without an end".to_owned())) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_volumes() {
        let volume = |text: &str| text.parse::<Volume>();
        let options = |text: &str| volume(text).map(|volume| (volume.read_only, volume.idmap));
        let expected = Volume {
            source: "/srv/data".into(),
            target: "/data".into(),
            read_only: true,
            idmap: false,
            propagation: Propagation::Private,
            relabel: None,
        };
        assert_eq!(volume("/srv/data:/data:ro"), Ok(expected));
        let relabel = |text: &str| volume(text).map(|volume| volume.relabel);
        assert_eq!(relabel("/a:/b:z"), Ok(Some(Relabel::Shared)));
        assert_eq!(relabel("/a:/b:ro,Z"), Ok(Some(Relabel::Private)));
        assert_eq!(options("/a:/b"), Ok((false, false)));
        assert_eq!(options("/a:/b:rw"), Ok((false, false)));
        assert_eq!(options("/a:/b:idmap"), Ok((false, true)));
        assert_eq!(options("/a:/b:ro,idmap"), Ok((true, true)));
        for bad in ["/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:", "/a:/b:ro,", "/a:/b:ro:ro", ""] {
            assert_eq!(volume(bad), Err(SpecError::Volume), "{bad:?}");
        }
        for bad in ["/a:/", "/a:/b/../..", "/a:/.."] {
            assert_eq!(volume(bad), Err(SpecError::VolumeTarget), "{bad:?}");
        }
    }

    #[test]
    fn reads_where_mounts_show() {
        let propagation = |text: &str| text.parse::<Volume>().map(|volume| volume.propagation);
        assert_eq!(propagation("/a:/b"), Ok(Propagation::Private));
        assert_eq!(propagation("/a:/b:ro,rslave"), Ok(Propagation::Slave));
        assert_eq!(propagation("/a:/b:shared"), Ok(Propagation::Shared));
        assert_eq!(propagation("/a:/b:rprivate"), Ok(Propagation::Private));
        assert_eq!(propagation("/a:/b:unbindable"), Err(SpecError::Volume));
    }

    #[test]
    fn reads_mounts_as_docker_does() {
        let volume = |text: &str| match text.parse() {
            Ok(Mount::Volume(volume)) => volume,
            other => panic!("{other:?}"),
        };
        let plain = volume("type=bind,source=/srv,target=/data");
        assert_eq!(plain, "/srv:/data".parse().unwrap());
        let all =
            volume("type=bind,src=/srv,dst=/data,readonly,bind-propagation=rslave,idmap=true");
        assert_eq!(all, "/srv:/data:ro,idmap,rslave".parse().unwrap());
        assert!(!volume("type=bind,src=/a,destination=/b,ro=false").read_only);
        let quoted = volume(r#"type=bind,"src=/a,b","dst=/say ""x"" twice""#);
        let expected = ("/a,b".into(), r#"/say "x" twice"#.into());
        assert_eq!((quoted.source, quoted.target), expected);
        let tmpfs = "type=tmpfs,dst=/run,tmpfs-size=64k,tmpfs-mode=0700,ro".parse();
        let options = "size=65536,mode=700".to_owned();
        let expected = Tmpfs { target: "/run".into(), read_only: true, exec: false, options };
        assert_eq!(tmpfs, Ok(Mount::Tmpfs(expected)));
        for bad in [
            "",
            "type=bind",
            "source=/a,target=/b",
            "type=volume,source=/a,target=/b",
            "type=bind,target=/b",
            "type=bind,source=a,target=/b",
            "type=bind,source=/a,target=/b,x",
            "type=bind,source=/a,target=/b,ro=2",
            "type=bind,source=/a,target=/b,bind-propagation=",
            "type=bind,source=/a,target=/b,tmpfs-size=1m",
            "type=bind,source=/a,\"target=/b",
            "type=tmpfs,source=/a,target=/b",
            "type=tmpfs,target=/b,tmpfs-mode=8",
            "type=tmpfs,target=/b,tmpfs-size=x",
        ] {
            assert!(matches!(bad.parse::<Mount>(), Err(SpecError::Mount(_))), "{bad:?}");
        }
        assert_eq!("type=tmpfs,target=/".parse::<Mount>(), Err(SpecError::VolumeTarget));
    }

    #[test]
    fn reads_file_systems_in_memory() {
        let tmpfs: Tmpfs = "/run:size=1m,exec,ro,mode=755".parse().unwrap();
        assert_eq!(
            (tmpfs.exec, tmpfs.read_only, &*tmpfs.options),
            (true, true, "size=1m,mode=755")
        );
        let tmpfs: Tmpfs = "/run".parse().unwrap();
        assert_eq!((tmpfs.exec, tmpfs.read_only, &*tmpfs.options), (false, false, ""));
        for bad in ["", "run", "/", "/a/../..", "/run:dev", "/run:size", "/run:huge=always"] {
            assert_eq!(bad.parse::<Tmpfs>(), Err(SpecError::Tmpfs), "{bad:?}");
        }
    }
}
