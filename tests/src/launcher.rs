//! The launcher: what a container is isolated from, what it is told, and that nothing of it is left.

mod attack;
mod device;
pub mod fault;
mod join;
mod life;
pub(crate) mod network;
pub mod options;
mod posture;
pub mod seccomp;
pub mod selinux;
mod storage;
mod switch;
mod terminal;
mod userns;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::scratch;
use crate::container::{Ended, Rootfs, Traces, own_namespace};
use crate::profile::{self, FORBIDDEN};
use crate::suite::{Suite, Tier};
use crate::tests;
use attack::{
    cgroups_cannot_be_written, descriptors_do_not_reach_it, its_first_task_cannot_be_looked_into,
    its_program_as_the_command_is_of_no_use, links_in_the_kernels_places_are_refused,
    names_and_users_are_taken_strictly, nothing_is_shown_in_proc, the_hosts_root_is_refused,
    what_an_image_has_in_them_is_not_believed, what_the_caller_has_is_not_inherited,
};
use device::{
    block_devices_are_shared_out, devices_are_handed_over, devices_are_those_that_are_allowed,
    devices_that_cannot_be_had_are_named,
};
use life::{
    a_killed_monitor_takes_its_container_along, commands_are_joined_as_it_is_asked_for,
    commands_join_a_container, commands_join_a_container_with_users_of_its_own,
    containers_are_paused, containers_live_in_the_background, created_containers_are_started_later,
    ends_are_told_whenever_they_come, what_cannot_be_started_is_not_there,
    what_containers_use_is_told, what_containers_write_is_logged,
};
use network::{
    network_files_are_where_links_lead, network_has_a_way_out_or_none,
    network_is_cleaned_up_after_a_killed_launcher, network_is_made_again_when_it_is_gone,
    network_is_the_same_from_inside_and_outside, network_names_come_and_go,
    network_of_users_of_its_own, network_rates_are_kept,
    network_takes_a_containers_own_addresses_only, networks_are_kept_apart,
    networks_of_another_launcher_are_left_alone, networks_that_cannot_be_had_are_named,
};
use posture::each_misconfiguration_is_told_alone;
use seccomp::{
    seccomp_follows_a_profile_of_ones_own, seccomp_is_there_unless_it_is_not_wanted,
    seccomp_lets_ordinary_programs_work, seccomp_refuses_what_containers_do_not_need,
    seccomp_says_what_is_wrong_with_a_profile,
};
use storage::{
    layers_are_put_together, many_containers_share_layers, waiting_for_layers_can_be_interrupted,
    what_is_written_is_a_containers_own, what_runs_is_left_alone,
};
use switch::{
    every_switch_is_declared, every_switch_is_seen_from_both_sides,
    no_switch_is_an_alarm_by_itself, nothing_is_left_at_the_end,
};
use userns::{
    userns_has_devices_and_cannot_make_any, userns_has_ids_that_the_host_does_not_know,
    userns_is_confined_by_apparmor, userns_keeps_what_is_asked_for, userns_owns_an_image,
    userns_owns_its_root_file_system, userns_root_has_no_power_outside,
    userns_says_what_it_cannot_have, userns_sees_volumes_as_they_are_or_as_its_own,
};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "launcher",
    tier: Tier::Quick,
    budget: Duration::from_mins(18),
    // It does not depend on the probes: it has the guests that those suites leave.
    wants: |guest| guest.is_plain() && !guest.is_across(),
    tests: tests![
        has_namespaces_of_its_own,
        shares_what_it_is_told_to,
        has_dockers_capabilities,
        capabilities_are_added_and_dropped,
        paths_of_the_kernel_are_protected,
        privileged_sees_the_host,
        limits_are_kept,
        processors_are_shared_out,
        processes_have_limits_of_their_own,
        parameters_are_the_containers_own,
        file_systems_in_memory_are_bounded,
        volumes_are_shown,
        root_can_be_read_only,
        runs_as_another_user,
        exit_codes_are_passed_on,
        signals_are_passed_on,
        apparmor_confines,
        its_program_cannot_be_written,
        what_cannot_be_set_up_is_named,
        a_name_is_used_once_at_a_time,
        a_killed_launcher_takes_its_container_along,
        a_container_runs_in_a_container,
        containers_live_in_the_background,
        what_cannot_be_started_is_not_there,
        ends_are_told_whenever_they_come,
        created_containers_are_started_later,
        commands_join_a_container,
        commands_join_a_container_with_users_of_its_own,
        commands_are_joined_as_it_is_asked_for,
        containers_are_paused,
        what_containers_write_is_logged,
        what_containers_use_is_told,
        a_killed_monitor_takes_its_container_along,
        descriptors_do_not_reach_it,
        its_program_as_the_command_is_of_no_use,
        its_first_task_cannot_be_looked_into,
        links_in_the_kernels_places_are_refused,
        what_an_image_has_in_them_is_not_believed,
        nothing_is_shown_in_proc,
        what_the_caller_has_is_not_inherited,
        cgroups_cannot_be_written,
        names_and_users_are_taken_strictly,
        the_hosts_root_is_refused,
        devices_are_those_that_are_allowed,
        devices_are_handed_over,
        devices_that_cannot_be_had_are_named,
        block_devices_are_shared_out,
        seccomp_is_there_unless_it_is_not_wanted,
        seccomp_lets_ordinary_programs_work,
        seccomp_refuses_what_containers_do_not_need,
        seccomp_follows_a_profile_of_ones_own,
        seccomp_says_what_is_wrong_with_a_profile,
        layers_are_put_together,
        what_is_written_is_a_containers_own,
        many_containers_share_layers,
        what_runs_is_left_alone,
        waiting_for_layers_can_be_interrupted,
        userns_has_ids_that_the_host_does_not_know,
        userns_owns_its_root_file_system,
        userns_sees_volumes_as_they_are_or_as_its_own,
        userns_has_devices_and_cannot_make_any,
        userns_root_has_no_power_outside,
        userns_is_confined_by_apparmor,
        userns_keeps_what_is_asked_for,
        userns_owns_an_image,
        userns_says_what_it_cannot_have,
        each_misconfiguration_is_told_alone,
        every_switch_is_declared,
        every_switch_is_seen_from_both_sides,
        no_switch_is_an_alarm_by_itself,
        network_is_the_same_from_inside_and_outside,
        network_names_come_and_go,
        network_files_are_where_links_lead,
        network_of_users_of_its_own,
        networks_are_kept_apart,
        network_has_a_way_out_or_none,
        network_takes_a_containers_own_addresses_only,
        network_rates_are_kept,
        network_is_cleaned_up_after_a_killed_launcher,
        networks_of_another_launcher_are_left_alone,
        network_is_made_again_when_it_is_gone,
        networks_that_cannot_be_had_are_named,
        nothing_is_left_at_the_end,
    ],
};

