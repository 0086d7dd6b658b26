use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A root with nothing but `/etc`, and what is beside it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn passwd(&self) -> PathBuf {
        self.root().join("etc/passwd")
    }

    fn link(&self, target: impl AsRef<Path>) {
        let _ = fs::remove_file(self.passwd());
        symlink(target, self.passwd()).unwrap();
    }

    fn users(&self) -> Users {
        Users::read(&self.root())
    }
}

/// What becomes of a link when the whole host is the root.
fn on_host(target: &str) -> Users {
    let place = Place::new();
    place.link(target);
    let mut users = Users { root: Root::Folder("/".into()), ..Users::default() };
    let path = place.passwd();
    users.passwd.refresh(&users.root.open(), path.to_str().unwrap(), &users.root);
    users
}

/// A container's table with one user.
fn users(name: &str) -> Users {
    let names = Arc::new(HashMap::from([(1, name.into())]));
    Users { passwd: Table { names, ..Table::default() }, ..Users::default() }
}

fn unreachable(errno: Errno) -> Refusal {
    file::Refusal::Unreachable(errno).into()
}

fn entries(count: usize) -> String {
    (0..count).map(|id| format!("u:x:{id}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn reads_names_and_skips_what_is_no_entry() {
    let text =
        b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\n# no\n#no:x:3:\nbad:x:uid:1\nbin:x:2:2:\n\
        +nis:x:4:\n-nis:x:5:\nplus:x:+6:\nminus:x:-7:\nlarge:x:4294967296:\n:x:8:\nshort:x\n\
        last:x:4294967295:\nfew:x:9";
    let names = parse(text).unwrap();
    let mut found: Vec<_> = names.iter().map(|(id, name)| (*id, name.as_ref())).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, "root"), (2, "bin"), (9, "few"), (u32::MAX, "last")]);
}

#[test]
fn a_name_is_no_longer_than_login_takes() {
    let [fits, long] = [MAX_NAME, MAX_NAME + 1].map(|len| format!("{}:x:1", "n".repeat(len)));
    assert_eq!(parse(fits.as_bytes()).unwrap().len(), 1);
    assert_eq!(parse(long.as_bytes()).unwrap().len(), 0);
}

#[test]
fn follows_changes_of_the_files() {
    let place = Place::new();
    let mut users = place.users();
    assert_eq!((users.name(Uid(7)), users.refused()), (None, 0));
    fs::write(place.passwd(), "seven:x:7:7::/:\n").unwrap();
    fs::write(place.root().join("etc/group"), "wheel:x:7:seven,eight\n").unwrap();
    users.refresh();
    assert_eq!((users.name(Uid(7)), users.group(Gid(7))), (Some("seven"), Some("wheel")));
    fs::remove_file(place.passwd()).unwrap();
    users.refresh();
    assert_eq!((users.name(Uid(7)), users.group(Gid(7))), (None, Some("wheel")));
}

#[test]
fn another_file_is_seen_whatever_its_times_say() {
    let place = Place::new();
    fs::write(place.passwd(), "one:x:1:\n").unwrap();
    let mut users = place.users();
    let written = fs::metadata(place.passwd()).unwrap().modified().unwrap();
    let write = |path: &Path, text: &str| {
        let mut file = File::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(written).unwrap();
    };
    let new = place.dir.path().join("new");
    write(&new, "two:x:1:\n");
    fs::rename(new, place.passwd()).unwrap();
    users.refresh();
    assert_eq!(users.name(Uid(1)), Some("two"));
    // Longer than the grain of the kernel's clock for files.
    sleep(Duration::from_millis(20));
    write(&place.passwd(), "six:x:1:\n");
    users.refresh();
    assert_eq!(users.name(Uid(1)), Some("six"));
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let place = Place::new();
    fs::write(place.passwd(), "one:x:1:\n").unwrap();
    let mut users = place.users();
    let names = Arc::clone(&users.passwd.names);
    users.refresh();
    assert!(Arc::ptr_eq(&names, &users.passwd.names));
}

