//! The machine's package sources, and other suites on the same mirrors.
//!
//! Both of apt's formats are read (sources.list(5)); what comes out is always deb822.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Releases of Debian, by the names that they have in package sources.
const DEBIAN_RELEASES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// The Debian mirrors that this machine takes its packages from.
#[derive(Clone, Debug)]
pub struct Mirrors {
    sources: Vec<Source>,
}

/// One package source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uris: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// The other fields as they stand: keys, architectures, trust.
    options: Vec<(String, String)>,
}

impl Mirrors {
    /// Reads the sources below `folder` (`/etc/apt`).
    pub fn read(folder: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        for file in source_files(folder)? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => sources.extend(parse_deb822(&text)),
                _ => sources.extend(text.lines().filter_map(parse_line)),
            }
        }
        sources.retain(Source::is_debian);
        if !sources.iter().any(|source| !source.is_security()) {
            bail!("no Debian mirror among the package sources in {}", folder.display());
        }
        Ok(Self { sources })
    }

    /// The suites that the machine itself uses.
    pub fn suites(&self) -> Vec<&str> {
        self.sources.iter().flat_map(|source| &source.suites).map(String::as_str).collect()
    }

    /// The text of a `.sources` file that offers `suites` from these mirrors.
    ///
    /// A suite that the machine does not use is looked for where its like is: one that ends in
    /// `-security` on the security mirror, any other on the archive mirror.
    pub fn offering(&self, suites: &[&str]) -> String {
        let mut text = String::new();
        for suite in suites {
            let security = suite.ends_with("-security");
            let source = self
                .sources
                .iter()
                .find(|source| source.suites.iter().any(|known| known == suite))
                .or_else(|| self.sources.iter().find(|source| source.is_security() == security));
            if let Some(source) = source {
                text += &source.with_suite(suite);
            }
        }
        text
    }
}

impl Source {
    fn is_debian(&self) -> bool {
        self.suites.iter().any(|suite| {
            DEBIAN_RELEASES.iter().any(|release| {
                suite
                    .strip_prefix(release)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        })
    }

    fn is_security(&self) -> bool {
        self.suites.iter().any(|suite| suite.ends_with("-security"))
    }

    fn with_suite(&self, suite: &str) -> String {
        let mut text =
            format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n", self.uris);
        for (field, value) in &self.options {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{field}: {value}");
        }
        text + "\n"
    }
}

fn source_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let list = folder.join("sources.list");
    if list.exists() {
        files.push(list);
    }
    let parts = folder.join("sources.list.d");
    if parts.exists() {
        let listing =
            fs::read_dir(&parts).with_context(|| format!("cannot list {}", parts.display()))?;
        let mut found = Vec::new();
        for entry in listing {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "list" || extension == "sources")
            {
                found.push(path);
            }
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Reads the stanzas of a deb822 file.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(source_of_stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim_end());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of_stanza(fields: &[(String, String)]) -> Option<Source> {
    let field = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    let words = |wanted: &str| -> Vec<String> {
        field(wanted).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    if !words("Types").contains(&"deb".to_owned()) || field("Enabled").is_some_and(is_no) {
        return None;
    }
    let own = ["Types", "URIs", "Suites", "Components", "Enabled"];
    let options =
        fields.iter().filter(|(name, _)| !own.iter().any(|own| own.eq_ignore_ascii_case(name)));
    Some(Source {
        uris: words("URIs").join(" "),
        suites: words("Suites"),
        components: words("Components"),
        options: options.cloned().collect(),
    })
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off", "without", "disable"].contains(&value.to_ascii_lowercase().as_str())
}

/// Reads one line of the older format: `deb [option=value ...] uri suite component ...`.
fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    Some(Source {
        uris: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        components: words.map(str::to_owned).collect(),
        options: options.split_whitespace().filter_map(deb822_option).collect(),
    })
}

/// The deb822 field of an option of the older format; the rest do not matter for a download.
fn deb822_option(option: &str) -> Option<(String, String)> {
    let (name, value) = option.split_once('=')?;
    let field = match name {
        "arch" => "Architectures",
        "signed-by" => "Signed-By",
        "trusted" => "Trusted",
        "allow-insecure" => "Allow-Insecure",
        "check-valid-until" => "Check-Valid-Until",
        _ => return None,
    };
    Some((field.to_owned(), value.replace(',', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb deb-src
# a remark
URIs: http://mirror.example/debian
Suites: bookworm
  bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY

Types: deb
URIs: http://other.example/off
Suites: trixie
Components: main
Enabled: no
";

    fn mirrors(files: &[(&str, &str)]) -> Result<Mirrors> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Mirrors::read(folder.path())
    }

    #[test]
    fn deb822_is_read_and_other_suites_are_derived() {
        let mirrors = mirrors(&[("sources.list.d/debian.sources", DEB822)]).unwrap();
        assert_eq!(mirrors.suites(), ["bookworm", "bookworm-updates", "bookworm-security"]);
        assert_eq!(
            mirrors.offering(&["trixie-backports", "trixie-security"]),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie-backports\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian.gpg\n\n\
             Types: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\n\
             Components: main\nSigned-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY\n\n"
        );
    }

    #[test]
    fn one_line_format_is_read_with_its_options() {
        let mirrors = mirrors(&[(
            "sources.list",
            "# deb http://no.example/ trixie main\n\
             deb-src http://mirror.example/debian bookworm main\n\
             deb [arch=amd64,i386 signed-by=/k.gpg lang=de] http://mirror.example/debian bookworm main # x\n",
        )])
        .unwrap();
        assert_eq!(mirrors.suites(), ["bookworm"]);
        assert_eq!(
            mirrors.offering(&["sid"]),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n\
             Architectures: amd64 i386\nSigned-By: /k.gpg\n\n"
        );
    }

    #[test]
    fn suite_of_the_machine_keeps_its_own_mirror() {
        let mirrors = mirrors(&[(
            "sources.list",
            "deb http://one.example bookworm main\ndeb http://two.example trixie main\n",
        )])
        .unwrap();
        assert!(mirrors.offering(&["trixie"]).contains("two.example"));
    }

    #[test]
    fn other_distributions_and_vendors_are_left_out() {
        let vendor = "deb https://vendor.example/node nodistro main\n";
        let error = mirrors(&[("sources.list", vendor)]).unwrap_err().to_string();
        assert!(error.starts_with("no Debian mirror among the package sources in "), "{error}");

        let both = [("sources.list", vendor), ("sources.list.d/d.sources", DEB822)];
        assert!(!mirrors(&both).unwrap().suites().contains(&"nodistro"));
    }

    #[test]
    fn files_of_other_kinds_are_not_read() {
        let disabled = [("sources.list.d/debian.sources.disabled", DEB822)];
        assert!(mirrors(&disabled).is_err());
    }
}