/// Runs a test with a root file system, and asserts that nothing is left.
fn leaves_nothing(test: impl FnOnce(&Rootfs) -> Result<()>) -> Result<()> {
    let rootfs = Rootfs::new()?;
    leaves_nothing_in(&rootfs, || test(&rootfs))
}

/// Runs a test with this root file system, and asserts that nothing is left.
fn leaves_nothing_in(rootfs: &Rootfs, test: impl FnOnce() -> Result<()>) -> Result<()> {
    // The first container makes mount points in the folder.
    rootfs.run(&[], &["true"])?.text()?;
    let traces = Traces::of_host()?;
    test()?;
    traces.are_gone()
}

/// The namespaces of a container with these options that are the host's.
fn shared(rootfs: &Rootfs, options: &[&str]) -> Result<Vec<String>> {
    let ended = rootfs.script(options, "stat -L -c '%n %i' /proc/self/ns/*")?;
    let mut shared = Vec::new();
    for line in ended.text()?.lines() {
        let (path, inode) = line.split_once(' ').context("stat said something else")?;
        let name = path.rsplit('/').next().unwrap_or_default();
        if !name.ends_with("_for_children") && own_namespace(name)? == inode.parse::<u64>()? {
            shared.push(name.to_owned());
        }
    }
    Ok(shared)
}