#[test]
fn links_end_within_the_root() {
    let place = Place::new();
    let (outside, inside) = (place.dir.path().join("names"), place.root().join("names"));
    for target in ["/names", "../names", "../../names", "../../../../../../names"] {
        place.link(target);
        fs::write(&outside, "outside:x:1:\n").unwrap();
        let mut users = place.users();
        assert_eq!((users.name(Uid(1)), users.refused()), (None, 0), "{target}");
        fs::write(&inside, "inside:x:1:\n").unwrap();
        users.refresh();
        assert_eq!(users.name(Uid(1)), Some("inside"), "{target}");
        fs::remove_file(&inside).unwrap();
    }
    place.link(&outside);
    assert_eq!(place.users().name(Uid(1)), None, "the host's path");
    place.link("/etc/passwd");
    let mut users = place.users();
    users.refresh();
    assert_eq!(users.passwd.refusal, Some(unreachable(Errno::ELOOP)), "itself");
    assert_eq!(users.refused(), 1, "told once");
    place.link("/names");
    fs::write(&inside, "inside:x:1:\n").unwrap();
    users.refresh();
    assert_eq!(users.name(Uid(1)), Some("inside"));
}

#[test]
fn a_folder_that_is_a_link_ends_within_the_root() {
    let place = Place::new();
    fs::create_dir(place.dir.path().join("etc")).unwrap();
    fs::write(place.dir.path().join("etc/passwd"), "outside:x:1:\n").unwrap();
    fs::remove_dir(place.root().join("etc")).unwrap();
    symlink("../etc", place.root().join("etc")).unwrap();
    assert_eq!(place.users().name(Uid(1)), None);
}

#[test]
fn the_kernels_own_links_and_files_are_refused() {
    let magic = Some(unreachable(Errno::ELOOP));
    let cases = [
        ("/proc/1/root/etc/shadow", magic),
        ("/proc/self/root/etc/passwd", magic),
        ("/proc/self/cwd", magic),
        ("/proc/self/fd/0", magic),
        ("/proc/self/environ", Some(Refusal::File(file::Refusal::NotAFile))),
        ("/proc/version", Some(Refusal::File(file::Refusal::NotAFile))),
        ("/dev/zero", Some(Refusal::File(file::Refusal::NotAFile))),
        ("/etc", Some(Refusal::File(file::Refusal::NotAFile))),
    ];
    for (target, refusal) in cases {
        let users = on_host(target);
        // To others than root the first one is not even there to be followed.
        let is_hidden = users.passwd.refusal == Some(unreachable(Errno::EACCES));
        assert!(
            users.passwd.refusal == refusal || is_hidden,
            "{target}: {:?}",
            users.passwd.refusal
        );
        assert_eq!(users.passwd.names.len(), 0, "{target}");
    }
}

#[test]
fn what_is_no_file_does_not_hold_anyone_up() {
    let place = Place::new();
    let make: [fn(&Path); 3] = [
        |path| mkfifo(path, Mode::S_IRWXU).unwrap(),
        |path| drop(UnixListener::bind(path).unwrap()),
        |path| fs::create_dir(path).unwrap(),
    ];
    for make in make {
        make(&place.passwd());
        let mut users = place.users();
        users.refresh();
        assert_eq!(users.passwd.refusal, Some(Refusal::File(file::Refusal::NotAFile)));
        assert_eq!(users.refused(), 1, "told once");
        let _ = fs::remove_file(place.passwd());
    }
}

#[test]
fn what_is_too_large_is_refused_whole_until_it_is_not() {
    let place = Place::new();
    fs::write(place.passwd(), "one:x:1:\n").unwrap();
    let mut users = place.users();
    for (refusal, text) in [
        (Refusal::File(file::Refusal::TooLarge(MAX_BYTES)), "one:x:1:\n".repeat(MAX_BYTES / 9 + 1)),
        (Refusal::TooManyEntries, entries(MAX_ENTRIES + 1)),
    ] {
        let refused = users.refused();
        assert_eq!(users.name(Uid(1)), Some("one"));
        fs::write(place.passwd(), text).unwrap();
        users.refresh();
        users.refresh();
        assert_eq!((users.passwd.refusal, users.name(Uid(1))), (Some(refusal), None));
        assert_eq!(users.refused(), refused + 1);
        fs::write(place.passwd(), "one:x:1:\n").unwrap();
        users.refresh();
    }
    assert_eq!((users.passwd.refusal, users.name(Uid(1))), (None, Some("one")));
    assert_eq!(parse(entries(MAX_ENTRIES).as_bytes()).unwrap().len(), MAX_ENTRIES);
}

