//! The names of file systems by their magic numbers (`include/uapi/linux/magic.h`).

/// The file systems that the kernel talks through, and those that containers are made of.
pub(crate) const NAMES: [(u64, &str); 22] = [
    (0x0000_1CD1, "devpts"),
    (0x0000_9FA0, "proc"),
    (0x0027_E0EB, "cgroup"),
    (0x0102_1994, "tmpfs"),
    (0x1980_0202, "mqueue"),
    (0x4249_4E4D, "binfmt_misc"),
    (0x5346_4846, "virtiofs"),
    (0x6165_676C, "pstore"),
    (0x6265_6570, "configfs"),
    (0x6265_6572, "sysfs"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x6573_5543, "fusectl"),
    (0x6573_5546, "fuse"),
    (0x6E73_6673, "nsfs"),
    (0x7363_6673, "securityfs"),
    (0x7472_6163, "tracefs"),
    (0x794C_7630, "overlay"),
    (0x9584_58F6, "hugetlbfs"),
    (0xCAFE_4A11, "bpf"),
    (0xDE5E_81E4, "efivarfs"),
    (0xF97C_FF8C, "selinuxfs"),
];

/// The name of the file system with this magic number.
pub(super) fn name(magic: u64) -> Option<&'static str> {
    NAMES.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_numbers_are_those_of_the_c_library() {
        for (magic, expected) in [
            (libc::BPF_FS_MAGIC, "bpf"),
            (libc::CGROUP2_SUPER_MAGIC, "cgroup2"),
            (libc::CGROUP_SUPER_MAGIC, "cgroup"),
            (libc::DEBUGFS_MAGIC, "debugfs"),
            (libc::OVERLAYFS_SUPER_MAGIC, "overlay"),
            (libc::PROC_SUPER_MAGIC, "proc"),
            (libc::SECURITYFS_MAGIC, "securityfs"),
            (libc::SYSFS_MAGIC, "sysfs"),
            (libc::TMPFS_MAGIC, "tmpfs"),
        ] {
            assert_eq!(name(magic.cast_unsigned()), Some(expected));
        }
        assert_eq!(name(libc::EXT4_SUPER_MAGIC.cast_unsigned()), None);
    }

    #[test]
    fn the_numbers_are_sorted_and_unique() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