fn has_namespaces_of_its_own() -> Result<()> {
    leaves_nothing(|rootfs| {
        let shared = shared(rootfs, &[])?;
        ensure!(shared == ["time", "user"], "{shared:?}");
        let said = rootfs.script(&["--name", "a-1"], "hostname; echo $$; cat /proc/self/cgroup")?;
        ensure!(said.text()? == "a-1\n1\n0::/", "{said:?}");
        let said = rootfs.script(&["--hostname", "h"], "hostname; ls -d /proc/[0-9]* | wc -l")?;
        // The shell, ls, and wc, which may not have started yet.
        ensure!(["h\n2", "h\n3"].contains(&said.text()?), "{said:?}");
        let said = rootfs.script(&[], "cat /sys/class/net/*/operstate /proc/net/dev | wc -l")?;
        ensure!(said.text()? == "4", "more than a loopback device: {said:?}");
        Ok(())
    })
}

fn shares_what_it_is_told_to() -> Result<()> {
    leaves_nothing(|rootfs| {
        ensure!(shared(rootfs, &["--pid", "host"])? == ["pid", "time", "user"]);
        ensure!(shared(rootfs, &["--network", "host"])? == ["net", "time", "user"]);
        ensure!(shared(rootfs, &["--privileged"])? == ["cgroup", "time", "user"]);
        ensure!(shared(rootfs, &["--privileged", "--cgroupns=private"])? == ["time", "user"]);
        ensure!(shared(rootfs, &["--cgroupns=host"])? == ["cgroup", "time", "user"]);
        ensure!(shared(rootfs, &["--ipc=host"])? == ["ipc", "time", "user"]);
        ensure!(shared(rootfs, &["--uts=host"])? == ["time", "user", "uts"]);
        fs::write("/dev/shm/hosts", "shared")?;
        let said = rootfs.script(&["--ipc=host"], "cat /dev/shm/hosts")?;
        fs::remove_file("/dev/shm/hosts")?;
        ensure!(said.text()? == "shared", "{said:?}");
        let said = rootfs.script(&["--uts=host", "--hostname=x"], "true")?;
        ensure!(said.code == 125 && said.stderr.contains("--hostname"), "{said:?}");
        // An orphan outlives the command, but not the container.
        rootfs.script(&["--pid", "host"], "sleep 1000 & true")?.text()?;
        Ok(())
    })
}

/// A field of the status of the container's command.
fn status(rootfs: &Rootfs, options: &[&str], field: &str) -> Result<String> {
    let ended = rootfs.run(options, &["grep", &format!("^{field}:"), "/proc/self/status"])?;
    let (_, value) = ended.text()?.split_once(':').context("no such field")?;
    Ok(value.trim().to_owned())
}

fn has_dockers_capabilities() -> Result<()> {
    leaves_nothing(|rootfs| {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let found = status(rootfs, &[], set)?;
            ensure!(found == "00000000a80425fb", "{set} is {found}");
        }
        for set in ["CapInh", "CapAmb"] {
            let found = status(rootfs, &[], set)?;
            ensure!(found == "0000000000000000", "{set} is {found}");
        }
        ensure!(status(rootfs, &[], "NoNewPrivs")? == "1");
        Ok(())
    })
}

fn capabilities_are_added_and_dropped() -> Result<()> {
    leaves_nothing(|rootfs| {
        let found = status(rootfs, &["--cap-drop=ALL", "--cap-add=net_raw"], "CapBnd")?;
        ensure!(found == "0000000000002000", "{found}");
        let found = status(rootfs, &["--cap-add=CAP_SYS_ADMIN", "--cap-drop=MKNOD"], "CapEff")?;
        ensure!(found == "00000000a02425fb", "{found}");
        let own = fs::read_to_string("/proc/self/status")?;
        let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:")).context("no CapPrm")?;
        ensure!(status(rootfs, &["--privileged"], "CapEff")? == own.trim());
        ensure!(status(rootfs, &["--privileged"], "NoNewPrivs")? == "0");
        Ok(())
    })
}

