//! File systems, mounted and moved.

#![allow(clippy::unnecessary_wraps, reason = "all deeds have one signature")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::call::{call, dev, magic};
use super::{Done, Scene, done};

pub(super) fn own_mounts() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let none = ptr::null::<u8>();
    let result = call!(SYS_mount, none, c"/".as_ptr(), none, flags, none);
    ensure!(result == 0, "cannot make mounts private: {result}");
    Ok(())
}

pub(super) fn mount(scene: &Scene<'_>) -> Result<Done> {
    let target = scene.path("dir")?;
    let none = ptr::null::<u8>();
    let (tmpfs, raw) = (c"tmpfs".as_ptr(), scene.outcome == "denied");
    let result = call!(SYS_mount, tmpfs, target.as_ptr(), tmpfs, 0, none);
    let fields = if raw {
        json!({ "fs_magic": 0, "dev": 0, "bdev": 0, "fs_type": "tmpfs" })
    } else {
        let dev = dev(fs::metadata(scene.dir.join("dir"))?.dev());
        let magic = magic(&scene.dir.join("dir"))?;
        let _ = nix::mount::umount(&scene.dir.join("dir"));
        json!({ "fs_magic": magic, "dev": dev, "bdev": 0, "fs_type": "tmpfs" })
    };
    Ok(done("mount", result, raw, fields))
}

pub(super) fn mount_unknown(scene: &Scene<'_>) -> Result<Done> {
    let target = scene.path("dir")?;
    let none = ptr::null::<u8>();
    let result = call!(SYS_mount, none, target.as_ptr(), c"nofs".as_ptr(), 0, none);
    let fields = json!({ "fs_magic": 0, "dev": 0, "bdev": 0, "fs_type": "nofs" });
    Ok(done("mount", result, true, fields))
}

pub(super) fn fsconfig(_: &Scene<'_>) -> Result<Done> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let context = call!(SYS_fsopen, c"tmpfs".as_ptr(), 0);
    let none = ptr::null::<u8>();
    let result = call!(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, none, none, 0);
    let tree = call!(SYS_fsmount, context, 0, 0);
    ensure!(tree >= 0, "fsmount: {tree}");
    let folder = format!("/proc/self/fd/{tree}");
    let dev = dev(fs::metadata(&folder)?.dev());
    let fields = json!({
        "fs_magic": magic(Path::new(&folder))?, "dev": dev, "bdev": 0, "fs_type": "tmpfs",
    });
    Ok(done("fsconfig", result, false, fields))
}

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;

pub(super) fn move_mount(scene: &Scene<'_>) -> Result<Done> {
    let (from, to) = (scene.path("dir")?, scene.path("to")?);
    let tree = call!(SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), OPEN_TREE_CLONE);
    ensure!(tree >= 0, "open_tree: {tree}");
    let result = call!(
        SYS_move_mount,
        tree,
        c"".as_ptr(),
        libc::AT_FDCWD,
        to.as_ptr(),
        MOVE_MOUNT_F_EMPTY_PATH
    );
    let fields = json!({
        "fs_magic": magic(scene.dir)?,
        "dev": dev(fs::metadata(scene.dir)?.dev()),
        "from_mnt_ns": 0,
        "fs_type": type_name(scene.dir)?,
        "to": scene.text("to"),
    });
    Ok(done("move_mount", result, false, fields))
}

/// By somebody who may not, or of what is not there.
pub(super) fn move_attempt(scene: &Scene<'_>) -> Result<Done> {
    let (from, to) = (scene.path("missing")?, scene.path("to")?);
    let result =
        call!(SYS_move_mount, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), 0);
    let fields = json!({
        "fs_magic": 0, "dev": 0, "from_mnt_ns": 0, "fs_type": "", "to": scene.text("to"),
    });
    Ok(done("move_mount", result, true, fields))
}

/// The type of the file system that a folder is on.
fn type_name(dir: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of = |line: &str| {
        let mut words = line.split(' ');
        let (target, name) = (words.nth(1)?.to_owned(), words.next()?.to_owned());
        dir.starts_with(&target).then_some((target.len(), name))
    };
    // The longest, and of those the last, which covers the others.
    let found = mounts.lines().filter_map(of).max_by_key(|(len, _)| *len);
    Ok(found.context("no mount")?.1)
}
