//! The flags of an open, and the types of files. The values are those of x86.

const O_ACCMODE: u32 = 0o3;
const O_WRONLY: u32 = 0o1;
const O_CREAT: u32 = 0o100;
const S_IFMT: u32 = 0o170_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;

/// Names in the order in which they are shown. `O_TMPFILE` and `O_SYNC` consist of several bits.
const NAMES: [(u32, &str); 15] = [
    (O_CREAT, "O_CREAT"),
    (0o2000, "O_APPEND"),
    (0o4_0000, "O_DIRECT"),
    (0o20_0000, "O_DIRECTORY"),
    (0o200, "O_EXCL"),
    (0o10_0000, "O_LARGEFILE"),
    (0o4000, "O_NONBLOCK"),
    (0o401_0000, "O_SYNC"),
    (0o1000, "O_TRUNC"),
    (0o2020_0000, "O_TMPFILE"),
    (0o200_0000, "O_CLOEXEC"),
    (0o1_0000, "O_DSYNC"),
    (0o40_0000, "O_NOFOLLOW"),
    (0o100_0000, "O_NOATIME"),
    (0o1000_0000, "O_PATH"),
];

/// The names of the flags of an open, joined by `|`.
pub(super) fn flag_names(flags: u32) -> String {
    let access = match (reads(flags), writes(flags)) {
        (true, false) => "O_RDONLY",
        (false, true) => "O_WRONLY",
        _ => "O_RDWR",
    };
    let mut names = vec![access];
    names.extend(NAMES.iter().filter(|(bits, _)| flags & bits == *bits).map(|(_, name)| *name));
    names.join("|")
}

/// The names of the `PROT_*` flags of a mapping, joined by `|`.
pub(super) fn protection_names(prot: u32) -> String {
    const NAMES: [(u32, &str); 3] = [(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
    let names = NAMES.iter().filter(|(bit, _)| prot & bit != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join("|")
}

/// Whether the open allows reading.
pub(crate) fn reads(flags: u32) -> bool {
    flags & O_ACCMODE != O_WRONLY
}

/// Whether the open allows writing.
pub(crate) fn writes(flags: u32) -> bool {
    flags & O_ACCMODE != 0
}

/// Whether the open may create the file.
pub(super) fn creates(flags: u32) -> bool {
    flags & O_CREAT != 0
}

/// Whether a file of this mode is a directory.
pub(super) fn is_directory(mode: u32) -> bool {
    mode & S_IFMT == S_IFDIR
}

/// Whether a file of this mode stands for a device.
pub(super) fn is_device(mode: u32) -> bool {
    matches!(mode & S_IFMT, S_IFBLK | S_IFCHR)
}

/// The name of the type of a file of this mode.
pub(super) fn type_name(mode: u32) -> Option<&'static str> {
    Some(match mode & S_IFMT {
        0o010_000 => "fifo",
        S_IFCHR => "char",
        S_IFDIR => "directory",
        S_IFBLK => "block",
        0o100_000 => "regular",
        0o120_000 => "symlink",
        0o140_000 => "socket",
        _ => return None,
    })
}

/// Whether anybody may execute a file of this mode.
pub(super) fn is_executable(mode: u32) -> bool {
    mode & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_c_librarys_bits() {
        let bits = |name: &str| NAMES.iter().find(|(_, n)| *n == name).unwrap().0;
        for (name, value) in [
            ("O_CREAT", libc::O_CREAT),
            ("O_APPEND", libc::O_APPEND),
            ("O_DIRECT", libc::O_DIRECT),
            ("O_DIRECTORY", libc::O_DIRECTORY),
            ("O_EXCL", libc::O_EXCL),
            ("O_NONBLOCK", libc::O_NONBLOCK),
            ("O_SYNC", libc::O_SYNC),
            ("O_TRUNC", libc::O_TRUNC),
            ("O_TMPFILE", libc::O_TMPFILE),
            ("O_CLOEXEC", libc::O_CLOEXEC),
            ("O_DSYNC", libc::O_DSYNC),
            ("O_NOFOLLOW", libc::O_NOFOLLOW),
            ("O_NOATIME", libc::O_NOATIME),
            ("O_PATH", libc::O_PATH),
        ] {
            assert_eq!(bits(name), u32::try_from(value).unwrap(), "{name}");
        }
        for (ty, name, device) in [
            (libc::S_IFBLK, "block", true),
            (libc::S_IFCHR, "char", true),
            (libc::S_IFDIR, "directory", false),
            (libc::S_IFIFO, "fifo", false),
            (libc::S_IFLNK, "symlink", false),
            (libc::S_IFREG, "regular", false),
            (libc::S_IFSOCK, "socket", false),
        ] {
            assert_eq!(type_name(ty | 0o755), Some(name));
            assert_eq!((is_device(ty), is_directory(ty)), (device, name == "directory"));
        }
        assert_eq!(type_name(0o755), None);
    }

    #[test]
    fn joins_the_names() {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        assert_eq!(flag_names(u32::try_from(flags).unwrap()), "O_WRONLY|O_CREAT|O_TRUNC");
        assert_eq!(flag_names(0), "O_RDONLY");
        assert_eq!(flag_names(2), "O_RDWR");
        assert!(reads(2) && writes(2) && reads(0) && !writes(0) && !reads(1) && writes(1));
    }
}
