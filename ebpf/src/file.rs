//! Files.

use shrike_common::{Kind, wire};

use crate::breach;
use crate::kernel::{Dentry, File, Path, PathRef, Vma};
use crate::plan::Wanted;
use crate::syscall;

/// `security_file_open`: permissions were checked, the file system has not opened it yet.
#[inline(always)]
pub(crate) fn open(file: File) {
    /// Set on the second file that overlayfs opens, on a layer.
    const FMODE_NOACCOUNT: u32 = 1 << 29;
    if file.mode() & FMODE_NOACCOUNT != 0 {
        return;
    }
    breach::check_open(file);
    let Some(wanted) = wanted_open(file) else { return };
    let given = if wanted.asks_for_given() { syscall::path_to_open() } else { 0 };
    wanted.emit(|record| {
        let inode = file.inode();
        let sb = inode.sb();
        wire::FileOpen {
            inode: inode.ino(),
            fs_magic: sb.magic(),
            dev: sb.dev(),
            flags: file.flags(),
            mode: u32::from(inode.mode()),
            rdev: inode.rdev(),
            mnt_ns: file.mnt().namespace(),
            reserved: 0,
            path: record.path(file.path()),
            given: if given == 0 { wire::Span::default() } else { record.user_string(given) },
        }
    });
}

#[inline(always)]
fn wanted_open(file: File) -> Option<Wanted> {
    const KIND: Kind = Kind::FileOpen;
    let (inode, path) = (file.inode(), file.path());
    Wanted::of(KIND)?
        .name(path.dentry)?
        .class(file_type(inode.mode()))?
        .access(file.flags())?
        .file_system(inode.sb())?
        .mount(path.mnt)?
        .path(KIND, path)
}

/// `security_path_mknod`: an open that makes a regular file comes here as well.
// Two programs for one hook: the stack of one that sends both kinds would not fit.
#[inline(always)]
pub(crate) fn create(dir: PathRef, dentry: Dentry, mode: u16) {
    if !is_regular(mode) {
        return;
    }
    let (path, mode) = (Path { mnt: dir.mnt(), dentry }, mode | S_IFREG);
    let Some(wanted) = wanted_node(Kind::FileCreate, mode, path) else { return };
    wanted.emit(|record| {
        let sb = dentry.sb();
        wire::FileCreate {
            fs_magic: sb.magic(),
            dev: sb.dev(),
            mode: u32::from(mode),
            path: record.path(path),
        }
    });
}

/// `security_path_mknod`: a device file, FIFO or socket.
#[inline(always)]
pub(crate) fn mknod(dir: PathRef, dentry: Dentry, mode: u16, device: u32) {
    if is_regular(mode) {
        return;
    }
    let path = Path { mnt: dir.mnt(), dentry };
    let Some(wanted) = wanted_node(Kind::Mknod, mode, path) else { return };
    wanted.emit(|record| wire::Mknod {
        mode: u32::from(mode),
        rdev: decode(device),
        path: record.path(path),
    });
}

const S_IFREG: u16 = 0o100_000;

/// Whether `mknod(2)` makes a regular file: that is what no type stands for, too.
#[inline(always)]
fn is_regular(mode: u16) -> bool {
    const S_IFMT: u16 = 0o170_000;
    mode & S_IFMT == S_IFREG || mode & S_IFMT == 0
}

#[inline(always)]
fn wanted_node(kind: Kind, mode: u16, path: Path) -> Option<Wanted> {
    Wanted::of(kind)?
        .class(file_type(mode))?
        .name(path.dentry)?
        .file_system(path.dentry.sb())?
        .path(kind, path)
}

const PROT_EXEC: u64 = 4;

/// `security_mmap_file`: `file` is null for anonymous memory.
#[inline(always)]
pub(crate) fn mmap(file: File, prot: u64) {
    if prot & PROT_EXEC != 0 && !file.0.is_null() {
        mapped(file, prot);
    }
}

/// `security_file_mprotect`: a mapping that was executable before is no news.
#[inline(always)]
pub(crate) fn mprotect(area: Vma, prot: u64) {
    const VM_EXEC: u64 = 4;
    if prot & PROT_EXEC != 0 && area.flags() & VM_EXEC == 0 {
        let file = area.file();
        if !file.0.is_null() {
            mapped(file, prot);
        }
    }
}

#[inline(always)]
fn mapped(file: File, prot: u64) {
    breach::check_map(file);
    let Some(wanted) = wanted_mapping(file) else { return };
    wanted.emit(|record| {
        let inode = file.inode();
        let sb = inode.sb();
        wire::MmapExec {
            inode: inode.ino(),
            fs_magic: sb.magic(),
            dev: sb.dev(),
            prot: prot as u32,
            mode: u32::from(inode.mode()),
            mnt_ns: file.mnt().namespace(),
            path: record.path(file.path()),
        }
    });
}

#[inline(always)]
fn wanted_mapping(file: File) -> Option<Wanted> {
    const KIND: Kind = Kind::MmapExec;
    let path = file.path();
    Wanted::of(KIND)?
        .name(path.dentry)?
        .file_system(path.dentry.sb())?
        .mount(path.mnt)?
        .path(KIND, path)
}

/// The class of a file by its mode.
#[inline(always)]
fn file_type(mode: u16) -> u32 {
    u32::from(mode >> 12)
}

/// From the encoding of `mknod(2)` to that of the kernel (`new_decode_dev`, `MKDEV`).
#[inline(always)]
pub(crate) fn decode(device: u32) -> u32 {
    let major = device >> 8 & 0xFFF;
    let minor = device & 0xFF | device >> 12 & 0xF_FF00;
    major << 20 | minor
}
