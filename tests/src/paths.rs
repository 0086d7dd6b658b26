//! Paths: what a probe tells of a file, against what the kernel's own `d_path` tells the acting process
//! (`readlink` of the open descriptor), and what no `d_path` would tell.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chroot};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknod};
use serde_json::{Value, json};

use crate::agent::{Agent, scratch};
use crate::configuration::Configuration;
use crate::matrix::Events;
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "paths",
    tier: Tier::QuickAcross,
    budget: Duration::from_mins(6),
    wants: Configuration::is_plain,
    tests: tests![
        paths_are_as_the_kernel_tells_them,
        strange_paths_are_told_as_such,
        no_other_name_fools_the_plan,
    ],
};

/// Mounts that nobody else sees.
fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    Ok(mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// What `d_path` makes of an open file.
fn told_by_the_kernel(file: &File) -> Result<String> {
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(link.to_string_lossy().into_owned())
}

/// The event of an open of this file by this process.
fn event(events: &Events, file: &File) -> Result<Value> {
    let inode = file.metadata()?.ino();
    events.find(&format!("open of inode {inode}"), |event| {
        let fields = &event["fields"];
        // Not the one that has written it.
        let truncates = |flags| flags & u64::from(libc::O_TRUNC.cast_unsigned()) != 0;
        event["pid"] == std::process::id()
            && fields["inode"] == inode
            && !fields["flags"].as_u64().is_some_and(truncates)
    })
}

fn paths_are_as_the_kernel_tells_them() -> Result<()> {
    let dir = scratch()?;
    own_mounts()?;
    let events = Events::of("file_open")?;
    let same = |file: File| -> Result<()> {
        let event = event(&events, &file)?;
        let oracle = told_by_the_kernel(&file)?;
        ensure!(event["fields"]["path"] == *oracle, "the kernel says {oracle}: {event}");
        ensure!(event["fields"]["path_flags"] == Value::Null, "{event}");
        Ok(())
    };
    let make = |name: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(&path, name)?;
        Ok(path)
    };
    same(File::open(make("plain")?)?)?;
    same(File::open(make("not ascii \u{1F99C} \n")?)?)?;
    same(File::open(make(&format!("deep/{}file", "d/".repeat(50)))?)?)?;
    // By a symbolic link, and from a folder above.
    let link = dir.join("link");
    std::os::unix::fs::symlink(make("behind")?, &link)?;
    same(File::open(&link)?)?;
    make("above")?;
    same(File::open(dir.join("deep/../above"))?)?;
    // Mounts upon mounts, and one that shows only a part of its file system.
    for name in ["a", "b", "shown"] {
        fs::create_dir_all(dir.join(name))?;
    }
    mount(Some("tmpfs"), &dir.join("a"), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    fs::create_dir_all(dir.join("a/inner"))?;
    mount(Some("tmpfs"), &dir.join("a/inner"), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    same(File::open(make("a/inner/file")?)?)?;
    make("b/part/file2")?;
    bind(&dir.join("b/part"), &dir.join("shown"))?;
    same(File::open(dir.join("shown/file2"))?)?;
    // Overlayfs: the file that the process sees, once.
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(dir.join("a").join(name))?;
    }
    make("a/lower/layered")?;
    let layers = ["lower", "upper", "work"].map(|name| dir.join("a").join(name));
    let [lower, upper, work] = layers.map(|path| path.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let merged = dir.join("a/merged");
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    same(File::open(merged.join("layered"))?)?;
    let written = OpenOptions::new().append(true).open(merged.join("layered"))?;
    same(written)?;
    Ok(())
}

fn strange_paths_are_told_as_such() -> Result<()> {
    let dir = scratch()?;
    own_mounts()?;
    let events = Events::of("file_open")?;
    let told = |file: &File, path: Value, flags: Value| -> Result<()> {
        let event = event(&events, file)?;
        let fields = &event["fields"];
        ensure!(fields["path"] == path && fields["path_flags"] == flags, "{path} {flags}: {event}");
        Ok(())
    };
    // A file without a name, opened anew by its descriptor.
    let gone = dir.join("gone");
    let file = File::create_new(&gone)?;
    fs::remove_file(&gone)?;
    event(&events, &file)?;
    let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    told(&again, json!(gone), json!("deleted"))?;
    // In a tree that is mounted nowhere.
    fs::create_dir(dir.join("tree"))?;
    fs::write(dir.join("tree/file"), "")?;
    let tree = detached(&dir.join("tree"))?;
    let inside = File::from(openat(&tree, "file", OFlag::O_RDONLY, Mode::empty())?);
    // The path is that within the tree; that it is mounted nowhere, the namespace tells.
    ensure!(event(&events, &inside)?["fields"]["mnt_ns"] == 0, "a namespace for a detached tree");
    let inside = File::from(openat(&tree, "file", OFlag::O_RDONLY, Mode::empty())?);
    told(&inside, json!("/file"), Value::Null)?;
    // Moved out of the part of a file system that its mount shows.
    for name in ["all/part/sub", "shown"] {
        fs::create_dir_all(dir.join(name))?;
    }
    fs::write(dir.join("all/part/sub/file"), "")?;
    bind(&dir.join("all/part"), &dir.join("shown"))?;
    let sub: OwnedFd = File::open(dir.join("shown/sub"))?.into();
    fs::rename(dir.join("all/part/sub"), dir.join("all/sub"))?;
    let lost = File::from(openat(&sub, "file", OFlag::O_RDONLY, Mode::empty())?);
    let lost = event(&events, &lost)?;
    let path = lost["fields"]["path"].as_str().context("no path")?;
    ensure!(path.ends_with("/all/sub/file"), "{lost}");
    ensure!(lost["fields"]["path_flags"] == "unreachable", "{lost}");
    // Deeper than a path can be told: the end of it counts.
    let name = "n".repeat(200);
    let mut at: OwnedFd = File::open(&dir)?.into();
    for _ in 0..30 {
        mkdirat(&at, name.as_str(), Mode::from_bits_truncate(0o755))?;
        at = openat(&at, name.as_str(), OFlag::O_PATH, Mode::empty())?;
    }
    let deep =
        openat(&at, "end", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::from_bits_truncate(0o600))?;
    let deep = event(&events, &File::from(deep))?;
    let path = deep["fields"]["path"].as_str().context("no path")?;
    ensure!(path.ends_with(&format!("{name}/{name}/end")) && path.len() > 3800, "{deep}");
    ensure!(path.len() <= 4095 && deep["fields"]["path_flags"] == "truncated", "{deep}");
    // A root of one's own hides nothing.
    let jail = dir.join("jail");
    fs::create_dir(&jail)?;
    fs::write(jail.join("file"), "")?;
    chroot(&jail)?;
    let jailed = File::open("/file")?;
    told(&jailed, json!(jail.join("file")), Value::Null)
}

/// A copy of a tree that is mounted nowhere (`open_tree(2)`).
fn detached(dir: &Path) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: u32 = 1;
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that outlives the call, and the descriptor is new.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE);
        ensure!(fd >= 0, "open_tree: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd)?))
    }
}

