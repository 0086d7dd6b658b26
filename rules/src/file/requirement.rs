//! What a file requires of the engine and of plugins.

use super::reader::{Reader, Result, find};
use crate::diagnose::Code;
use crate::yaml::{Content, Node};

/// The version of Falco's engine whose language this is.
const ENGINE_VERSION: [u32; 3] = [0, 63, 0];

impl Reader<'_, '_> {
    pub(super) fn engine_version(&mut self, node: &Node) -> Result<()> {
        let text = self.scalar(node)?.text.clone();
        let version: Option<Vec<u32>> = match text.parse() {
            Ok(minor) => Some(vec![0, minor, 0]),
            Err(_) => text.split('.').map(|part| part.parse().ok()).collect(),
        };
        let Some(&[major, minor, patch]) = version.as_deref() else {
            let message = format!("Unable to parse engine version '{text}'");
            return Err(self.error(Code::YamlValidate, node, message));
        };
        if major == ENGINE_VERSION[0] && [major, minor, patch] <= ENGINE_VERSION {
            return Ok(());
        }
        let [own_major, own_minor, own_patch] = ENGINE_VERSION;
        let message = format!(
            "Rules require engine version {major}.{minor}.{patch}, but engine version is \
             {own_major}.{own_minor}.{own_patch}"
        );
        Err(self.error(Code::Validate, node, message))
    }

    /// Fields of plugins are built in, and whatever version of them is required is there; what is missing shows as an
    /// unknown source or field. So the shape alone is checked.
    pub(super) fn plugin_versions(&mut self, node: &Node) -> Result<()> {
        let Content::Sequence(requirements) = &node.content else {
            let message = "Value of required_plugin_versions must be a sequence";
            return Err(self.error(Code::YamlValidate, node, message));
        };
        for requirement in requirements {
            let mut names = vec![self.plugin_version(requirement)?];
            let Content::Mapping(entries) = &requirement.content else { continue };
            let alternatives = match find(entries, "alternatives") {
                None => continue,
                Some(Node { content: Content::Sequence(alternatives), .. }) => alternatives,
                Some(node) => {
                    let message = "Value of plugin version alternatives must be a sequence";
                    return Err(self.error(Code::YamlValidate, node, message));
                }
            };
            for alternative in alternatives {
                let name = self.plugin_version(alternative)?;
                if names.contains(&name) {
                    let message = format!(
                        "Defined multiple alternative version requirements for plugin '{name}'"
                    );
                    return Err(self.error(Code::Validate, alternative, message));
                }
                names.push(name);
            }
        }
        Ok(())
    }

    /// Checks a version, and gives back the name of its plugin.
    fn plugin_version(&mut self, node: &Node) -> Result<String> {
        let Content::Mapping(entries) = &node.content else {
            let message = "Plugin version must be a mapping";
            return Err(self.error(Code::YamlValidate, node, message));
        };
        let name = self.filled(entries, node, "name")?.text.clone();
        let version = self.filled(entries, node, "version")?.text.clone();
        let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        if parts.is_some_and(|parts| parts.len() == 3) {
            return Ok(name);
        }
        let message = format!("Invalid required version '{version}' for plugin '{name}'");
        let place = find(entries, "version").unwrap_or(node);
        Err(self.error(Code::Validate, place, message))
    }
}
