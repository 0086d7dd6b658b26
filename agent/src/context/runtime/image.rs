//! The image of a container: the name that it was asked for by, and what that stands for.

use super::details::Room;

/// The image of a container. What is not known is empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Image {
    /// As asked for.
    pub(crate) name: String,
    /// The repository in `name`, with its registry if that has one.
    pub(crate) repository: String,
    /// The tag in `name`; none is made up where there is none.
    pub(crate) tag: String,
    /// The digest of its manifest, with the algorithm: `sha256:…`. An image that was never in a
    /// registry has none.
    pub(crate) digest: String,
    /// Its id in this runtime's store, mostly the digest of its configuration.
    pub(crate) id: String,
}

impl Image {
    /// An image by its name, `others` by which the runtime knows it, and its id. Of the digests the one
    /// in the name counts, else the one of the same repository, else the first.
    pub(super) fn new(room: &mut Room, name: &str, others: &[String], id: &str) -> Self {
        let reference = Reference::parse(name);
        let others = || others.iter().map(|other| Reference::parse(other));
        let digest = [reference.digest]
            .into_iter()
            .chain(
                others()
                    .filter(|other| is_same(other.repository, reference.repository))
                    .map(|o| o.digest),
            )
            .chain(others().map(|other| other.digest))
            .find(|digest| !digest.is_empty())
            .unwrap_or_default();
        Self {
            name: room.text(name),
            repository: room.text(reference.repository),
            tag: room.text(reference.tag),
            digest: room.text(digest),
            id: room.text(id),
        }
    }
}

/// The name of an image in parts, `REPOSITORY[:TAG][@DIGEST]`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Reference<'a> {
    repository: &'a str,
    tag: &'a str,
    digest: &'a str,
}

impl<'a> Reference<'a> {
    fn parse(name: &'a str) -> Self {
        if is_id(name) {
            return Self::default();
        }
        let (name, digest) = name.split_once('@').unwrap_or((name, ""));
        // A colon further left is before the port of a registry.
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => Self { repository, tag, digest },
            _ => Self { repository: name, tag: "", digest },
        }
    }
}

/// Whether a name is an image's id, which runtimes take in place of a name.
fn is_id(name: &str) -> bool {
    let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.starts_with("sha256:") || is_hex(name)
}

/// Whether two repositories are one: Docker leaves out its own registry.
fn is_same(one: &str, other: &str) -> bool {
    fn short(name: &str) -> &str {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }
    short(one) == short(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let id = "0".repeat(64);
        let cases = [
            ("nginx", ("nginx", "", "")),
            ("nginx:1.25", ("nginx", "1.25", "")),
            ("localhost:5000/a/b", ("localhost:5000/a/b", "", "")),
            ("localhost:5000/a/b:2", ("localhost:5000/a/b", "2", "")),
            ("quay.io/a/b@sha256:12", ("quay.io/a/b", "", "sha256:12")),
            ("quay.io/a/b:3@sha256:12", ("quay.io/a/b", "3", "sha256:12")),
            ("sha256:12", ("", "", "")),
            (&id, ("", "", "")),
            ("", ("", "", "")),
            (":@:", ("", "", ":")),
        ];
        for (name, expected) in cases {
            let Reference { repository, tag, digest } = Reference::parse(name);
            assert_eq!((repository, tag, digest), expected, "{name}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_name_that_was_asked_for() {
        let others = ["mirror/nginx@sha256:1".to_owned(), "nginx@sha256:2".to_owned()];
        let digest = |name| Image::new(&mut Room::new(), name, &others, "sha256:9").digest;
        assert_eq!(digest("docker.io/library/nginx:1"), "sha256:2");
        assert_eq!(digest("mirror/nginx"), "sha256:1");
        assert_eq!(digest("other"), "sha256:1");
        assert_eq!(digest("nginx@sha256:3"), "sha256:3");
        assert_eq!(Image::new(&mut Room::new(), "built", &[], "sha256:9").digest, "");
    }
}
