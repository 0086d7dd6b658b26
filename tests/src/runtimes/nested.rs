//! Docker in Docker: an engine in a privileged container, and containers of its own. All of it is within the
//! outer container.

use anyhow::{Result, ensure};

use super::docker::{Engine, docker, program_volumes};
use super::image::NAME;
use super::watch::{Watch, says};

pub(super) fn run() -> Result<()> {
    let mut watch = Watch::start()?;
    let _engine = Engine::start(watch.rootfs.path())?;
    let rootfs = format!("--volume={}:/rootfs:ro", watch.rootfs.path().display());
    for driver in ["overlay2", "vfs"] {
        let name = format!("outer-{driver}");
        let deeds = ["start", "inner", "inner-exec", "inner-privileged"];
        let [start, inner, exec, privileged] = deeds.map(|deed| says(&name, deed));
        let script = format!(
            "{start}; set -e
             trap 'cat /tmp/dockerd.log >&2' EXIT
             mkdir /sys/fs/cgroup/own; echo $$ > /sys/fs/cgroup/own/cgroup.procs
             dockerd --log-level=warn --storage-driver={driver} --bridge=none --iptables=false \
               --ip6tables=false > /tmp/dockerd.log 2>&1 &
             for try in $(seq 200); do docker version > /tmp/version 2>&1 && break; sleep 0.3; done
             tar -C /rootfs -c . | docker import - {NAME}
             docker run --detach --name=inner --network=none {NAME} sh -c '{inner}; exec sleep 1000'
             docker exec inner sh -c '{exec}'
             docker run --rm --privileged --network=none {NAME} \
               sh -c '{privileged}; mount -t tmpfs none /mnt'
             docker logs inner; docker stop --time=1 inner; docker rm inner
             kill %1; wait %1; echo ended"
        );
        // An engine keeps its layers on a volume: there is no overlay on an overlay.
        let mut words = vec!["run", "--rm", "--privileged", "--network=none", &rootfs];
        words.extend(["--volume=/var/lib/docker", "--tmpfs=/run", "--tmpfs=/tmp:exec"]);
        let volumes = program_volumes();
        words.extend(volumes.iter().map(String::as_str));
        words.extend([NAME, "/usr/bin/bash", "-c", &script]);
        let said = docker(&words)?;
        watch.hear(&said, deeds.len())?;
        ensure!(said.ends_with("ended\n"), "{said}");
    }
    watch.finish()
}
