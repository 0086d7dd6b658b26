//! Archives as tools write them, and as attackers would.

use std::io::Write;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

/// What a layer has.
enum Item<'a> {
    File(&'a str, &'a str),
    Folder(&'a str),
    Link(&'a str, &'a str),
}
use Item::{File as F, Folder, Link};

fn layer(items: &[Item<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        header.set_uid(nix::unistd::getuid().as_raw().into());
        header.set_gid(nix::unistd::getgid().as_raw().into());
        header.set_mode(0o755);
        let (name, content) = match item {
            F(name, content) => {
                header.set_entry_type(EntryType::Regular);
                (name, *content)
            }
            Folder(name) => {
                header.set_entry_type(EntryType::Directory);
                (name, "")
            }
            Link(name, target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name(target).unwrap();
                (name, "")
            }
        };
        header.set_size(content.len() as u64);
        // Names as they are: the library refuses to write those that an attacker would.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

const CONFIG: &str = r#"{"config": {"Entrypoint": ["/bin/x"], "Cmd": ["a", "b"], "Env": ["A=1"],
    "User": "7:8", "WorkingDir": "/srv"}}"#;

fn archive(files: &[(String, Vec<u8>)]) -> tempfile::NamedTempFile {
    let mut tar = Builder::new(tempfile::NamedTempFile::new().unwrap());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn blob_file(content: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", encode_string(&Sha256::digest(content))), content.to_vec())
}

fn descriptor(content: &[u8]) -> serde_json::Value {
    let digest = format!("sha256:{}", encode_string(&Sha256::digest(content)));
    serde_json::json!({ "digest": digest, "size": content.len() })
}

/// An OCI layout with these layers.
fn oci(layers: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let manifest = serde_json::json!({
        "config": descriptor(CONFIG.as_bytes()),
        "layers": layers.iter().map(|layer| descriptor(layer)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let index = serde_json::json!({ "manifests": [descriptor(&manifest)] });
    let mut files = vec![
        ("oci-layout".to_owned(), b"{}".to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
        blob_file(CONFIG.as_bytes()),
        blob_file(&manifest),
    ];
    files.extend(layers.iter().map(|layer| blob_file(layer)));
    files
}

fn unpacked(files: &[(String, Vec<u8>)]) -> Result<(tempfile::TempDir, ImageConfig), ImageError> {
    let root = tempfile::tempdir().unwrap();
    let config = unpack(archive(files).path(), root.path())?;
    Ok((root, config))
}

/// Unpacks all layers of an image into one folder.
fn unpack(archive: &Path, root: &Path) -> Result<ImageConfig, ImageError> {
    let mut image = Image::open(archive)?;
    for layer in 0..image.layers().len() {
        image.unpack(layer, root)?;
    }
    image.config()
}

fn text(root: &tempfile::TempDir, path: &str) -> Option<String> {
    fs::read_to_string(root.path().join(path)).ok()
}

#[test]
fn an_oci_layout_is_unpacked_layer_by_layer() {
    let layers = [
        layer(&[Folder("etc"), F("etc/a", "1"), F("etc/b", "1"), Folder("d"), F("d/x", "1")]),
        gzip(&layer(&[
            F("etc/a", "2"),
            F("etc/.wh.b", ""),
            F("d/.wh..wh..opq", ""),
            F("d/y", "2"),
        ])),
    ];
    let (root, config) = unpacked(&oci(&layers)).unwrap();
    assert_eq!(text(&root, "etc/a").as_deref(), Some("2"));
    assert_eq!(text(&root, "etc/b"), None, "hidden by the second layer");
    assert_eq!((text(&root, "d/x"), text(&root, "d/y").as_deref()), (None, Some("2")));
    assert_eq!(
        (config.entrypoint, config.arguments),
        (vec!["/bin/x".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(config.env, ["A=1"]);
    assert_eq!(config.user, Some(User { uid: 7, gid: 8 }));
    assert_eq!(config.workdir.as_deref(), Some(Path::new("/srv")));
}

#[test]
fn what_a_layer_hides_is_in_those_below() {
    let layers = [
        layer(&[Folder("d"), F("d/old", "1"), Folder("d/sub"), F("d/sub/old", "1"), F("e", "1")]),
        layer(&[
            Folder("d"),
            F("d/new", "2"),
            F("d/sub/new", "2"),
            F("d/.wh..wh..opq", ""),
            F("e", "2"),
            F(".wh.e", ""),
        ]),
    ];
    let (root, _) = unpacked(&oci(&layers)).unwrap();
    for (path, content) in [
        ("d/old", None),
        ("d/sub/old", None),
        ("d/new", Some("2")),
        ("d/sub/new", Some("2")),
        ("e", Some("2")),
    ] {
        assert_eq!(text(&root, path).as_deref(), content, "{path}");
    }
}

#[test]
fn what_docker_saved_is_unpacked() {
    let manifest = r#"[{"Config": "c.json", "Layers": ["l/layer.tar"]}]"#;
    let files = [
        ("manifest.json".to_owned(), manifest.into()),
        ("c.json".to_owned(), CONFIG.into()),
        ("l/layer.tar".to_owned(), layer(&[F("a", "1")])),
    ];
    let (root, config) = unpacked(&files).unwrap();
    assert_eq!(text(&root, "a").as_deref(), Some("1"));
    assert_eq!(config.entrypoint.len() + config.arguments.len(), 3);
}

#[test]
fn a_later_layer_may_exchange_files_and_folders() {
    let layers = [
        layer(&[Folder("a"), F("a/x", "1"), F("b", "1")]),
        layer(&[F("a", "2"), Folder("b"), F("b/y", "2")]),
    ];
    let (root, _) = unpacked(&oci(&layers)).unwrap();
    assert_eq!(text(&root, "a").as_deref(), Some("2"));
    assert_eq!(text(&root, "b/y").as_deref(), Some("2"));
}

#[test]
fn nothing_is_written_or_removed_outside_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let kept = outside.path().join("kept");
    fs::write(&kept, "safe").unwrap();
    let there = outside.path().to_str().unwrap();
    for hostile in [
        vec![F("../escaped", "x")],
        vec![F("a/../../escaped", "x")],
        vec![Link("l", there), F("l/escaped", "x")],
        vec![Link("l", there), F("l/.wh.kept", "")],
        vec![Link("l", there), F("l/.wh..wh..opq", "")],
        vec![Link("l", there), Folder("l/escaped")],
    ] {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("root");
        fs::create_dir(&inner).unwrap();
        // Refused or ignored: both are right.
        let _ = unpack(archive(&oci(&[layer(&hostile)])).path(), &inner);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "safe");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

#[test]
fn an_absolute_name_is_below_the_root() {
    let (root, _) = unpacked(&oci(&[layer(&[F("/abs", "1")])])).unwrap();
    assert_eq!(text(&root, "abs").as_deref(), Some("1"));
}

#[test]
fn damage_is_named() {
    let mut files = oci(&[layer(&[F("a", "1")])]);
    let last = files.len() - 1;
    files[last].1[600] ^= 1;
    let error = unpacked(&files).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    let error = unpacked(&files[..last]).unwrap_err();
    assert!(matches!(error, ImageError::NoFile { .. }), "{error}");
    let error = unpacked(&files[..1]).unwrap_err().to_string();
    assert!(error.ends_with("it has neither an index.json nor a manifest.json"), "{error}");
    let broken = [("index.json".to_owned(), b"{".to_vec())];
    let error = unpacked(&broken).unwrap_err();
    assert!(matches!(error, ImageError::Document { .. }), "{error}");
}

#[test]
fn a_layer_is_told_by_those_below_it_as_well() {
    let ids = |layers: &[Vec<u8>]| -> Vec<LayerId> {
        Image::open(archive(&oci(layers)).path()).unwrap().layers()
    };
    let (one, other) = (layer(&[F("a", "1")]), layer(&[F("b", "1")]));
    let (forth, back) = (ids(&[one.clone(), other.clone()]), ids(&[other.clone(), one.clone()]));
    assert_eq!(forth[0].as_str(), encode_string(&Sha256::digest(&one)));
    assert_eq!(back[0].as_str(), encode_string(&Sha256::digest(&other)));
    assert!(!back.contains(&forth[1]) && !forth.contains(&back[1]));
    assert_eq!(forth, ids(&[one, other]));
    for bad in ["", "..", "a/b", &"A".repeat(64), &"0".repeat(63)] {
        assert_eq!(LayerId::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn devices_and_marks_of_overlays_are_refused() {
    let device = |ty| {
        let mut tar = Builder::new(Vec::new());
        tar.get_mut().extend(empty(ty, "name"));
        tar.into_inner().unwrap()
    };
    let marked = |name: &str| {
        let mut tar = Builder::new(Vec::new());
        tar.append_pax_extensions([(name, &b"y"[..])]).unwrap();
        tar.get_mut().extend(empty(EntryType::Directory, "name"));
        tar.into_inner().unwrap()
    };
    for layer in [
        device(EntryType::Char),
        device(EntryType::Block),
        marked("SCHILY.xattr.trusted.overlay.opaque"),
        marked("SCHILY.xattr.user.overlay.redirect"),
    ] {
        let error = unpacked(&oci(&[layer])).unwrap_err();
        assert!(matches!(error, ImageError::Hostile { .. }), "{error:?}");
    }
}

#[test]
fn attributes_are_kept_but_for_the_context() {
    let mut tar = Builder::new(Vec::new());
    let attributes = [
        ("SCHILY.xattr.user.kept", &b"yes"[..]),
        ("SCHILY.xattr.security.selinux", &b"u:object_r:t:s0\0"[..]),
    ];
    tar.append_pax_extensions(attributes).unwrap();
    tar.get_mut().extend(empty(EntryType::Regular, "file"));
    let (root, _) = unpacked(&oci(&[tar.into_inner().unwrap()])).unwrap();
    let names: Vec<_> = xattr::list(root.path().join("file")).unwrap().collect();
    assert_eq!(names, ["user.kept"]);
    assert_eq!(
        xattr::get(root.path().join("file"), "user.kept").unwrap().as_deref(),
        Some(&b"yes"[..])
    );
}

/// An entry without content.
fn empty(ty: EntryType, name: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(ty);
    header.set_path(name).unwrap();
    header.set_size(0);
    header.set_mode(0o640);
    header.set_uid(nix::unistd::getuid().as_raw().into());
    header.set_gid(nix::unistd::getgid().as_raw().into());
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn a_whiteout_names_something_in_its_folder() {
    let below = layer(&[Folder("etc"), F("etc/a", "1")]);
    for bad in ["etc/.wh.", "etc/.wh..", "etc/.wh..."] {
        let error = unpacked(&oci(&[below.clone(), layer(&[F(bad, "")])])).unwrap_err();
        assert!(matches!(error, ImageError::Whiteout(_)), "{bad}: {error}");
    }
    let (root, _) = unpacked(&oci(&[below, layer(&[F("etc/.wh..wh.plnk", "")])])).unwrap();
    assert_eq!(text(&root, "etc/a").as_deref(), Some("1"));
}

#[test]
fn what_is_no_file_has_no_place_and_a_fifo_is_one() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    let below = layer(&[Folder("etc"), F("etc/a", "1")]);
    let above = [empty(EntryType::XGlobalHeader, "etc"), empty(EntryType::Fifo, "etc/pipe")];
    let (root, _) = unpacked(&oci(&[below, above.concat()])).unwrap();
    assert_eq!(text(&root, "etc/a").as_deref(), Some("1"));
    let pipe = fs::symlink_metadata(root.path().join("etc/pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!(pipe.permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let index = |digest: &str| {
        let index = serde_json::json!({ "manifests": [{ "digest": digest }] });
        vec![("index.json".to_owned(), index.to_string().into_bytes())]
    };
    for digest in ["sha512:00", "sha256:00", "sha256:../../x", "x"] {
        let error = unpacked(&index(digest)).unwrap_err();
        assert!(matches!(error, ImageError::Name(_)), "{digest}: {error}");
    }
    let zstd = [&[0x28, 0xB5, 0x2F, 0xFD][..], &[0; 600]].concat();
    let error = unpacked(&oci(&[zstd])).unwrap_err();
    assert!(matches!(error, ImageError::Compression(_)), "{error}");
}

#[test]
fn what_would_fill_the_disk_is_refused() {
    let mut header = Header::new_gnu();
    header.set_path("bomb").unwrap();
    // What comes behind it does not matter: it is refused by what it says.
    header.set_size(1 << 62);
    header.set_cksum();
    let error = unpacked(&oci(&[header.as_bytes().to_vec()])).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge(_)), "{error}");
}

#[test]
fn a_link_of_the_root_is_no_way_out() {
    let outside = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    symlink(outside.path(), root.path().join("l")).unwrap();
    assert!(!is_within(root.path(), &root.path().join("l")));
    assert!(is_within(root.path(), root.path()));
}