#[test]
fn a_sparse_file_is_not_read_to_its_end() {
    let place = Place::new();
    File::create(place.passwd()).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        place.users().passwd.refusal,
        Some(Refusal::File(file::Refusal::TooLarge(MAX_BYTES)))
    );
}

#[test]
fn a_process_that_has_ended_leaves_its_names() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid(child.id());
    let folder = Folder::open(Path::new("/proc"), pid).unwrap();
    let mut users = Users::read_of_process(pid, folder);
    let root = users.name(Uid(0)).map(str::to_owned);
    assert_eq!(root.as_deref(), Users::read(Path::new("/")).name(Uid(0)));
    child.kill().unwrap();
    child.wait().unwrap();
    users.refresh();
    assert_eq!((users.name(Uid(0)), users.refused()), (root.as_deref(), 0));
}

#[test]
fn the_containers_least_asked_for_go_first() {
    let mut all = ContainerUsers::default();
    for id in 0..MAX_CONTAINERS as u64 {
        all.insert(ContainerId(id), users("name"));
    }
    assert!(all.get(ContainerId(0)).is_some());
    all.insert(ContainerId(1000), users("name"));
    assert_eq!((all.tables.len(), all.evicted()), (MAX_CONTAINERS, 1));
    assert!(all.get(ContainerId(0)).is_some() && all.get(ContainerId(1)).is_none());
    for id in [0, 1000] {
        all.remove(ContainerId(id));
        assert!(all.get(ContainerId(id)).is_none(), "gone");
    }
}

#[test]
fn the_names_of_containers_take_so_much_memory() {
    let names: Names = (0..1 << 16).map(|id| (id, "n".repeat(160).into())).collect();
    let large =
        Users { passwd: Table { names: Arc::new(names), ..Table::default() }, ..Users::default() };
    let mut all = ContainerUsers::default();
    for id in 0..5 {
        all.insert(ContainerId(id), large.clone());
        assert!(all.memory <= MAX_MEMORY && all.get(ContainerId(id)).is_some());
    }
    assert!(all.evicted() > 0);
    let ids: Vec<_> = all.tables.keys().copied().collect();
    for id in ids {
        all.remove(id);
    }
    assert_eq!(all.memory, 0);
}

#[test]
fn what_was_refreshed_elsewhere_comes_back_only_while_it_is_wanted() {
    let place = Place::new();
    fs::write(place.passwd(), "one:x:1:\n").unwrap();
    let mut all = ContainerUsers::default();
    all.insert(ContainerId(1), place.users());
    let mut elsewhere = all.get(ContainerId(1)).unwrap().clone();
    File::create(place.passwd()).unwrap().set_len(1 << 40).unwrap();
    elsewhere.refresh();
    assert_eq!(all.get(ContainerId(1)).unwrap().name(Uid(1)), Some("one"));
    all.update(ContainerId(1), elsewhere.clone());
    assert_eq!(all.get(ContainerId(1)).unwrap().name(Uid(1)), None);
    assert_eq!(all.refused(), 1);
    all.update(ContainerId(1), elsewhere.clone());
    all.remove(ContainerId(1));
    all.update(ContainerId(1), elsewhere);
    assert!(all.get(ContainerId(1)).is_none());
    assert_eq!(all.refused(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse(&text).unwrap();
    }

    #[test]
    fn any_fields_are_parsed(lines in proptest::collection::vec("[a#+:-]{0,3}:?.{0,4}:[0-9+-]{0,11}:?.?", 0..20)) {
        let names = parse(lines.join("\n").as_bytes()).unwrap();
        prop_assert!(names.values().all(|name| !name.is_empty() && !name.contains([':', '\n'])));
    }
}
