//! `shrike container stats`.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::table::table;
use crate::launcher::{Container, ContainerId, LauncherError, Usage};

/// Between two looks at what is used.
const PERIOD: Duration = Duration::from_secs(1);

/// Show what containers use: processors, memory, processes and disks
#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    /// Show it once, measured over a second, instead of again and again
    #[arg(long)]
    no_stream: bool,

    /// Print a line of JSON each time
    #[arg(long)]
    json: bool,

    /// The containers; all that run by default
    #[arg(value_name = "NAME")]
    names: Vec<ContainerId>,
}

/// What a container uses, over some time.
struct Sample {
    name: ContainerId,
    usage: Usage,
    /// How much of one processor, in per cent.
    cpu: Option<f64>,
}

impl StatsArgs {
    pub(super) fn run(&self) -> Result<(), LauncherError> {
        let mut before = self.look()?;
        let mut begin = Instant::now();
        loop {
            thread::sleep(PERIOD);
            let now = self.look()?;
            let time = begin.elapsed();
            begin = Instant::now();
            let samples: Vec<Sample> = now
                .iter()
                .map(|(name, usage)| {
                    let earlier = before.iter().find(|(other, _)| other == name);
                    let cpu = earlier.and_then(|(_, earlier)| share(earlier, usage, time));
                    Sample { name: name.clone(), usage: usage.clone(), cpu }
                })
                .collect();
            self.show(&samples);
            if self.no_stream {
                return Ok(());
            }
            before = now;
        }
    }

    /// What the containers use now; those that have ended are left out unless they were asked for.
    fn look(&self) -> Result<Vec<(ContainerId, Usage)>, LauncherError> {
        if self.names.is_empty() {
            let all = Container::all().into_iter();
            let usage =
                |container: Container| Some((container.id().clone(), container.usage().ok()?));
            return Ok(all.filter_map(usage).collect());
        }
        self.names.iter().map(|name| Ok((name.clone(), Container::find(name)?.usage()?))).collect()
    }

    fn show(&self, samples: &[Sample]) {
        if self.json {
            let line: Value = samples
                .iter()
                .map(|sample| json!({ "name": sample.name.as_str(), "cpu_percent": sample.cpu, "usage": sample.usage }))
                .collect();
            println!("{line}");
            return;
        }
        if !self.no_stream && io::stdout().is_terminal() {
            // To the upper left corner, and nothing below it.
            print!("\x1b[H\x1b[J");
        }
        let heads = ["NAME", "CPU", "MEMORY / LIMIT", "PIDS / LIMIT", "DISK READ", "WRITTEN"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(samples.iter().map(Sample::row));
        print!("{}", table(&rows));
    }
}

impl Sample {
    fn row(&self) -> Vec<String> {
        let Self { name, usage, cpu } = self;
        let bytes = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), size);
        let limit = |number: Option<u64>, text: fn(u64) -> String| {
            number.map_or_else(|| "none".to_owned(), text)
        };
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        vec![
            name.to_string(),
            cpu.map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.1} %")),
            format!("{} / {}", bytes(usage.memory_bytes), limit(usage.memory_limit_bytes, size)),
            format!("{} / {}", number(usage.pids), limit(usage.pids_limit, |n| n.to_string())),
            bytes(usage.read_bytes),
            bytes(usage.written_bytes),
        ]
    }
}

/// How much of one processor was used between two looks, in per cent.
fn share(before: &Usage, after: &Usage, time: Duration) -> Option<f64> {
    let used = after.cpu_usec?.checked_sub(before.cpu_usec?)?;
    Some(Duration::from_micros(used).as_secs_f64() / time.as_secs_f64() * 100.0)
}

/// A number of bytes, in the largest unit that it has one of.
fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.into_iter().find(|&(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_largest_unit() {
        let sizes = [0, 1023, 1024, 1536 << 10, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }

    #[test]
    fn a_processor_for_half_of_the_time_is_half_of_it() {
        let at = |cpu_usec| Usage { cpu_usec, ..Usage::default() };
        let time = Duration::from_secs(2);
        assert_eq!(share(&at(Some(0)), &at(Some(1_000_000)), time), Some(50.0));
        assert_eq!(share(&at(None), &at(Some(1)), time), None);
        assert_eq!(share(&at(Some(2)), &at(Some(1)), time), None);
    }
}
