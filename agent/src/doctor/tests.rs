//! Nodes in folders: a sound one, and what is wrong with others.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::report::Status;
use super::*;

/// A node on which every requirement is met.
struct Node {
    roots: Roots,
    dir: TempDir,
}

impl Node {
    fn sound() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots {
            proc: dir.path().join("proc"),
            sys: dir.path().join("sys"),
            release: "6.12.0".into(),
            machine: "x86_64".into(),
            try_bpf: || Ok(()),
        };
        let node = Self { roots, dir };
        node.write("sys/kernel/btf/vmlinux", "");
        node.write("sys/kernel/security/lsm", "lockdown,capability,bpf,apparmor\n");
        node.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        node.write("proc/sys/kernel/ftrace_enabled", "1\n");
        node.write("proc/self/status", "Name:\tshrike\nCapEff:\t000001ffffffffff\n");
        node.write(
            "proc/self/mounts",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n",
        );
        node.namespace("user", "user:[4026531837]");
        node.namespace("pid", "pid:[4026531836]");
        node
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    fn namespace(&self, kind: &str, link: &str) {
        let dir = self.roots.proc.join("self/ns");
        fs::create_dir_all(&dir).unwrap();
        let _ = fs::remove_file(dir.join(kind));
        symlink(link, dir.join(kind)).unwrap();
    }

    /// What the check `name` says: its status, what it found, and the cure.
    fn diagnosis(&self, name: &str) -> (&'static str, String, String) {
        let report = examine(&self.roots);
        let check = report.checks.into_iter().find(|check| check.name == name).unwrap();
        match check.status {
            Status::Ok => ("ok", check.found, String::new()),
            Status::Warning(advice) => ("warning", check.found, advice.cure),
            Status::Failed(advice) => ("failed", check.found, advice.cure),
        }
    }

    fn assert(&self, name: &str, status: &str, found: &str, cure: &str) {
        let (is, what, how) = self.diagnosis(name);
        assert_eq!(is, status, "{name}: {what}");
        assert!(what.contains(found), "{name}: {what}");
        assert!(how.contains(cure), "{name}: {how}");
        assert_eq!(examine(&self.roots).is_met(), status != "failed", "{name}");
    }
}

#[test]
fn a_sound_node_meets_everything() {
    let report = examine(&Node::sound().roots);
    let bad: Vec<_> =
        report.checks.iter().filter(|check| !matches!(check.status, Status::Ok)).collect();
    assert!(bad.is_empty() && report.checks.len() == 14, "{bad:?}");
}

#[test]
fn the_kernel_must_be_new_enough_and_have_btf() {
    let mut node = Node::sound();
    node.roots.machine = "aarch64".into();
    node.assert("architecture", "failed", "aarch64", "x86_64");
    let mut node = Node::sound();
    node.roots.release = "5.15.0-1".into();
    node.assert("kernel", "failed", "5.15.0-1", "6.1 or newer");
    node.roots.release = "what".into();
    node.assert("kernel", "failed", "what", "6.1 or newer");
    let node = Node::sound();
    node.remove("sys/kernel/btf/vmlinux");
    node.assert("btf", "failed", "does not exist", "CONFIG_DEBUG_INFO_BTF=y");
}

#[test]
fn ftrace_must_not_be_off() {
    let node = Node::sound();
    node.write("proc/sys/kernel/ftrace_enabled", "0\n");
    node.assert("ftrace", "failed", "is 0", "sysctl kernel.ftrace_enabled=1");
    node.remove("proc/sys/kernel/ftrace_enabled");
    node.assert("ftrace", "warning", "unknown", "");
}

#[test]
fn capabilities_are_named_one_by_one() {
    let node = Node::sound();
    let effective = |bits: u64| node.write("proc/self/status", &format!("CapEff:\t{bits:016x}\n"));
    effective(0);
    node.assert("capabilities", "failed", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN", "as root");
    effective(1 << 39 | 1 << 38);
    let missing = "without CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH";
    node.assert("capabilities", "warning", missing, "");
    effective(1 << 21 | 1 << 19 | 1 << 2);
    node.assert("capabilities", "ok", "", "");
}

#[test]
fn the_bpf_call_must_be_allowed() {
    let mut node = Node::sound();
    node.roots.try_bpf = || Err(io::Error::from_raw_os_error(libc::EPERM));
    node.assert("bpf", "failed", "Operation not permitted", "CAP_BPF");
}

#[test]
fn namespaces_must_be_the_hosts() {
    let node = Node::sound();
    node.namespace("user", "user:[4026532000]");
    node.assert("user-namespace", "failed", "user:[4026532000]", "hostUsers");
    let node = Node::sound();
    node.namespace("pid", "pid:[4026532001]");
    node.assert("pid-namespace", "failed", "pid:[4026532001]", "hostPID: true");
}

#[test]
fn cgroups_should_be_of_version_2() {
    let node = Node::sound();
    node.write("proc/self/mounts", "c /c cgroup rw 0 0\nd /d cgroup2 rw 0 0\n");
    node.assert("cgroup", "warning", "hybrid", "");
    node.write("proc/self/mounts", "c /c cgroup rw 0 0\n");
    node.assert("cgroup", "warning", "version 1 only", "");
    node.write("proc/self/mounts", "t / tmpfs rw 0 0\n");
    node.assert("cgroup", "warning", "not mounted", "");
}

#[test]
fn bpf_should_be_an_lsm_and_early() {
    let node = Node::sound();
    node.write("sys/kernel/security/lsm", "lockdown,capability,apparmor\n");
    node.assert("bpf-lsm", "warning", "not active", "lsm=lockdown,capability,apparmor,bpf ");
    node.write("sys/kernel/security/lsm", "capability,apparmor,bpf\n");
    node.assert("lsm-order", "warning", "apparmor", "put bpf before");
    node.remove("sys/kernel/security/lsm");
    node.assert("securityfs", "warning", "not mounted", "mount -t securityfs");
}

#[test]
fn lockdown_must_let_probes_read() {
    let node = Node::sound();
    node.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    node.assert("lockdown", "failed", "confidentiality", "lockdown=integrity");
    node.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    node.assert("lockdown", "ok", "integrity", "");
}