fn paths_of_the_kernel_are_protected() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "
            for path in /proc/kcore /proc/keys /proc/timer_list; do
                test -e $path && test -n \"$(head -c 1 $path)\" && echo $path can be read
            done
            test -z \"$(ls -A /sys/firmware)\" || echo /sys/firmware is shown
            for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/profiling; do
                (echo 0 > $path) 2>/dev/null && echo $path can be written
            done
            mkdir /sys/fs/cgroup/own 2>/dev/null && echo the cgroup can be changed
            ls /dev | wc -l";
        let said = rootfs.script(&[], script)?;
        ensure!(said.text()? == "14", "{said:?}");
        Ok(())
    })
}

fn privileged_sees_the_host() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "ls -d /sys/kernel/security/lsm /dev/loop0; readlink /proc/1/ns/mnt; \
            v=$(cat /proc/sys/kernel/panic); echo $v > /proc/sys/kernel/panic";
        let said = rootfs.script(&["--privileged", "--pid", "host"], script)?;
        let mnt = fs::read_link("/proc/1/ns/mnt")?;
        let expected = format!("/dev/loop0\n/sys/kernel/security/lsm\n{}", mnt.display());
        ensure!(said.text()? == expected, "{said:?}");
        Ok(())
    })
}

fn limits_are_kept() -> Result<()> {
    leaves_nothing(|rootfs| {
        let limits = ["--memory", "16m", "--pids-limit", "5"];
        let said =
            rootfs.script(&limits, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max")?;
        ensure!(said.text()? == "16777216\n5", "{said:?}");
        let greedy =
            rootfs.run(&limits, &["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"])?;
        ensure!(greedy.code == 137, "{greedy:?}");
        ensure!(greedy.stderr.contains("it had no memory left"), "{greedy:?}");
        let limits =
            ["--memory=16m", "--memory-swap=24m", "--memory-reservation=8m", "--pids-limit=5"];
        let files = "cat /sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/memory.low";
        let said = rootfs.script(&limits, files)?;
        ensure!(said.text()? == "8388608\n8388608", "{said:?}");
        let said = rootfs.script(&["--memory=16m", "--memory-swap=-1"], files)?;
        ensure!(said.text()? == "max\n0", "{said:?}");
        let said = rootfs.script(&["--memory=16m", "--memory-swap=8m"], files)?;
        ensure!(said.code == 125 && said.stderr.contains("--memory-swap"), "{said:?}");
        let script = "for i in 1 2 3 4 5 6; do sleep 100 & done; wait";
        let many = rootfs.script(&limits, script)?;
        ensure!(many.code != 0 && many.stderr.contains("fork"), "{many:?}");
        Ok(())
    })
}

fn processors_are_shared_out() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "cd /sys/fs/cgroup; cat cpu.max cpu.weight cpuset.cpus.effective
            i=0; while test $i -lt 10000; do i=$((i+1)); done
            awk '/nr_throttled/ { print ($2 > 0) }' cpu.stat";
        let limits = ["--cpus=0.5", "--cpu-shares=512", "--cpuset-cpus=0"];
        let said = rootfs.script(&limits, script)?;
        ensure!(said.text()? == "50000 100000\n20\n0\n1", "{said:?}");
        let said = rootfs.script(&["--cpuset-cpus=4096"], "true")?;
        ensure!(said.code == 125 && said.stderr.contains("cpuset"), "{said:?}");
        Ok(())
    })
}

fn processes_have_limits_of_their_own() -> Result<()> {
    leaves_nothing(|rootfs| {
        let limits = ["--ulimit=nofile=16:32", "--ulimit=core=0", "--oom-score-adj=500"];
        let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj
            i=3; while eval \"exec $i</dev/null\" 2>/dev/null; do i=$((i+1)); done";
        let said = rootfs.script(&limits, script)?;
        ensure!(said.stdout.trim() == "16\n32\n0\n500", "{said:?}");
        let said = rootfs.script(&["--user=7:8", "--group-add=9", "--group-add=10"], "id -G")?;
        ensure!(said.text()? == "8 9 10", "{said:?}");
        Ok(())
    })
}

