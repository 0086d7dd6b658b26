//! Path prefixes for `pmatch`: a path must equal or lie below one of the listed ones.

use crate::glob::Glob;

/// A set of path prefixes whose components may be patterns.
///
/// Falco's own matcher can miss when several patterns of a set overlap; this one compares with
/// each prefix on its own.
#[derive(Clone, Debug)]
pub(crate) struct PathSet {
    prefixes: Box<[Prefix]>,
}

#[derive(Clone, Debug)]
struct Prefix {
    is_absolute: bool,
    components: Box<[Component]>,
}

#[derive(Clone, Debug)]
enum Component {
    Literal(Box<[u8]>),
    Pattern(Glob),
}

impl PathSet {
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { prefixes: paths.into_iter().map(Prefix::new).collect() }
    }

    /// Texts with one of which every path begins that lies below a prefix: up to its first pattern.
    pub(crate) fn prefixes(&self) -> Vec<Vec<u8>> {
        self.prefixes.iter().map(Prefix::literal).collect()
    }

    /// For each prefix, a path that it covers.
    pub(crate) fn examples(&self) -> impl Iterator<Item = Vec<u8>> {
        self.prefixes.iter().map(Prefix::example)
    }

    /// Whether `path` equals or lies below one of the prefixes.
    pub(crate) fn covers(&self, path: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| prefix.covers(path))
    }
}

impl Prefix {
    fn new(path: &[u8]) -> Self {
        let components = components(path).map(|component| {
            let glob = Glob::new(component, false);
            match glob.literal() {
                Some(literal) => Component::Literal(literal.into()),
                None => Component::Pattern(glob),
            }
        });
        Self { is_absolute: path.starts_with(b"/"), components: components.collect() }
    }

    /// What is there before the first pattern; nothing of a relative one.
    fn literal(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for component in self.components.iter().take_while(|_| self.is_absolute) {
            let Component::Literal(name) = component else { break };
            text.push(b'/');
            text.extend_from_slice(name);
        }
        text
    }

    fn example(&self) -> Vec<u8> {
        let components = self.components.iter().map(|component| match component {
            Component::Literal(name) => name.to_vec(),
            Component::Pattern(glob) => glob.example(),
        });
        let path = components.collect::<Vec<_>>().join(&b'/');
        if self.is_absolute { [b"/", &*path].concat() } else { path }
    }

    fn covers(&self, path: &[u8]) -> bool {
        if self.is_absolute != path.starts_with(b"/") {
            return false;
        }
        let mut actual = components(path);
        self.components.iter().all(|expected| match (expected, actual.next()) {
            (Component::Literal(literal), Some(component)) => **literal == *component,
            (Component::Pattern(glob), Some(component)) => glob.matches(component),
            (_, None) => false,
        })
    }
}

/// The components of a path; repeated and trailing slashes add none.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefixes: &[&str], path: &str) -> bool {
        PathSet::new(prefixes.iter().map(|prefix| prefix.as_bytes())).covers(path.as_bytes())
    }

    #[test]
    fn prefixes_end_at_component_borders() {
        assert!(covers(&["/etc"], "/etc"));
        assert!(covers(&["/etc/"], "/etc/shadow"));
        assert!(!covers(&["/etc"], "/etcetera"));
        assert!(covers(&["/"], "/etc/shadow"));
        assert!(!covers(&["/a/b"], "/a"));
        assert!(!covers(&["etc"], "/etc"));
        assert!(!covers(&[], "/etc"));
    }

    #[test]
    fn patterns_stay_within_a_component() {
        assert!(covers(&["/proc/*/fd"], "/proc/1/fd/3"));
        assert!(!covers(&["/proc/*/fd"], "/proc/1/task/1/fd"));
        assert!(covers(&["/opt/*/x", "/opt/d*/y", "/opt/di[r]/z"], "/opt/dir/z"));
    }
}
