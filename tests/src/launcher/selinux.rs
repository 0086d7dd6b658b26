//! Contexts of `SELinux`, in a guest where it is active: the policy of the tests is loaded and enforced, by which a
//! container may write its own files and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use super::network::network;
use super::storage::Image;
use super::switch::{Inside, Outside, seen};
use super::{leaves_nothing, posture, wait};
use crate::agent::{Agent, scratch};
use crate::bench::DEFAULT_RULES;
use crate::configuration::Configuration;
use crate::container::{Background, Ended, Rootfs, UNCONFINED, UNTIL_END, container};
use crate::suite::{Suite, Tier};
use crate::tests;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "selinux",
    tier: Tier::Quick,
    budget: std::time::Duration::from_mins(4),
    wants: Configuration::is_selinux,
    tests: tests![
        without_a_policy_there_are_no_labels,
        containers_have_the_policys_contexts,
        contexts_can_be_chosen,
        file_systems_of_a_container_are_its_own,
        volumes_are_the_hosts_until_they_are_given,
        nobody_takes_the_hosts_own_folders,
        contexts_stay_a_containers_own,
        a_container_has_them_however_it_is_started,
        those_who_share_have_the_same_categories,
        a_policy_need_not_know_of_containers,
        a_labelled_container_is_not_told_of,
    ],
};

const SELINUX: &str = "/sys/fs/selinux";
const POLICY: &str = "/usr/share/shrike/selinux.policy";

/// What the policy calls the host's processes.
const HOST: &str = "host:host_r:host_t:s0";

/// How the contexts of containers and their files begin: their categories follow.
const BOX: &str = "box:box_r:box_t:s0";
const FILES: &str = "box:object_r:box_file_t:s0";

/// Has the kernel hold to the policy, and the host say what containers get.
fn enforce() -> Result<()> {
    mount_selinux()?;
    if !context_of("self")?.contains(':') {
        let policy = fs::read(POLICY)?;
        fs::write(format!("{SELINUX}/load"), policy).context("load the policy")?;
    }
    let contexts = Path::new("/etc/selinux/shrike/contexts");
    fs::create_dir_all(contexts)?;
    fs::write("/etc/selinux/config", "# A comment\nSELINUX=enforcing\nSELINUXTYPE=shrike\n")?;
    let text = format!("process = \"{BOX}\"\ncontent = \"{HOST}\"\nfile = \"{FILES}\"\n");
    fs::write(contexts.join("lxc_contexts"), text)?;
    fs::write(format!("{SELINUX}/enforce"), "1").context("enforce the policy")
}

fn mount_selinux() -> Result<()> {
    if Path::new(SELINUX).join("enforce").exists() {
        return Ok(());
    }
    let none = None::<&str>;
    mount(Some("selinuxfs"), SELINUX, Some("selinuxfs"), MsFlags::empty(), none)
        .with_context(|| format!("mount {SELINUX}"))
}

/// What the kernel says that a process is known by.
fn context_of(pid: &str) -> Result<String> {
    let path = format!("/proc/{pid}/attr/current");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(text.trim_end_matches(['\0', '\n']).to_owned())
}

/// What it says that a file is known by.
fn context_of_file(path: &Path) -> Result<String> {
    let value = xattr::get(path, "security.selinux");
    let value = value.with_context(|| format!("the context of {}", path.display()))?;
    let text = String::from_utf8(value.context("it has none")?)?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// The categories of a context that begins so.
fn categories<'a>(context: &'a str, start: &str) -> Result<&'a str> {
    let categories = context.strip_prefix(start).and_then(|rest| rest.strip_prefix(':'));
    categories.with_context(|| format!("{context:?} is not {start}:..."))
}

/// The first of the suite: later there is a policy.
fn without_a_policy_there_are_no_labels() -> Result<()> {
    mount_selinux()?;
    ensure!(context_of("self")? == "kernel", "there is one: {}", context_of("self")?);
    leaves_nothing(|rootfs| {
        let free = rootfs.script(&[], "cat /proc/self/attr/current")?;
        ensure!(
            free.text()?.trim_end_matches('\0') == "kernel" && free.stderr.is_empty(),
            "{free:?}"
        );
        let refused = rootfs.script(&["--security-opt=label=type:box_t"], "true")?;
        ensure!(refused.code == 125, "{refused:?}");
        ensure!(refused.stderr.contains("SELinux is not active"), "{refused:?}");
        Ok(())
    })
}