fn parameters_are_the_containers_own() -> Result<()> {
    const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
    leaves_nothing(|rootfs| {
        let before = fs::read_to_string(FORWARD)?;
        ensure!(before.trim() == "0", "the host forwards");
        let options = ["--sysctl=net.ipv4.ip_forward=1", "--sysctl=kernel.msgmax=4242"];
        let script = format!("cat {FORWARD} /proc/sys/kernel/msgmax");
        let said = rootfs.script(&options, &script)?;
        ensure!(said.text()? == "1\n4242", "{said:?}");
        ensure!(fs::read_to_string(FORWARD)? == before, "the host forwards now");
        ensure!(fs::read_to_string("/proc/sys/kernel/msgmax")?.trim() != "4242");
        let shared = ["--network=host", "--sysctl=net.ipv4.ip_forward=1"];
        let said = rootfs.script(&shared, "true")?;
        ensure!(said.code == 125 && said.stderr.contains("changed for all"), "{said:?}");
        let said = rootfs.script(&["--sysctl=kernel.core_pattern=x"], "true")?;
        ensure!(said.code == 2 && said.stderr.contains("not the container's own"), "{said:?}");
        Ok(())
    })
}

fn file_systems_in_memory_are_bounded() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script =
            "cp /bin/busybox /a/; cp /bin/busybox /b/; /a/busybox true; /b/busybox echo ran
            dd if=/dev/zero of=/c/file bs=64k count=2 2>&1 | grep -o 'No space left'
            dd if=/dev/zero of=/dev/shm/file bs=64k count=2 2>&1 | grep -o 'No space left'
            touch /d/file 2>&1 | grep -o 'Read-only'";
        let mounts = ["--tmpfs=/a", "--tmpfs=/b:exec", "--tmpfs=/c:size=64k", "--tmpfs=/d:ro"];
        let said = rootfs.script(&[&mounts[..], &["--shm-size=64k"]].concat(), script)?;
        let expected = "ran\nNo space left\nNo space left\nRead-only";
        ensure!(said.stdout.trim() == expected, "{said:?}");
        ensure!(said.stderr.contains("/a/busybox: Permission denied"), "{said:?}");
        for dir in ["a", "b", "c", "d"] {
            fs::remove_dir(rootfs.path().join(dir))?;
        }
        Ok(())
    })
}

fn volumes_are_shown() -> Result<()> {
    let data = scratch()?;
    fs::create_dir(data.join("sub"))?;
    fs::write(data.join("file"), "content")?;
    let volume = |target: &str| format!("{}:{target}", data.display());
    leaves_nothing(|rootfs| {
        let said = rootfs.script(&["-v", &volume("/data:ro")], "cat /data/file; touch /data/x")?;
        ensure!(said.code == 1 && said.stdout == "content", "{said:?}");
        ensure!(said.stderr.contains("Read-only"), "{said:?}");
        rootfs.script(&["-v", &volume("/data")], "echo new > /data/file")?.text()?;
        ensure!(fs::read_to_string(data.join("file"))? == "new\n");
        fs::remove_dir_all(rootfs.path().join("data"))?;
        // A link in the image must not lead a volume out of it.
        let link = rootfs.path().join("link");
        symlink("/../../../../tmp", &link)?;
        rootfs.run(&["-v", &volume("/link/made-by-volume")], &["true"])?.text()?;
        ensure!(!fs::exists("/tmp/made-by-volume")?, "a volume was mounted outside");
        fs::remove_dir(rootfs.path().join("tmp/made-by-volume"))?;
        fs::remove_file(link)?;
        Ok(())
    })?;
    fs::remove_dir_all(data)?;
    Ok(())
}

fn root_can_be_read_only() -> Result<()> {
    leaves_nothing(|rootfs| {
        let said =
            rootfs.script(&["--read-only"], "touch /x; echo ok > /dev/shm/x; cat /dev/shm/x")?;
        ensure!(said.text()? == "ok" && said.stderr.contains("Read-only"), "{said:?}");
        Ok(())
    })
}

