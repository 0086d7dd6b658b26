//! What `--security-opt` says.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One option, as Docker spells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SecurityOption {
    /// Whether no program gives the command more than it has.
    NoNewPrivileges(bool),
    /// The system calls that it may make.
    Seccomp(SeccompProfile),
    /// What `AppArmor` lets it do.
    AppArmor(AppArmorProfile),
    /// What of the kernel's file systems is neither masked nor read-only: everything.
    SystemPaths,
    /// A part of what `SELinux` knows it by.
    Label(LabelPart),
}

/// What `label=` says, as Docker spells it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LabelPart {
    /// The container has none of its own.
    Disable,
    /// The user of the processes' context.
    User(String),
    /// Its role.
    Role(String),
    /// Its type.
    Type(String),
    /// The level of processes and files.
    Level(String),
    /// The type of the files' context.
    #[serde(rename = "filetype")]
    FileType(String),
}

/// An `AppArmor` profile.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AppArmorProfile {
    /// One that is loaded into the kernel, by its name.
    Loaded(String),
    /// There is none.
    Unconfined,
}

/// Where a seccomp profile comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SeccompProfile {
    /// The launcher's own.
    Default,
    /// A file.
    File(PathBuf),
    /// There is none.
    Unconfined,
}

/// All of a container's options; the defaults depend on whether it is privileged.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Security {
    no_new_privs: Option<bool>,
    seccomp: Option<SeccompProfile>,
    apparmor: Option<AppArmorProfile>,
    system_paths: bool,
    label: Vec<LabelPart>,
}

/// Why an option is refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SecurityOptionError {
    #[error(
        "there is no option {0:?}: expected seccomp=FILE, seccomp=default, seccomp=unconfined, \
         apparmor=PROFILE, apparmor=unconfined, no-new-privileges[=true|false], \
         systempaths=unconfined, label=disable, or label=user:, role:, type:, level: or filetype: \
         and a name"
    )]
    Unknown(String),
    #[error("expected apparmor=PROFILE, the name of a loaded profile, or apparmor=unconfined")]
    AppArmor,
    #[error("expected seccomp=FILE, seccomp=default or seccomp=unconfined")]
    Seccomp,
    #[error("expected no-new-privileges, no-new-privileges=true or no-new-privileges=false")]
    NoNewPrivileges,
    #[error("expected systempaths=unconfined")]
    SystemPaths,
    #[error(
        "expected label=disable, or label=user:NAME, role:NAME, type:NAME, level:LEVEL or filetype:NAME \
         for a context of SELinux"
    )]
    Label,
}

impl Security {
    /// Whether `no_new_privs` is to be set.
    pub(super) fn no_new_privs(&self, privileged: bool) -> bool {
        self.no_new_privs.unwrap_or(!privileged)
    }

    /// The seccomp profile.
    pub(super) fn seccomp(&self, privileged: bool) -> &SeccompProfile {
        match &self.seccomp {
            Some(profile) => profile,
            None if privileged => &SeccompProfile::Unconfined,
            None => &SeccompProfile::Default,
        }
    }

    /// The file of the seccomp profile, if it is in one.
    pub(super) fn file(&mut self) -> Option<&mut PathBuf> {
        match &mut self.seccomp {
            Some(SeccompProfile::File(file)) => Some(file),
            _ => None,
        }
    }

    /// The name of the `AppArmor` profile, if there is to be one.
    pub(super) fn apparmor(&self) -> Option<&str> {
        match &self.apparmor {
            Some(AppArmorProfile::Loaded(name)) => Some(name),
            Some(AppArmorProfile::Unconfined) | None => None,
        }
    }

    /// What is asked for of the contexts of `SELinux`.
    pub(super) fn label(&self) -> &[LabelPart] {
        &self.label
    }

    /// Whether nothing of the kernel's file systems is masked or read-only.
    pub(super) fn shows_system_paths(&self) -> bool {
        self.system_paths
    }
}

/// The last one of a kind counts.
impl FromIterator<SecurityOption> for Security {
    fn from_iter<T: IntoIterator<Item = SecurityOption>>(options: T) -> Self {
        let mut security = Self::default();
        for option in options {
            match option {
                SecurityOption::NoNewPrivileges(is_set) => security.no_new_privs = Some(is_set),
                SecurityOption::Seccomp(profile) => security.seccomp = Some(profile),
                SecurityOption::AppArmor(profile) => security.apparmor = Some(profile),
                SecurityOption::SystemPaths => security.system_paths = true,
                SecurityOption::Label(part) => security.label.push(part),
            }
        }
        security
    }
}

impl FromStr for SecurityOption {
    type Err = SecurityOptionError;

