//! Suite `guest`: the guest is what the host asked for. The other suites build on that.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::utsname::uname;
use nix::unistd::{chdir, pivot_root};

use crate::configuration::Configuration;
use crate::suite::{Suite, Tier, skip};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "guest",
    tier: Tier::Quick,
    budget: Duration::from_secs(20),
    wants: Configuration::is_single,
    tests: tests![
        kernel_is_of_the_series,
        security_modules_are_as_asked,
        type_information_is_there,
        file_systems_are_mounted,
        preemption_is_as_asked,
        loopback_is_up,
        programs_are_found,
        root_can_be_pivoted,
    ],
};

fn kernel_is_of_the_series() -> Result<()> {
    let release = uname()?.release().to_string_lossy().into_owned();
    match Configuration::current()?.series.as_str() {
        "newest" => {
            ensure!(!["6.1.", "6.12."].iter().any(|older| release.starts_with(older)), "{release}");
        }
        series => ensure!(release.starts_with(&format!("{series}.")), "{release}"),
    }
    Ok(())
}

fn security_modules_are_as_asked() -> Result<()> {
    let active = read("/sys/kernel/security/lsm")?;
    let active: Vec<&str> = active.trim_end().split(',').collect();
    ensure!(active.contains(&"bpf") == Configuration::current()?.lsm_bpf, "{active:?}");
    ensure!(active.contains(&"apparmor") && active.contains(&"capability"), "{active:?}");
    Ok(())
}

fn type_information_is_there() -> Result<()> {
    let information = fs::read("/sys/kernel/btf/vmlinux")?;
    ensure!(information.starts_with(&0xeb9f_u16.to_le_bytes()), "no BTF magic number");
    Ok(())
}

fn file_systems_are_mounted() -> Result<()> {
    let mounts = read("/proc/self/mounts")?;
    for (kind, target) in [
        ("cgroup2", "/sys/fs/cgroup"),
        ("securityfs", "/sys/kernel/security"),
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("debugfs", "/sys/kernel/debug"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/"),
    ] {
        let expected = format!(" {target} {kind} ");
        ensure!(mounts.contains(&expected), "{kind} is not mounted on {target} in\n{mounts}");
    }
    let controllers = read("/sys/fs/cgroup/cgroup.controllers")?;
    ensure!(controllers.contains("memory") && controllers.contains("pids"), "{controllers}");
    Ok(())
}

fn preemption_is_as_asked() -> Result<()> {
    let path = "/sys/kernel/debug/sched/preempt";
    if !Path::new(path).exists() {
        skip("this kernel does not tell its preemption mode");
    }
    // The mode in force stands in parentheses.
    let modes = read(path)?;
    ensure!(modes.contains("(full)") == Configuration::current()?.preempt_full, "{modes}");
    Ok(())
}

fn loopback_is_up() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    Ok(())
}

fn programs_are_found() -> Result<()> {
    for program in ["/usr/bin/shrike", "/bin/sh", "/sbin/ip"] {
        ensure!(Path::new(program).exists(), "no {program}");
    }
    Ok(())
}

/// What container runtimes do first.
fn root_can_be_pivoted() -> Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    fs::create_dir_all("/tmp/pivot")?;
    mount(Some("tmpfs"), "/tmp/pivot", Some("tmpfs"), MsFlags::empty(), none)?;
    chdir("/tmp/pivot")?;
    pivot_root(".", ".").context("pivot_root")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