fn runs_as_another_user() -> Result<()> {
    leaves_nothing(|rootfs| {
        let user = ["--user", "1000:100"];
        let said = rootfs.run(&user, &["id"])?;
        ensure!(said.text()?.starts_with("uid=1000 gid=100"), "{said:?}");
        for set in ["CapPrm", "CapEff"] {
            ensure!(status(rootfs, &user, set)? == "0000000000000000");
        }
        Ok(())
    })
}

fn exit_codes_are_passed_on() -> Result<()> {
    leaves_nothing(|rootfs| {
        ensure!(rootfs.script(&[], "exit 42")?.code == 42);
        // The first process of a pid namespace does not mind its own signals.
        ensure!(rootfs.script(&["--pid", "host"], "kill -KILL $$")?.code == 137);
        let missing = rootfs.run(&[], &["no-such-command"])?;
        ensure!(missing.code == 127 && missing.stderr.contains("no-such-command"), "{missing:?}");
        let plain = rootfs.path().join("plain");
        fs::write(&plain, "no program")?;
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644))?;
        let denied = rootfs.run(&[], &["/plain"])?;
        fs::remove_file(&plain)?;
        ensure!(denied.code == 126 && denied.stderr.contains("/plain"), "{denied:?}");
        let said = rootfs.script(&["-e", "A=1", "-w", "/tmp"], "echo $A $HOME; pwd")?;
        ensure!(said.text()? == "1 /root\n/tmp", "{said:?}");
        Ok(())
    })
}

fn signals_are_passed_on() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done";
        let mut command = rootfs.launcher(&[], &["sh", "-c", script]);
        let mut launcher = command.stdout(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        let stdout = launcher.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut ready)?;
        kill(Pid::from_raw(i32::try_from(launcher.id())?), Signal::SIGTERM)?;
        let status = launcher.wait()?;
        ensure!(status.code() == Some(5), "{status}");
        Ok(())
    })
}

fn apparmor_confines() -> Result<()> {
    profile::load()?;
    leaves_nothing(|rootfs| {
        let script = format!(
            "cat /proc/self/attr/current; echo > {FORBIDDEN}; echo > /tmp/other && echo written
            rm -f /tmp/other {FORBIDDEN} 2> /dev/null; true"
        );
        let confined = rootfs.script(&[profile::OPTION], &script)?;
        let lines: Vec<&str> = confined.text()?.lines().collect();
        ensure!(lines == [profile::ENFORCED, "written"], "{confined:?}");
        ensure!(confined.stderr.contains(FORBIDDEN), "{confined:?}");
        // Neither privileges nor other capabilities matter to it.
        let privileged = rootfs.script(&[profile::OPTION, "--privileged"], &script)?;
        ensure!(privileged.stderr.contains(FORBIDDEN), "{privileged:?}");
        for options in [&[][..], &["--security-opt=apparmor=unconfined"]] {
            let free = rootfs.script(options, &script)?;
            ensure!(free.text()? == "unconfined\nwritten" && free.stderr.is_empty(), "{free:?}");
        }
        let unknown = rootfs.run(&["--security-opt=apparmor=unknown"], &["true"])?;
        let why = "AppArmor profile unknown: there is none of that name";
        ensure!(unknown.code == 125 && unknown.stderr.contains(why), "{unknown:?}");
        Ok(())
    })
}

