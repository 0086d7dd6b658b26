//! The environment of a command: what `--env` and `--env-file` say.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::launcher::LauncherError;

/// Reads `NAME=VALUE` or `NAME`.
pub(super) fn variable(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        Some(name) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected NAME=VALUE or NAME".to_owned()),
    }
}

/// All of it, as `NAME=VALUE`, or as `NAME` for what the container is not to have: the launcher does not have it.
pub(super) fn collect(
    files: &[PathBuf],
    variables: Vec<String>,
) -> Result<Vec<String>, LauncherError> {
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(path)
            .map_err(|source| LauncherError::EnvFile { path: path.clone(), source })?;
        all.extend(lines(path, &text)?);
    }
    all.extend(variables);
    let with_value = |variable: String| match env::var(&variable) {
        Ok(value) if !variable.contains('=') => format!("{variable}={value}"),
        _ => variable,
    };
    Ok(all.into_iter().map(with_value).collect())
}

/// The variables of a file, in Docker's format: a value is taken as it is, quotes too.
fn lines(path: &Path, text: &str) -> Result<Vec<String>, LauncherError> {
    let mut variables = Vec::new();
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        let what = match name {
            "" => "there is no name before the equals sign",
            _ if name.contains(char::is_whitespace) => "a name has no blanks",
            _ if line.contains('\0') => "there is a NUL",
            _ => {
                variables.push(line.to_owned());
                continue;
            }
        };
        return Err(LauncherError::EnvLine { path: path.to_owned(), line: number + 1, what });
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_as_docker_does() {
        let read = |text: &str| lines(Path::new("file"), text);
        let text = "\u{FEFF}# comment\n\n  A=1\nB= \"x # y\" \r\nPATH\nC==\nD=\n";
        assert_eq!(read(text).unwrap(), ["A=1", "B= \"x # y\" ", "PATH", "C==", "D="]);
        for (bad, part) in [("A=1\n=2", "file, line 2: there is no name"), ("A B=1", "no blanks")] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_name_alone_is_looked_up() {
        assert_eq!(variable("A=1=2").unwrap(), "A=1=2");
        assert_eq!(variable("A").unwrap(), "A");
        assert!(variable("=1").is_err() && variable("").is_err());
        let path = format!("PATH={}", env::var("PATH").unwrap());
        let asked = ["PATH", "NO_SUCH_VARIABLE_HERE", "A=1"].map(str::to_owned).to_vec();
        assert_eq!(collect(&[], asked).unwrap(), [&path, "NO_SUCH_VARIABLE_HERE", "A=1"]);
        let missing = collect(&["/nowhere/env".into()], Vec::new()).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/env"), "{missing}");
    }
}
