//! The program that the kernel runs when a task of a cgroup makes the file of a device or opens one:
//! eBPF of our own making.
//!
//! It is written from its end: every jump goes forward, so where it goes is known by then.

use std::ffi::c_char;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use aya_obj::generated::{
    BPF_ALU, BPF_AND, BPF_EXIT, BPF_F_ALLOW_MULTI, BPF_JA, BPF_JMP, BPF_JNE, BPF_JSET, BPF_K,
    BPF_LDX, BPF_MEM, BPF_MOV, BPF_RSH, BPF_W, bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type,
};

use super::rule::{Rule, Verdict};
use crate::bpf::bpf;
use crate::launcher::spec::{Access, DeviceKind};

/// What the program is called in lists of programs.
const NAME: &[u8] = b"shrike_devices";

/// Where `struct bpf_cgroup_dev_ctx` has the kind with the access above it, and the numbers.
const KIND_AND_ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// How many bits the kind has.
const KIND_BITS: i32 = 16;

/// A program that is ready for the kernel.
#[derive(Clone, Debug)]
pub(in crate::launcher) struct Program(Vec<Instruction>);

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    /// The destination, and the source above it.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What a register holds.
#[derive(Clone, Copy, Debug)]
enum Register {
    /// What the program returns.
    Result = 0,
    /// What the kernel asks.
    Context = 1,
    Access = 2,
    Kind = 3,
    Major = 4,
    Minor = 5,
}

/// Why a container is not kept to its devices.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error(
        "cannot keep the container to its devices: this process may not load BPF programs. Give it \
         CAP_BPF and CAP_NET_ADMIN, or the container all devices (--privileged)"
    )]
    NotPermitted(#[source] io::Error),
    #[error(
        "cannot keep the container to its devices: this kernel has no BPF programs that do \
         (CONFIG_CGROUP_BPF). Give the container all devices (--privileged)"
    )]
    NotSupported(#[source] io::Error),
    #[error(
        "the kernel refuses the BPF program of the container's devices; its verifier says: {log}"
    )]
    Refused { log: String, source: io::Error },
    #[error(
        "cannot attach the BPF program of the container's devices to its cgroup: a cgroup above it may \
         have one that forbids others"
    )]
    Attach(#[source] io::Error),
}

impl Program {
    /// Translates rules.
    pub(super) fn compile(rules: &[Rule]) -> Self {
        let mut writer = Writer::default();
        // Nothing before it is ever asked, and the kernel takes no instruction that cannot be reached.
        let settled = rules.iter().rposition(|rule| rule.is_of_all());
        if settled.is_none() {
            writer.answer(Verdict::Allow);
        }
        for rule in rules.iter().skip(settled.unwrap_or_default()) {
            writer.rule(*rule);
        }
        writer.start();
        let mut program = writer.reversed;
        program.reverse();
        Self(program)
    }

    /// Has the kernel run it for every task of this cgroup, beside those of the cgroups above.
    pub(in crate::launcher) fn attach(&self, cgroup: &File) -> Result<(), ProgramError> {
        let program = self.load()?;
        // SAFETY: it consists of integers, for which zero is a value.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = cgroup.as_raw_fd().cast_unsigned();
        attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd().cast_unsigned();
        attr.__bindgen_anon_5.attach_type = bpf_attach_type::BPF_CGROUP_DEVICE as u32;
        attr.__bindgen_anon_5.attach_flags = BPF_F_ALLOW_MULTI;
        // SAFETY: the kernel reads `attr` only.
        let attached = unsafe { bpf(bpf_cmd::BPF_PROG_ATTACH, &mut attr) };
        attached.map(drop).map_err(ProgramError::Attach)
    }

    fn load(&self) -> Result<OwnedFd, ProgramError> {
        if let Ok(program) = self.load_with(&mut []) {
            return Ok(program);
        }
        // Once more, to hear why.
        let mut log = vec![0; 1 << 20];
        let source = match self.load_with(&mut log) {
            Ok(program) => return Ok(program),
            Err(source) => source,
        };
        let log = last_words(&log);
        Err(match source.raw_os_error() {
            Some(libc::EPERM) if log.is_empty() => ProgramError::NotPermitted(source),
            Some(libc::EINVAL | libc::ENOSYS) if log.is_empty() => {
                ProgramError::NotSupported(source)
            }
            _ => ProgramError::Refused { log, source },
        })
    }

    fn load_with(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        // SAFETY: it consists of integers, for which zero is a value.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: as above; every command's fields start where the union does.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_CGROUP_DEVICE as u32;
        load.expected_attach_type = bpf_attach_type::BPF_CGROUP_DEVICE as u32;
        load.insns = self.0.as_ptr().expose_provenance() as u64;
        load.insn_cnt = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        load.license = c"Apache-2.0".as_ptr().expose_provenance() as u64;
        for (to, &from) in load.prog_name.iter_mut().zip(NAME) {
            *to = c_char::from_ne_bytes([from]);
        }
        if !log.is_empty() {
            load.log_level = 1;
            load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
            load.log_buf = log.as_mut_ptr().expose_provenance() as u64;
        }
        // SAFETY: what `attr` points to lives until the call returns, which makes a descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?) })
    }
}

