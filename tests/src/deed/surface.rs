//! The kernel itself: parameters, modules, BPF, cgroups.

#![allow(clippy::unnecessary_wraps, reason = "all deeds have one signature")]

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::json;

use super::call::call;
use super::file::FILE;
use super::process::end;
use super::{Done, Scene, done};
use crate::actor;

pub(super) fn sysctl(_: &Scene<'_>) -> Result<Done> {
    set("kernel/hostname", "guest\n")
}

pub(super) fn sysctl_bad(_: &Scene<'_>) -> Result<Done> {
    set("kernel/pid_max", "marked")
}

fn set(name: &str, value: &str) -> Result<Done> {
    let file = OpenOptions::new().write(true).open(Path::new("/proc/sys").join(name))?;
    call!(SYS_write, file.as_raw_fd(), value.as_ptr(), value.len());
    let fields = json!({ "name": name, "value": value });
    // No probe waits for the end of every write.
    Ok(Done { result: None, ..done("write", 0, false, fields) })
}

pub(super) fn module(scene: &Scene<'_>) -> Result<Done> {
    let file = File::open(scene.dir.join(FILE))?;
    let result = call!(SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0);
    let raw = scene.outcome == "denied";
    let path = if raw { String::new() } else { scene.text(FILE) };
    Ok(done("finit_module", result, raw, json!({ "path": path })))
}

pub(super) fn bpf_map(_: &Scene<'_>) -> Result<Done> {
    const BPF_MAP_CREATE: u32 = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let mut attr = [0_u32; 32];
    attr[..4].copy_from_slice(&[BPF_MAP_TYPE_ARRAY, 4, 4, 1]);
    bpf(BPF_MAP_CREATE, &attr)
}

pub(super) fn bpf_unknown(_: &Scene<'_>) -> Result<Done> {
    bpf(9999, &[0; 32])
}

fn bpf(command: u32, attr: &[u32; 32]) -> Result<Done> {
    let result = call!(SYS_bpf, command, attr.as_ptr(), size_of_val(attr));
    let fields = json!({ "cmd": command, "prog_type": 0, "prog_name": "" });
    // Whether the privilege is asked for in front of the hook differs between kernels.
    Ok(Done { raw: (result >= 0).then_some(false), ..done("bpf", result, false, fields) })
}

pub(super) fn cgroup_attach(_: &Scene<'_>) -> Result<Done> {
    let (name, cgroup) = own_cgroup();
    fs::create_dir(&cgroup)?;
    let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let pid = child.id();
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())?;
    let fields = json!({
        "to": fs::metadata(&cgroup)?.ino(),
        "target_start": actor::start_ticks(pid)?,
        "target": pid,
        "target_tid": pid,
        "hierarchy": 0,
        "path": format!("/{name}"),
    });
    end(child)?;
    Ok(done("write", 0, false, fields))
}

pub(super) fn cgroup_mkdir(_: &Scene<'_>) -> Result<Done> {
    let (name, cgroup) = own_cgroup();
    fs::create_dir(&cgroup)?;
    let fields = json!({
        "made": fs::metadata(&cgroup)?.ino(),
        "hierarchy": 0,
        "level": 1,
        "path": format!("/{name}"),
    });
    fs::remove_dir(&cgroup)?;
    Ok(done("mkdir", 0, false, fields))
}

pub(super) fn cgroup_rmdir(_: &Scene<'_>) -> Result<Done> {
    let (name, cgroup) = own_cgroup();
    fs::create_dir(&cgroup)?;
    let fields = json!({
        "removed": fs::metadata(&cgroup)?.ino(),
        "hierarchy": 0,
        "level": 1,
        "path": format!("/{name}"),
    });
    fs::remove_dir(&cgroup)?;
    Ok(done("rmdir", 0, false, fields))
}

/// A cgroup that is not there yet.
fn own_cgroup() -> (String, PathBuf) {
    let name = format!("shrike-deed-{}", std::process::id());
    let path = Path::new("/sys/fs/cgroup").join(&name);
    (name, path)
}