/// Whoever can reach the launcher's program cannot write it, and a container can execute it.
fn its_program_cannot_be_written() -> Result<()> {
    leaves_nothing(|rootfs| {
        let program = fs::read("/usr/bin/shrike")?;
        // The kernel takes the launcher's program for the interpreter: it finds no such command.
        let evil = rootfs.path().join("bin/evil");
        fs::write(&evil, "#!/proc/self/exe\n")?;
        fs::set_permissions(&evil, PermissionsExt::from_mode(0o755))?;
        let ended = rootfs.run(&[], &["/bin/evil"])?;
        ensure!(ended.code == 2 && ended.stderr.contains("Usage:"), "{ended:?}");
        fs::remove_file(&evil)?;
        // Nobody has more power than the host's root.
        let script = "trap 'exit 0' TERM; touch /tmp/ready; while true; do sleep 0.1; done";
        let mut launcher = rootfs.launcher(&[], &["sh", "-c", script]).spawn()?;
        let ready = rootfs.path().join("tmp/ready");
        wait("the container runs", || ready.exists())?;
        let path = format!("/proc/{}/exe", launcher.id());
        let held = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        kill(Pid::from_raw(i32::try_from(launcher.id())?), Signal::SIGTERM)?;
        launcher.wait()?;
        fs::remove_file(&ready)?;
        // Now it is not being executed any more.
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        let written = fs::OpenOptions::new().write(true).open(path);
        let errno = written.err().and_then(|error| error.raw_os_error());
        ensure!(errno == Some(libc::EROFS), "{errno:?}");
        ensure!(fs::read("/usr/bin/shrike")? == program, "the program is another");
        Ok(())
    })
}

fn what_cannot_be_set_up_is_named() -> Result<()> {
    let failed = |ended: &Ended, part: &str| {
        ensure!(ended.code == 125 && ended.stderr.contains(part), "{part}: {ended:?}");
        Ok(())
    };
    leaves_nothing(|rootfs| {
        failed(&rootfs.run(&["-w", "/nowhere"], &["true"])?, "cannot enter /nowhere")?;
        failed(&rootfs.run(&["-v", "/nowhere:/x"], &["true"])?, "/nowhere")?;
        let output = rootfs.launcher(&["--pid-file", "/nowhere/x"], &["true"]).output()?;
        failed(&Ended::new(&output, None)?, "/nowhere/x")?;
        let mut command = Command::new("shrike");
        let output =
            command.args(["container", "run", "--rootfs", "/nowhere", "--", "sh"]).output()?;
        failed(&Ended::new(&output, None)?, "/nowhere")
    })
}

fn a_name_is_used_once_at_a_time() -> Result<()> {
    leaves_nothing(|rootfs| {
        let mut first = rootfs.launcher(&["--name", "once"], &["sleep", "1000"]).spawn()?;
        let running = || fs::exists("/sys/fs/cgroup/shrike/once").unwrap_or(false);
        wait("running", running)?;
        let second = rootfs.run(&["--name", "once"], &["true"])?;
        ensure!(second.code == 125 && second.stderr.contains("once is in use"), "{second:?}");
        // Its first process does not handle it: it takes three to end it.
        for _ in 0..3 {
            kill(Pid::from_raw(i32::try_from(first.id())?), Signal::SIGTERM)?;
            thread::sleep(Duration::from_millis(100));
        }
        let status = first.wait()?;
        ensure!(status.code() == Some(137), "{status}");
        rootfs.run(&["--name", "once"], &["true"])?.text()?;
        Ok(())
    })
}

fn a_killed_launcher_takes_its_container_along() -> Result<()> {
    leaves_nothing(|rootfs| {
        let mut launcher = rootfs.launcher(&["--name", "orphan"], &["sleep", "1000"]).spawn()?;
        let procs = || fs::read_to_string("/sys/fs/cgroup/shrike/orphan/cgroup.procs");
        wait("running", || procs().is_ok_and(|pids| !pids.is_empty()))?;
        launcher.kill()?;
        launcher.wait()?;
        wait("empty", || procs().is_ok_and(|pids| pids.is_empty()))?;
        // The next one of that name clears up what the launcher could not.
        rootfs.run(&["--name", "orphan"], &["true"])?.text()?;
        Ok(())
    })
}

fn a_container_runs_in_a_container() -> Result<()> {
    leaves_nothing(|rootfs| {
        let script = "mkdir -p /inner/bin && cp /bin/busybox /inner/bin/ && \
            shrike container run --rootfs /inner -- /bin/busybox hostname; \
            code=$?; rm -r /inner /run /var; exit $code";
        let said = rootfs.script(&["--privileged"], script)?;
        ensure!(said.text()?.len() == 12, "{said:?}");
        Ok(())
    })
}

/// Waits until something is so.
fn wait(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        ensure!(Instant::now() < deadline, "not {what} within 10 s");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