/// The last line of the verifier's log that says something of the program.
fn last_words(log: &[u8]) -> String {
    let text = log.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let is_of_program = |line: &&str| !line.trim().is_empty() && !line.starts_with("processed ");
    text.lines().rfind(is_of_program).unwrap_or_default().trim().to_owned()
}

/// A program that is being written from its end.
#[derive(Default)]
struct Writer {
    reversed: Vec<Instruction>,
}

impl Writer {
    /// Takes apart what the kernel asks.
    fn start(&mut self) {
        let all_bits = (1 << KIND_BITS) - 1;
        self.push(BPF_ALU | BPF_AND | BPF_K, Register::Kind, 0, 0, all_bits);
        self.load(Register::Kind, KIND_AND_ACCESS);
        self.push(BPF_ALU | BPF_RSH | BPF_K, Register::Access, 0, 0, KIND_BITS);
        self.load(Register::Access, KIND_AND_ACCESS);
        self.load(Register::Minor, MINOR);
        self.load(Register::Major, MAJOR);
    }

    /// Answers if the rule holds, and goes on with what is written already if it does not.
    fn rule(&mut self, rule: Rule) {
        let Rule { verdict, devices } = rule;
        let next = self.reversed.len();
        self.answer(verdict);
        let bits = |access: Access| access.bits().cast_signed();
        match verdict {
            _ if devices.access == Access::ALL => {}
            Verdict::Allow => {
                self.skip(
                    BPF_JSET,
                    Register::Access,
                    bits(Access::ALL.without(devices.access)),
                    next,
                );
            }
            Verdict::Deny => {
                self.skip(BPF_JA, Register::Result, 0, next);
                // Past the other jump.
                self.push(BPF_JMP | BPF_JSET | BPF_K, Register::Access, 0, 1, bits(devices.access));
            }
        }
        let kind = devices.kind.map(|kind| match kind {
            // `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
            DeviceKind::Block => 1,
            DeviceKind::Char => 2,
        });
        let numbers = [
            (Register::Minor, devices.minor),
            (Register::Major, devices.major),
            (Register::Kind, kind),
        ];
        for (register, number) in numbers {
            if let Some(number) = number {
                self.skip(BPF_JNE, register, number.cast_signed(), next);
            }
        }
    }

    /// Goes on at `next` if the comparison holds.
    fn skip(&mut self, comparison: u32, register: Register, with: i32, next: usize) {
        // A rule has a handful of instructions.
        let distance = i16::try_from(self.reversed.len() - next).unwrap_or(i16::MAX);
        self.push(BPF_JMP | comparison | BPF_K, register, 0, distance, with);
    }

    fn answer(&mut self, verdict: Verdict) {
        let value = i32::from(verdict == Verdict::Allow);
        self.push(BPF_JMP | BPF_EXIT, Register::Result, 0, 0, 0);
        self.push(BPF_ALU | BPF_MOV | BPF_K, Register::Result, 0, 0, value);
    }

    fn load(&mut self, to: Register, offset: i16) {
        self.push(BPF_LDX | BPF_MEM | BPF_W, to, Register::Context as u8, offset, 0);
    }

    fn push(&mut self, code: u32, to: Register, from: u8, offset: i16, immediate: i32) {
        let code = u8::try_from(code).unwrap_or_default();
        let registers = to as u8 | from << 4;
        self.reversed.push(Instruction { code, registers, offset, immediate });
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{defaults, tests::rules};
    use super::*;

    /// Whether a program lets a task do this: the kernel's interpreter, as far as programs need it.
    fn run(program: &Program, kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        let kind = if kind == DeviceKind::Block { 1 } else { 2 };
        let context = [access.bits() << 16 | kind, major, minor];
        let mut registers = [0xDEAD_BEEF_DEAD_BEEF_u64; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: numbers, offset, immediate } = program.0[at];
            at += 1;
            let (to, from) = (usize::from(numbers & 15), usize::from(numbers >> 4));
            let with = u64::from(immediate.cast_unsigned());
            let mut jump = |is_so: bool| {
                if is_so {
                    at = at.checked_add_signed(offset.into()).unwrap();
                }
            };
            match code {
                // BPF_LDX | BPF_MEM | BPF_W
                0x61 => {
                    assert_eq!(from, 1, "not from the context");
                    registers[to] = context[usize::try_from(offset).unwrap() / 4].into();
                }
                // BPF_ALU | BPF_K, with BPF_AND, BPF_RSH, BPF_MOV
                0x54 => registers[to] = registers[to] & with & 0xFFFF_FFFF,
                0x74 => registers[to] = (registers[to] & 0xFFFF_FFFF) >> with,
                0xB4 => registers[to] = with,
                // BPF_JMP | BPF_K, with BPF_JA, BPF_JSET, BPF_JNE
                0x05 => jump(true),
                0x45 => jump(registers[to] & with != 0),
                0x55 => jump(registers[to] != with),
                // BPF_JMP | BPF_EXIT
                0x95 => return registers[0] != 0,
                code => panic!("instruction {code:#x} at {}", at - 1),
            }
        }
    }

