//! The names of the `bpf(2)` commands and program types (`include/uapi/linux/bpf.h`).

/// `enum bpf_prog_type`, without the prefix `BPF_PROG_TYPE_`.
const PROGRAM_TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

/// `enum bpf_cmd`.
const COMMANDS: [&str; 37] = [
    "BPF_MAP_CREATE",
    "BPF_MAP_LOOKUP_ELEM",
    "BPF_MAP_UPDATE_ELEM",
    "BPF_MAP_DELETE_ELEM",
    "BPF_MAP_GET_NEXT_KEY",
    "BPF_PROG_LOAD",
    "BPF_OBJ_PIN",
    "BPF_OBJ_GET",
    "BPF_PROG_ATTACH",
    "BPF_PROG_DETACH",
    "BPF_PROG_TEST_RUN",
    "BPF_PROG_GET_NEXT_ID",
    "BPF_MAP_GET_NEXT_ID",
    "BPF_PROG_GET_FD_BY_ID",
    "BPF_MAP_GET_FD_BY_ID",
    "BPF_OBJ_GET_INFO_BY_FD",
    "BPF_PROG_QUERY",
    "BPF_RAW_TRACEPOINT_OPEN",
    "BPF_BTF_LOAD",
    "BPF_BTF_GET_FD_BY_ID",
    "BPF_TASK_FD_QUERY",
    "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
    "BPF_MAP_FREEZE",
    "BPF_BTF_GET_NEXT_ID",
    "BPF_MAP_LOOKUP_BATCH",
    "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
    "BPF_MAP_UPDATE_BATCH",
    "BPF_MAP_DELETE_BATCH",
    "BPF_LINK_CREATE",
    "BPF_LINK_UPDATE",
    "BPF_LINK_GET_FD_BY_ID",
    "BPF_LINK_GET_NEXT_ID",
    "BPF_ENABLE_STATS",
    "BPF_ITER_CREATE",
    "BPF_LINK_DETACH",
    "BPF_PROG_BIND_MAP",
    "BPF_TOKEN_CREATE",
];

/// The name of a command, or its number.
pub(super) fn command(number: u32) -> String {
    let name = COMMANDS.get(number as usize).copied();
    name.map_or_else(|| number.to_string(), str::to_owned)
}

/// The name of a program type, or its number.
pub(super) fn program_type(number: u32) -> String {
    let name = PROGRAM_TYPES.get(number as usize).copied();
    name.map_or_else(|| number.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_types_have_the_numbers_of_the_kernel() {
        use aya_obj::generated::{bpf_cmd, bpf_prog_type as kernel};
        for (number, name) in [
            (kernel::BPF_PROG_TYPE_KPROBE, "kprobe"),
            (kernel::BPF_PROG_TYPE_XDP, "xdp"),
            (kernel::BPF_PROG_TYPE_CGROUP_SYSCTL, "cgroup_sysctl"),
            (kernel::BPF_PROG_TYPE_TRACING, "tracing"),
            (kernel::BPF_PROG_TYPE_LSM, "lsm"),
            (kernel::BPF_PROG_TYPE_SYSCALL, "syscall"),
        ] {
            assert_eq!(program_type(number as u32), name);
        }
        for (number, name) in [
            (bpf_cmd::BPF_PROG_LOAD, "BPF_PROG_LOAD"),
            (bpf_cmd::BPF_BTF_LOAD, "BPF_BTF_LOAD"),
            (bpf_cmd::BPF_LINK_CREATE, "BPF_LINK_CREATE"),
            (bpf_cmd::BPF_PROG_BIND_MAP, "BPF_PROG_BIND_MAP"),
        ] {
            assert_eq!(command(number as u32), name);
        }
        assert_eq!(program_type(4000), "4000");
        assert_eq!((command(5).as_str(), command(99).as_str()), ("BPF_PROG_LOAD", "99"));
    }
}