/// The kernel keeps for each file whether rules ask for it. It must notice every way in which the same
/// file gets a name that they do ask for, or loses it.
fn no_other_name_fools_the_plan() -> Result<()> {
    let dir = scratch()?;
    own_mounts()?;
    for name in ["open", "secret", "secret/bound"] {
        fs::create_dir(dir.join(name))?;
    }
    let file = dir.join("open/file");
    fs::write(&file, "")?;
    let rule = format!(
        "- rule: Secret\n  desc: d\n  output: \"%fd.name\"\n  priority: NOTICE\n  condition: >-\n    \
         evt.type = openat and fd.name startswith {}/secret and proc.pid = {}\n",
        dir.display(),
        std::process::id()
    );
    let agent = Agent::start(&rule, &[])?;
    let mut expected = Vec::new();
    // Twice each: the second one is answered from what was kept.
    let mut opens = |path: &Path, is_asked: bool| -> Result<()> {
        for _ in 0..2 {
            drop(File::open(path)?);
            if is_asked {
                expected.push(path.display().to_string());
            }
        }
        Ok(())
    };
    opens(&file, false)?;
    // A hard link.
    let linked = dir.join("secret/linked");
    fs::hard_link(&file, &linked)?;
    opens(&linked, true)?;
    opens(&file, false)?;
    opens(&linked, true)?;
    // A bind mount of its folder, gone again, and one of the file itself.
    bind(&dir.join("open"), &dir.join("secret/bound"))?;
    opens(&dir.join("secret/bound/file"), true)?;
    opens(&file, false)?;
    nix::mount::umount(&dir.join("secret/bound"))?;
    let single = dir.join("secret/single");
    // Made by no open.
    mknod(&single, SFlag::S_IFREG, Mode::from_bits_truncate(0o600), 0)?;
    bind(&file, &single)?;
    opens(&single, true)?;
    opens(&file, false)?;
    // The file is renamed, and back.
    let renamed = dir.join("secret/renamed");
    fs::rename(&file, &renamed)?;
    opens(&renamed, true)?;
    fs::rename(&renamed, &file)?;
    opens(&file, false)?;
    // A folder far above is renamed.
    fs::rename(dir.join("open"), dir.join("secret-now"))?;
    opens(&dir.join("secret-now/file"), true)?;
    fs::rename(dir.join("secret-now"), dir.join("open"))?;
    opens(&file, false)?;
    // A file that takes the place of another.
    let other = dir.join("open/other");
    fs::write(&other, "")?;
    opens(&other, false)?;
    fs::rename(&other, &linked)?;
    opens(&linked, true)?;
    agent.wait("done", |agent| agent.alerts().len() >= expected.len())?;
    let told: Vec<String> = agent
        .alerts()
        .iter()
        .filter_map(|alert| alert["output_fields"]["fd.name"].as_str().map(str::to_owned))
        .collect();
    ensure!(told == expected, "told: {told:#?}\nexpected: {expected:#?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
