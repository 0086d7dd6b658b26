//! Against type information that is written here, type by type.

use super::*;

/// Writes BTF.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn push(&mut self, name: &str, info: u32, target: u32, rest: &[u32]) -> &mut Self {
        let name = self.name(name);
        for word in [name, info, target].iter().chain(rest) {
            self.types.extend(word.to_le_bytes());
        }
        self
    }

    fn structure(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> &mut Self {
        let rest: Vec<u32> =
            members.iter().flat_map(|&(name, ty, bits)| [self.name(name), ty, bits]).collect();
        let len = u32::try_from(members.len()).unwrap();
        self.push(name, kind << 24 | len, 64, &rest)
    }

    fn btf(&self) -> Vec<u8> {
        let len = |part: &[u8]| u32::try_from(part.len()).unwrap();
        let mut data = Vec::new();
        for word in [0x0001_EB9F, 24, 0, len(&self.types), len(&self.types), len(&self.strings)] {
            data.extend(u32::to_le_bytes(word));
        }
        data.extend(&self.types);
        data.extend(&self.strings);
        data
    }

    fn parse(&self) -> Btf {
        Btf::parse(self.btf()).unwrap()
    }
}

/// 1: int; 2: `inner { pad, inum }`; 3: const inner; 4: union { .. } of 3; 5: the outer struct.
fn nested() -> Builder {
    let mut builder = Builder::default();
    builder
        .push("int", kind::INT << 24, 4, &[32])
        .structure("inner", kind::STRUCT, &[("pad", 1, 0), ("inum", 1, 32)])
        .push("", kind::CONST << 24, 2, &[])
        .structure("", kind::UNION, &[("ns", 3, 0)])
        .structure("outer", kind::STRUCT, &[("first", 1, 0), ("", 4, 64)]);
    builder
}

#[test]
fn finds_a_field_through_anonymous_members_and_qualifiers() {
    assert_eq!(nested().parse().field("outer", "ns.inum").unwrap(), 12);
    assert_eq!(nested().parse().field("outer", "first").unwrap(), 0);
}

#[test]
fn finds_the_fields_of_a_module() {
    let base = nested();
    let kernel = base.parse();
    // Its names are counted on from the kernel's, and so are its types.
    let mut module = Builder { types: Vec::new(), strings: base.strings.clone() };
    module.structure("device", kind::STRUCT, &[("number", 1, 0), ("file", 2, 64)]);
    module.strings.drain(..base.strings.len());
    let btf = kernel.parse_module(module.btf()).unwrap();
    assert_eq!(btf.field("device", "file").unwrap(), 8);
    assert!(matches!(btf.field("outer", "first"), Err(BtfError::NoStruct("outer"))));
}

#[test]
fn names_what_is_missing() {
    let btf = nested().parse();
    let error = |root, path| btf.field(root, path).unwrap_err().to_string();
    assert_eq!(error("nothing", "at"), "this kernel has no struct nothing");
    assert_eq!(error("outer", "ns.gone"), "this kernel's struct outer has no field ns.gone");
    let error = btf.function("security_file_open").unwrap_err();
    assert_eq!(error.to_string(), "this kernel has no security_file_open");
}

#[test]
fn refuses_structs_of_one_name_that_disagree() {
    let mut builder = nested();
    builder.structure("outer", kind::STRUCT, &[("first", 1, 32)]);
    let btf = builder.parse();
    assert!(matches!(btf.field("outer", "first"), Err(BtfError::Ambiguous { .. })));
    assert_eq!(btf.field("outer", "ns.inum").unwrap(), 12, "only one of them has it");
}

#[test]
fn reads_the_arguments_of_functions_and_tracepoints() {
    let mut builder = nested();
    let (data, file, flags) = (builder.name("data"), builder.name("file"), builder.name("flags"));
    builder
        .push("", kind::PTR << 24, 5, &[]) // 6: struct outer *
        .push("", kind::FUNC_PROTO << 24 | 2, 1, &[file, 6, flags, 1]) // 7
        .push("security_file_open", kind::FUNC << 24, 7, &[])
        .push("", kind::PTR << 24, 0, &[]) // 9: void *
        .push("", kind::FUNC_PROTO << 24 | 2, 0, &[data, 9, file, 6]) // 10
        .push("", kind::PTR << 24, 10, &[]) // 11
        .push("btf_trace_task_newtask", kind::TYPEDEF << 24, 11, &[]);
    let btf = builder.parse();
    assert_eq!(btf.function("security_file_open").unwrap(), ["outer", ""]);
    assert_eq!(btf.tracepoint("task_newtask").unwrap(), ["outer"]);
}

#[test]
fn refuses_damaged_data_without_panic() {
    let data = nested().btf();
    for len in 0..data.len() {
        if let Ok(btf) = Btf::parse(data[..len].to_vec()) {
            let _ = btf.field("outer", "ns.inum");
        }
    }
    assert!(Btf::parse(b"not BTF at all, but long enough".to_vec()).is_err());
}

#[test]
fn says_how_to_get_btf() {
    let error = Btf::read(Path::new("/nonexistent/btf")).err().unwrap().to_string();
    assert!(error.contains("/nonexistent/btf"), "{error}");
    assert!(error.contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
}