    /// What the rules say, without a program.
    fn decide(rules: &[Rule], kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        let holds = |rule: &&Rule| {
            let of = rule.devices;
            let is_covered = match rule.verdict {
                Verdict::Allow => of.access.has(access),
                Verdict::Deny => of.access.bits() & access.bits() != 0,
            };
            is_covered
                && of.kind.is_none_or(|of| of == kind)
                && of.major.is_none_or(|of| of == major)
                && of.minor.is_none_or(|of| of == minor)
        };
        rules.iter().rfind(holds).is_none_or(|rule| rule.verdict == Verdict::Allow)
    }

    fn access(text: &str) -> Access {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_program_does_what_docker_allows() {
        let mut all = defaults();
        all.extend(rules(&["allow c 1:3 rwm", "allow b 7:0 r"]));
        let program = Program::compile(&all);
        for (kind, major, minor, wanted, is_allowed) in [
            (DeviceKind::Char, 1, 3, "rw", true),
            (DeviceKind::Char, 1, 3, "m", true),
            (DeviceKind::Char, 1, 4, "r", false),
            (DeviceKind::Char, 1, 4, "m", true),
            (DeviceKind::Char, 136, 7, "rw", true),
            (DeviceKind::Char, 5, 0, "rw", false),
            (DeviceKind::Char, 5, 1, "w", true),
            (DeviceKind::Block, 1, 3, "r", false),
            (DeviceKind::Block, 7, 0, "r", true),
            (DeviceKind::Block, 7, 0, "w", false),
            (DeviceKind::Block, 7, 0, "rw", false),
            (DeviceKind::Block, 7, 0, "m", true),
            (DeviceKind::Block, 7, 1, "r", false),
            (DeviceKind::Block, 8, 0, "rw", false),
        ] {
            let found = run(&program, kind, major, minor, access(wanted));
            assert_eq!(found, is_allowed, "{kind:?} {major}:{minor} {wanted}");
        }
    }

    #[test]
    fn programs_do_what_rules_say() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let accesses = ["r", "w", "m", "rw", "rm", "wm", "rwm"];
            let rule = |random: &mut fastrand::Rng| {
                let verdict = random.choice(["allow", "allow", "deny"]).unwrap();
                let devices = if random.u8(..8) == 0 {
                    "a *:* rwm".to_owned()
                } else {
                    let kind = random.choice(["b", "c"]).unwrap();
                    let major = random.choice(["*", "0", "1", "4095"]).unwrap();
                    let minor = random.choice(["*", "0", "3", "1048575"]).unwrap();
                    format!("{kind} {major}:{minor} {}", random.choice(accesses).unwrap())
                };
                format!("{verdict} {devices}")
            };
            let lines: Vec<String> = (0..random.usize(..12)).map(|_| rule(&mut random)).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let rules = rules(&lines);
            let program = Program::compile(&rules);
            for kind in [DeviceKind::Block, DeviceKind::Char] {
                for (major, minor) in [(0, 0), (1, 3), (1, 0), (4095, 1_048_575), (7, 3), (0, 8)] {
                    for access in accesses.map(access) {
                        let found = run(&program, kind, major, minor, access);
                        let expected = decide(&rules, kind, major, minor, access);
                        assert_eq!(found, expected, "{kind:?} {major}:{minor} {access} {lines:?}");
                    }
                }
            }
            is_reachable(&program);
        }
    }

    /// The kernel's verifier refuses a program in which something is not.
    fn is_reachable(program: &Program) {
        let mut reached = vec![false; program.0.len()];
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut reached[at], true) {
                continue;
            }
            let Instruction { code, offset, .. } = program.0[at];
            let jump = (at + 1).checked_add_signed(offset.into()).unwrap();
            match code {
                0x95 => {}
                0x05 => open.push(jump),
                0x45 | 0x55 => open.extend([at + 1, jump]),
                _ => open.push(at + 1),
            }
        }
        assert!(reached.iter().all(|&is_so| is_so), "{program:?}");
    }

    #[test]
    fn the_verifier_has_the_last_word() {
        let log = b"0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\n\0\0ab";
        assert_eq!(last_words(log), "R0 !read_ok");
        assert_eq!(last_words(b"\0\0"), "");
    }
}
