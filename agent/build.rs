//! Builds the probes for the BPF target and hands them to the agent as `OUT_DIR/shrike-ebpf`.
//!
//! The probes need a compiler with its library source and bpf-linker; `cargo xtask setup` obtains
//! both and says in `ebpf.env` where they are. `SHRIKE_EBPF_OBJECT` names an object that was built
//! elsewhere, for machines that have neither.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const OBJECT: &str = "shrike-ebpf";

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match provide_object().and_then(|()| provide_revision()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn provide_object() -> Result<()> {
    println!("cargo::rerun-if-env-changed=SHRIKE_EBPF_OBJECT");
    let object = match env::var_os("SHRIKE_EBPF_OBJECT") {
        Some(prebuilt) => {
            let prebuilt = PathBuf::from(prebuilt);
            watch(&prebuilt);
            prebuilt
        }
        None => build_object()?,
    };
    let target = PathBuf::from(variable("OUT_DIR")?).join(OBJECT);
    let wrong = |error: &dyn std::fmt::Display| {
        format!("cannot take the probes from {}: {error}", object.display())
    };
    let data = fs::read(&object).map_err(|error| wrong(&error))?;
    let stripped = strip(&data).map_err(|error| wrong(&error))?;
    fs::write(&target, stripped).map_err(|error| wrong(&error))
}

/// The object without what only a debugger reads, which is most of it: the agent has it in memory. The
/// linker needs it to make the BTF, which stays.
fn strip(data: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(data)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug") || name.starts_with(".rel.debug");
    }
    builder.delete_orphans();
    // LLVM has one table for the names of sections and symbols.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = object::build::elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

fn build_object() -> Result<PathBuf> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = package.parent().ok_or("the agent lies outside its workspace")?;
    for input in ["ebpf", "common", "Cargo.lock"] {
        watch(&root.join(input));
    }
    let toolchain = Toolchain::find()?;
    // One folder for all profiles and for clippy: each of them would build the probes anew.
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let target_dir = target_dir.join("ebpf");
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };

    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--package",
            OBJECT,
            "--release",
            "--target",
            target,
            "-Z",
            "build-std=core",
        ])
        .arg("--target-dir")
        .arg(&target_dir);
    if wants_log()? {
        cargo.args(["--features", "log"]);
    }
    toolchain.apply(&mut cargo)?;
    let status =
        cargo.status().map_err(|error| format!("cannot start cargo for the probes: {error}"))?;
    if !status.success() {
        return Err(format!("the probes do not build ({status}): see above"));
    }
    Ok(target_dir.join(target).join("release").join(OBJECT))
}

/// Messages from the probes are for debugging them: a release build has none.
fn wants_log() -> Result<bool> {
    let wanted = env::var_os("CARGO_FEATURE_PROBE_LOG").is_some();
    if wanted && variable("PROFILE")? == "release" {
        return Err(
            "the feature probe-log is not for release builds: build without --release".into()
        );
    }
    Ok(wanted)
}

/// What the probes are built with.
struct Toolchain {
    rustc: String,
    linker: String,
    library_path: Option<String>,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let path = cache()?.join("ebpf.env");
        // A path that does not exist would make cargo run this script on every build; here the
        // build fails, so that is what is wanted.
        watch(&path);
        let hint = "run `cargo xtask setup` once, it obtains what building the probes needs";
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}\n{hint}", path.display()))?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let needed =
            |key: &str| value(key).ok_or(format!("no {key} in {}\n{hint}", path.display()));
        let toolchain = Self {
            rustc: needed("RUSTC")?,
            linker: needed("LINKER")?,
            library_path: value("LD_LIBRARY_PATH"),
        };
        for program in [&toolchain.rustc, &toolchain.linker] {
            if !Path::new(program).exists() {
                return Err(format!("{program} is gone\n{hint}"));
            }
        }
        Ok(toolchain)
    }

    /// Makes `cargo` use this toolchain, and nothing of the outer build's.
    fn apply(&self, cargo: &mut Command) -> Result<()> {
        let flags = [
            // Atomics that return the old value need the third instruction set.
            "-Ctarget-cpu=v3".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", self.linker),
            format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
        ];
        cargo
            .env("RUSTC", &self.rustc)
            // The standard library is unstable to build: only this nested cargo may.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        if let Some(path) = &self.library_path {
            cargo.env("LD_LIBRARY_PATH", path);
        }
        Ok(())
    }
}

/// The cache folder, in the order that `cargo xtask setup` documents.
fn cache() -> Result<PathBuf> {
    let set = |name: &str| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    set("SHRIKE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("shrike")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/shrike")))
        .ok_or_else(|| "cannot tell where the cache folder is: set SHRIKE_CACHE or HOME".into())
}

/// Sets `SHRIKE_REVISION` to the commit that is built, or to `unknown` outside a clone.
fn provide_revision() -> Result<()> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
        Some(text.trim_end().to_owned())
    };
    let revision = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=SHRIKE_REVISION={revision}");
    // The log changes with each commit; HEAD itself only with each change of branch.
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).map(|log| package.join(log))
        && log.exists()
    {
        watch(&log);
    }
    Ok(())
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("cannot read {name}, which cargo sets: {error}"))
}