fn containers_have_the_policys_contexts() -> Result<()> {
    enforce()?;
    leaves_nothing(|rootfs| {
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for name in ["one", "two", "three"] {
            let made = Background::run(rootfs, name, &[], &["sh", "-c", UNTIL_END])?;
            let outside = context_of(&made.pid()?.to_string())?;
            // What joins is known by the same.
            let inside =
                made.script(&[], "cat /proc/self/attr/current; cat /proc/1/attr/current")?;
            let inside: BTreeSet<&str> =
                inside.text()?.split('\0').filter(|text| !text.is_empty()).collect();
            ensure!(inside == [outside.as_str()].into(), "{inside:?} inside, {outside} outside");
            let told = made.details()?;
            ensure!(told["selinux"]["process"] == outside.as_str(), "{told:#}");
            seen.insert(categories(&outside, BOX)?.to_owned());
            all.push(made);
        }
        ensure!(seen.len() == 3, "not all have categories of their own: {seen:?}");
        ensure!(context_of("self")? == HOST, "the host's is {}", context_of("self")?);
        Ok(())
    })
}

fn contexts_can_be_chosen() -> Result<()> {
    enforce()?;
    let rootfs = Rootfs::new()?;
    let own = |options: &[&str]| -> Result<Ended> {
        rootfs.script(options, "cat /proc/self/attr/current")
    };
    let is = |options: &[&str], expected: &str| -> Result<()> {
        let ended = own(options)?;
        ensure!(ended.text()?.trim_end_matches('\0') == expected, "{options:?}: {ended:?}");
        Ok(())
    };
    let chosen = ["--security-opt=label=type:other_t", "--security-opt=label=level:s0:c7.c9"];
    is(&chosen, "box:box_r:other_t:s0:c7.c9")?;
    let script = ["sh", "-c", UNTIL_END];
    let made = Background::run(&rootfs, "chosen", &chosen, &script)?;
    let inside = made.script(&[], "cat /proc/self/attr/current")?;
    let inside = inside.text()?.trim_end_matches('\0');
    let outside = context_of(&made.pid()?.to_string())?;
    ensure!(inside == outside && outside == "box:box_r:other_t:s0:c7.c9", "{inside}, {outside}");
    seen("--security-opt label=type:NAME", Inside(inside), Outside(&outside));
    drop(made);
    is(&["--security-opt=label=disable"], HOST)?;
    // As with Docker, what sees the host's processes or objects is not kept from them.
    is(&["--privileged"], HOST)?;
    is(&["--pid=host"], HOST)?;
    is(&["--ipc=host"], HOST)?;
    is(&["--privileged", "--security-opt=label=level:s0:c1"], "box:box_r:box_t:s0:c1")?;
    let unknown = own(&["--security-opt=label=type:nothing_t"])?;
    ensure!(
        unknown.code == 125 && unknown.stderr.contains("no context box:box_r:nothing_t"),
        "{unknown:?}"
    );
    for (option, why) in [("label=type:", "expected label="), ("label=x:y", "expected label=")] {
        let refused = own(&["--security-opt", option])?;
        ensure!(refused.code == 2 && refused.stderr.contains(why), "{refused:?}");
    }
    Ok(())
}

/// A container of an image, in the background.
fn of_image(
    image: &Image,
    name: &'static str,
    options: &[&str],
    script: &str,
) -> Result<Background> {
    let options = [&["--detach", "--name", name], options].concat();
    let said = Ended::new(&image.launcher(&options, &["sh", "-c", script]).output()?, None)?;
    ensure!(said.text()? == name, "{said:?}");
    Ok(Background(name))
}

fn file_systems_of_a_container_are_its_own() -> Result<()> {
    enforce()?;
    let image = Image::new()?;
    leaves_nothing(|_| {
        for (name, options) in [("shared", &[][..]), ("remapped", &["--userns=remap"])] {
            let script = "echo > /file && echo > /etc/fresh && echo > /dev/shm/file && echo > /mnt/file && echo done > /tmp/done";
            let options = [options, &["--tmpfs=/mnt"]].concat();
            let made = of_image(&image, name, &options, &format!("{script}; {UNTIL_END}"))?;
            wait("there what it writes", || {
                made.script(&[], "cat /tmp/done").is_ok_and(|ended| ended.stdout == "done")
            })
            .with_context(|| format!("{:?}", container(&["logs", name])))?;
            let process = context_of(&made.pid()?.to_string())?;
            let expected = format!("{FILES}:{}", categories(&process, BOX)?);
            let root = format!("/proc/{}/root", made.pid()?);
            for path in
                ["etc/two", "file", "etc/fresh", "dev", "dev/pts", "dev/shm/file", "mnt/file"]
            {
                let context = context_of_file(&Path::new(&root).join(path))?;
                ensure!(context == expected, "{name}: /{path} is {context}, not {expected}");
            }
            drop(made);
        }
        container(&["gc"])?.text()?;
        Ok(())
    })
}