    fn from_str(text: &str) -> Result<Self, SecurityOptionError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name, value) {
            ("no-new-privileges", None | Some("true")) => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", Some("false")) => Ok(Self::NoNewPrivileges(false)),
            ("no-new-privileges", Some(_)) => Err(SecurityOptionError::NoNewPrivileges),
            ("seccomp", None | Some("")) => Err(SecurityOptionError::Seccomp),
            ("seccomp", Some("default")) => Ok(Self::Seccomp(SeccompProfile::Default)),
            ("seccomp", Some("unconfined")) => Ok(Self::Seccomp(SeccompProfile::Unconfined)),
            ("seccomp", Some(file)) => Ok(Self::Seccomp(SeccompProfile::File(file.into()))),
            ("apparmor", Some("unconfined")) => Ok(Self::AppArmor(AppArmorProfile::Unconfined)),
            // The kernel takes what is behind these for more than a name.
            ("apparmor", Some(name)) if !name.is_empty() && !name.contains(['\n', '\0', '&']) => {
                Ok(Self::AppArmor(AppArmorProfile::Loaded(name.to_owned())))
            }
            ("apparmor", _) => Err(SecurityOptionError::AppArmor),
            ("systempaths", Some("unconfined")) => Ok(Self::SystemPaths),
            ("systempaths", _) => Err(SecurityOptionError::SystemPaths),
            ("label", part) => {
                part.and_then(LabelPart::parse).map(Self::Label).ok_or(SecurityOptionError::Label)
            }
            _ => Err(SecurityOptionError::Unknown(name.to_owned())),
        }
    }
}

impl LabelPart {
    fn parse(text: &str) -> Option<Self> {
        /// A context is a text with colons, and an option of a mount.
        fn is_name(c: char) -> bool {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
        }
        if text == "disable" {
            return Some(Self::Disable);
        }
        let (part, value) = text.split_once(':').filter(|(_, value)| !value.is_empty())?;
        let is_level = part == "level";
        if !value.chars().all(|c| is_name(c) || is_level && matches!(c, ':' | ',')) {
            return None;
        }
        let value = value.to_owned();
        match part {
            "user" => Some(Self::User(value)),
            "role" => Some(Self::Role(value)),
            "type" => Some(Self::Type(value)),
            "level" => Some(Self::Level(value)),
            "filetype" => Some(Self::FileType(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options_as_docker_spells_them() {
        use SecurityOption::{AppArmor, NoNewPrivileges, Seccomp};
        for (text, option) in [
            ("no-new-privileges", NoNewPrivileges(true)),
            ("no-new-privileges=true", NoNewPrivileges(true)),
            ("no-new-privileges=false", NoNewPrivileges(false)),
            ("seccomp=unconfined", Seccomp(SeccompProfile::Unconfined)),
            ("seccomp=default", Seccomp(SeccompProfile::Default)),
            ("seccomp=a=b.json", Seccomp(SeccompProfile::File("a=b.json".into()))),
            ("apparmor=docker-default", AppArmor(AppArmorProfile::Loaded("docker-default".into()))),
            ("apparmor=unconfined", AppArmor(AppArmorProfile::Unconfined)),
            ("systempaths=unconfined", SecurityOption::SystemPaths),
            ("label=disable", SecurityOption::Label(LabelPart::Disable)),
            ("label=level:s0:c1,c2", SecurityOption::Label(LabelPart::Level("s0:c1,c2".into()))),
        ] {
            assert_eq!(text.parse(), Ok(option));
        }
        for (text, error) in [
            ("no-new-privileges=1", SecurityOptionError::NoNewPrivileges),
            ("seccomp", SecurityOptionError::Seccomp),
            ("seccomp=", SecurityOptionError::Seccomp),
            ("apparmor=", SecurityOptionError::AppArmor),
            ("apparmor=a\nb", SecurityOptionError::AppArmor),
            ("systempaths=x", SecurityOptionError::SystemPaths),
            ("label=type:", SecurityOptionError::Label),
            ("label=type:a:b", SecurityOptionError::Label),
            ("label=level:s0\"", SecurityOptionError::Label),
            ("selinux=x", SecurityOptionError::Unknown("selinux".into())),
        ] {
            assert_eq!(text.parse::<SecurityOption>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_was_written_down_before_there_were_labels_is_read() {
        let text =
            r#"{"no_new_privs":true,"seccomp":"default","apparmor":null,"system_paths":false}"#;
        let read: Security = serde_json::from_str(text).unwrap();
        assert!(read.no_new_privs(true) && read.label().is_empty());
    }

    #[test]
    fn what_is_asked_for_counts_and_privileged_is_unconfined_else() {
        let all = |texts: &[&str]| -> Security {
            texts.iter().map(|text| text.parse::<SecurityOption>().unwrap()).collect()
        };
        let none = all(&[]);
        assert!(none.no_new_privs(false) && !none.no_new_privs(true));
        assert_eq!(none.seccomp(false), &SeccompProfile::Default);
        assert_eq!(none.seccomp(true), &SeccompProfile::Unconfined);
        let some = all(&["seccomp=x", "no-new-privileges=false", "seccomp=default"]);
        assert_eq!(some.seccomp(true), &SeccompProfile::Default);
        assert!(!some.no_new_privs(false));
    }
}