fn volumes_are_the_hosts_until_they_are_given() -> Result<()> {
    enforce()?;
    let rootfs = Rootfs::new()?;
    let folder = scratch()?;
    fs::create_dir(folder.join("sub"))?;
    fs::write(folder.join("sub/file"), "the host's\n")?;
    std::os::unix::fs::symlink("/etc/selinux/config", folder.join("link"))?;
    let file = folder.join("sub/file");
    let volume = |option: &str| format!("--volume={}:/mnt{option}", folder.display());
    let write = "echo mine > /mnt/sub/file; cat /mnt/sub/file";
    let level = |level: &'static str| -> Vec<String> {
        vec![format!("--security-opt=label=level:{level}")]
    };
    let script = |option: &str, options: &[String]| -> Result<Ended> {
        let volume = volume(option);
        let all: Vec<&str> =
            [volume.as_str()].into_iter().chain(options.iter().map(String::as_str)).collect();
        rootfs.script(&all, write)
    };
    let refused = script("", &[])?;
    ensure!(
        refused.stdout == "the host's" && refused.stderr.contains("Permission denied"),
        "{refused:?}"
    );
    ensure!(fs::read_to_string(&file)? == "the host's\n", "it was written");
    let given = script(":Z", &level("s0:c1,c2"))?;
    ensure!(given.text()? == "mine", "{given:?}");
    ensure!(context_of_file(&file)? == format!("{FILES}:c1,c2"), "{}", context_of_file(&file)?);
    let other = script("", &level("s0:c1,c3"))?;
    ensure!(other.code != 0 && other.stdout.is_empty(), "another's: {other:?}");
    let outside = context_of_file(&file)?;
    seen("--volume SRC:DST:Z", Inside("Permission denied; written with Z"), Outside(&outside));
    let shared = script(":z", &level("s0:c1,c3"))?;
    ensure!(shared.text()? == "mine", "{shared:?}");
    ensure!(context_of_file(&file)? == FILES, "{}", context_of_file(&file)?);
    ensure!(script("", &level("s0:c1,c2"))?.text()? == "mine", "all may have it");
    // What a link leads to is nobody's but its own.
    ensure!(context_of_file(&folder.join("link"))? == FILES, "the link has none");
    let outside = context_of_file(Path::new("/etc/selinux/config"))?;
    ensure!(!outside.starts_with("box"), "a link led out: {outside}");
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn nobody_takes_the_hosts_own_folders() -> Result<()> {
    enforce()?;
    let rootfs = Rootfs::new()?;
    let before = context_of_file(Path::new("/etc"))?;
    for source in ["/etc", "/usr", "/", "/etc/../etc"] {
        let refused = rootfs.script(&[&format!("--volume={source}:/mnt:Z")], "true")?;
        ensure!(refused.code == 125 && refused.stderr.contains(":z or :Z"), "{refused:?}");
    }
    // Nor by way of a folder that shows one of them.
    let folder = scratch()?;
    let below = folder.join("below");
    fs::create_dir(&below)?;
    mount(Some("/etc"), &below, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let refused = rootfs.script(&[&format!("--volume={}:/mnt:Z", folder.display())], "true");
    nix::mount::umount(&below)?;
    let refused = refused?;
    ensure!(refused.code == 125 && refused.stderr.contains("below is a part"), "{refused:?}");
    fs::remove_dir_all(folder)?;
    ensure!(context_of_file(Path::new("/etc"))? == before, "it has another context");
    Ok(())
}

fn those_who_share_have_the_same_categories() -> Result<()> {
    enforce()?;
    leaves_nothing(|rootfs| {
        let first = Background::run(rootfs, "first", &[], &["sh", "-c", UNTIL_END])?;
        let own = context_of(&first.pid()?.to_string())?;
        for option in ["--ipc=container:first", "--pid=container:first"] {
            let second = rootfs.script(&[option], "cat /proc/self/attr/current")?;
            ensure!(second.text()?.trim_end_matches('\0') == own, "{option}: {own}, {second:?}");
        }
        let message = "echo hello > /dev/shm/message";
        first.script(&[], message)?.text()?;
        let heard = rootfs.script(&["--ipc=container:first"], "cat /dev/shm/message")?;
        ensure!(heard.text()? == "hello", "{heard:?}");
        Ok(())
    })
}

/// Whoever starts it again finds it as it was, in the image that it has a copy of, too.
fn contexts_stay_a_containers_own() -> Result<()> {
    enforce()?;
    let image = Image::new()?;
    leaves_nothing(|_| {
        for (name, options) in [("layered", &[][..]), ("copied", &["--userns=remap"])] {
            let script = format!("rm -f /tmp/end; {UNTIL_END}");
            let made = of_image(&image, name, options, &script)?;
            let first = context_of(&made.pid()?.to_string())?;
            made.script(&[], "echo kept > /etc/kept.txt; : > /tmp/end")?.text()?;
            container(&["wait", name])?.text()?;
            container(&["start", name])?.text()?;
            ensure!(made.script(&[], "cat /etc/kept.txt")?.text()? == "kept", "it is another's");
            let second = context_of(&made.pid()?.to_string())?;
            ensure!(second == first, "{first}, and then {second}");
            drop(made);
        }
        container(&["gc"])?.text()?;
        Ok(())
    })
}

fn a_container_has_them_however_it_is_started() -> Result<()> {
    enforce()?;
    let show = "cat /proc/self/attr/current; tr -d '\\0' < /proc/1/attr/current";
    leaves_nothing(|rootfs| {
        // A keyring of the launcher's it could not see.
        let open = [UNCONFINED, "--security-opt=systempaths=unconfined"];
        let keys = rootfs.script(&open, "cat /proc/keys")?;
        ensure!(keys.text()?.contains("_ses"), "{keys:?}");
        for options in [&["--init"][..], &["--read-only"], &["--user=1000:1000"]] {
            let ended = rootfs.script(options, show)?;
            let all: BTreeSet<&str> = ended.text()?.split('\0').collect();
            ensure!(
                all.len() == 1 && all.iter().all(|one| one.starts_with(BOX)),
                "{options:?}: {ended:?}"
            );
        }
        let made = Background::run(rootfs, "entered", &[], &["sh", "-c", UNTIL_END])?;
        for options in [&[][..], &["--privileged"], &["--user=7:7"]] {
            let ended = made.script(options, show)?;
            let all: BTreeSet<&str> = ended.text()?.split('\0').collect();
            ensure!(
                all.len() == 1 && all.iter().all(|one| one.starts_with(BOX)),
                "{options:?}: {ended:?}"
            );
        }
        // Its own files of a network are its own to change, and nobody else's.
        network(&["create", "labels"])?.text()?;
        let write = "echo 1.2.3.4 other >> /etc/hosts && grep -c other /etc/hosts";
        let ended = rootfs.script(&["--network=labels"], write)?;
        ensure!(ended.text()? == "1", "{ended:?}");
        network(&["rm", "labels"])?.text()?;
        Ok(())
    })
}

fn a_policy_need_not_know_of_containers() -> Result<()> {
    enforce()?;
    fs::remove_file("/etc/selinux/shrike/contexts/lxc_contexts")?;
    let rootfs = Rootfs::new()?;
    let own = "cat /proc/self/attr/current";
    let free = rootfs.script(&[], own)?;
    ensure!(free.text()?.trim_end_matches('\0') == HOST, "{free:?}");
    ensure!(free.stderr.contains("has no contexts for containers"), "{free:?}");
    let some = ["--security-opt=label=type:box_t"];
    let refused = rootfs.script(&some, own)?;
    ensure!(refused.code == 125 && refused.stderr.contains("label=filetype:"), "{refused:?}");
    let all = [
        "--security-opt=label=user:box",
        "--security-opt=label=role:box_r",
        "--security-opt=label=type:box_t",
        "--security-opt=label=filetype:box_file_t",
    ];
    let given = rootfs.script(&all, own)?;
    ensure!(given.text()?.starts_with(&format!("{BOX}:")), "{given:?}");
    enforce()
}

/// The agent tells of a container that has no context of its own, and of no other.
fn a_labelled_container_is_not_told_of() -> Result<()> {
    const RULE: &str = "Container started unconfined";
    enforce()?;
    let agent = Agent::start(DEFAULT_RULES, &[])?;
    let rootfs = Rootfs::new()?;
    let run = |options: &[&str]| -> Result<u32> {
        // Nothing else is to be told of it: only the first rule that fits does.
        let guarded = ["--user=1000:1000", "--memory=64m", "--pids-limit=64"];
        let ended = posture::run(&rootfs, &[&guarded, options].concat())?;
        ensure!(ended.code == 0, "{ended:?}");
        ended.pid.context("no container")
    };
    let labelled = run(&[])?;
    let free = run(&["--security-opt=label=disable"])?;
    let is_of = |alert: &serde_json::Value, pid: u32| {
        alert["rule"] == RULE && alert["output_fields"]["proc.pid"] == pid
    };
    agent.alert("of the one without a context", |alert| is_of(alert, free))?;
    let told = agent.alerts();
    ensure!(!told.iter().any(|alert| is_of(alert, labelled)), "the other, too: {told:?}");
    let loud = |alert: &&serde_json::Value| alert["priority"] != "Notice";
    ensure!(told.iter().find(loud).is_none(), "{told:?}");
    ensure!(agent.stop()?.success(), "the agent did not end well");
    Ok(())
}
