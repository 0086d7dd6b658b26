//! Reads what the probes must know out of the running kernel's BTF: where fields are, and what
//! arguments a hook has. The format is that of `Documentation/bpf/btf.rst`; only what is asked for
//! is decoded, and nothing is kept.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use shrike_common::Offset;

/// The type information of a kernel.
pub(crate) struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Where each type stands in `data`; the id is the index, 0 is void.
    types: Vec<usize>,
    structs: HashMap<Vec<u8>, Vec<u32>>,
}

/// Why something could not be learned from BTF.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    #[error(
        "cannot read the kernel's type information {}: {source}; shrike needs a kernel that is \
         built with CONFIG_DEBUG_INFO_BTF=y (`shrike doctor` tells more)",
        path.display()
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the kernel's type information is damaged: {0}")]
    Malformed(&'static str),
    #[error("this kernel has no struct {0}")]
    NoStruct(&'static str),
    #[error("this kernel's struct {root} has no field {path}")]
    NoField { root: &'static str, path: &'static str },
    #[error("this kernel has several structs {root} that disagree about the offset of {path}")]
    Ambiguous { root: &'static str, path: &'static str },
    #[error("this kernel has no {0}")]
    NoFunction(String),
}

/// The kinds of BTF types (`BTF_KIND_*`).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The fixed part of every type.
struct Type {
    name: u32,
    kind: u32,
    /// How many members, arguments or the like follow.
    len: usize,
    /// Whether the offsets of members hold the sizes of bit fields too.
    bitfields: bool,
    /// The size, or the id of the type that this one refers to.
    target: u32,
    /// Where what follows stands in the data.
    body: usize,
}

impl Btf {
    /// Reads the BTF of the running kernel, or another file in that format.
    pub(crate) fn read(path: &Path) -> Result<Self, BtfError> {
        let data = fs::read(path).map_err(|source| BtfError::Read { path: path.into(), source })?;
        Self::parse(data)
    }

    /// Reads the BTF of a module, which goes on from the kernel's: of its own types, those fields are found
    /// that no type of the kernel stands before.
    pub(super) fn read_module(&self, path: &Path) -> Result<Self, BtfError> {
        let data = fs::read(path).map_err(|source| BtfError::Read { path: path.into(), source })?;
        self.parse_module(data)
    }

    fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        Self::parse_upon(data, None)
    }

    fn parse_module(&self, data: Vec<u8>) -> Result<Self, BtfError> {
        Self::parse_upon(data, Some(self))
    }

    fn parse_upon(mut data: Vec<u8>, base: Option<&Self>) -> Result<Self, BtfError> {
        const MAGIC: u32 = 0xEB9F;
        let field = |at| u32_at(&data, at).ok_or(BtfError::Malformed("short header"));
        if field(0)? & 0xFFFF != MAGIC {
            return Err(BtfError::Malformed("bad magic number"));
        }
        let header = field(4)? as usize;
        let start = header + field(8)? as usize;
        let end = start + field(12)? as usize;
        let mut strings = header + field(16)? as usize;
        let mut strings_end = strings + field(20)? as usize;
        let mut types = vec![0];
        if let Some(base) = base {
            let own = data.get(strings..strings_end).unwrap_or_default().to_vec();
            strings = data.len();
            data.extend_from_slice(base.data.get(base.strings.clone()).unwrap_or_default());
            data.extend(own);
            strings_end = data.len();
            // To us, a type of the kernel's is nothing.
            types = vec![0; base.types.len()];
        }
        let mut btf = Self { data, strings: strings..strings_end, types, structs: HashMap::new() };
        let mut at = start;
        while at < end {
            let ty = btf.at(at)?;
            let id = u32::try_from(btf.types.len())
                .map_err(|_| BtfError::Malformed("too many types"))?;
            if ty.kind == kind::STRUCT && ty.name != 0 {
                let name = btf.string(ty.name).to_vec();
                btf.structs.entry(name).or_default().push(id);
            }
            btf.types.push(at);
            at = ty.body + trailing(&ty)?;
        }
        Ok(btf)
    }

    /// The offset in bytes of a field that the probes read.
    pub(crate) fn offset(&self, offset: Offset) -> Result<u32, BtfError> {
        match (self.field(offset.root(), offset.path()), offset.other_path()) {
            (Err(BtfError::NoField { .. }), Some(other)) => self.field(offset.root(), other),
            (found, _) => found,
        }
    }

    /// What the arguments of the kernel function `name` point to: a struct's name, or nothing.
    pub(crate) fn function(&self, name: &str) -> Result<Vec<String>, BtfError> {
        let func = self.named(kind::FUNC, name)?;
        self.arguments(func.target)
    }

    /// The same of the tracepoint `name`.
    pub(crate) fn tracepoint(&self, name: &str) -> Result<Vec<String>, BtfError> {
        let typedef = self.named(kind::TYPEDEF, &format!("btf_trace_{name}"))?;
        let pointer = self.ty(self.resolve(typedef.target)?)?;
        let mut arguments = self.arguments(pointer.target)?;
        // The first one is the tracepoint's own data, which programs do not see.
        if !arguments.is_empty() {
            arguments.remove(0);
        }
        Ok(arguments)
    }

    /// The offset in bytes of the field at a path in a struct.
    pub(super) fn field(&self, root: &'static str, path: &'static str) -> Result<u32, BtfError> {
        let ids = self.structs.get(root.as_bytes()).ok_or(BtfError::NoStruct(root))?;
        let mut found = None;
        for &id in ids {
            let Some(bits) = self.path(id, path)? else { continue };
            if found.is_some_and(|found| found != bits) {
                return Err(BtfError::Ambiguous { root, path });
            }
            found = Some(bits);
        }
        match found {
            Some(bits) if bits % 8 == 0 => Ok(bits / 8),
            _ => Err(BtfError::NoField { root, path }),
        }
    }

    /// The size of a struct in bytes.
    pub(super) fn size(&self, root: &'static str) -> Result<u32, BtfError> {
        let ids = self.structs.get(root.as_bytes()).ok_or(BtfError::NoStruct(root))?;
        let id = ids.first().ok_or(BtfError::NoStruct(root))?;
        // In this place other types refer to another one.
        Ok(self.ty(*id)?.target)
    }

    /// The offset in bits of a dotted path of fields.
    fn path(&self, mut id: u32, path: &str) -> Result<Option<u32>, BtfError> {
        let mut bits = 0;
        for name in path.split('.') {
            let Some((offset, ty)) = self.member(id, name.as_bytes())? else { return Ok(None) };
            bits += offset;
            id = self.resolve(ty)?;
        }
        Ok(Some(bits))
    }

    /// The offset in bits and the type of a member, looked for in anonymous members too.
    fn member(&self, id: u32, name: &[u8]) -> Result<Option<(u32, u32)>, BtfError> {
        let ty = self.ty(id)?;
        if ty.kind != kind::STRUCT && ty.kind != kind::UNION {
            return Ok(None);
        }
        for index in 0..ty.len {
            let at = ty.body + index * 12;
            let (member, target, mut offset) =
                (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
            if ty.bitfields {
                if offset >> 24 != 0 {
                    continue;
                }
                offset &= 0x00FF_FFFF;
            }
            if member == 0 {
                let inner = self.resolve(target)?;
                if let Some((more, ty)) = self.member(inner, name)? {
                    return Ok(Some((offset + more, ty)));
                }
            } else if self.string(member) == name {
                return Ok(Some((offset, target)));
            }
        }
        Ok(None)
    }

    fn named(&self, kind: u32, name: &str) -> Result<Type, BtfError> {
        (1..self.types.len())
            .filter_map(|id| self.ty(u32::try_from(id).ok()?).ok())
            .find(|ty| ty.kind == kind && self.string(ty.name) == name.as_bytes())
            .ok_or_else(|| BtfError::NoFunction(name.to_owned()))
    }

    fn arguments(&self, proto: u32) -> Result<Vec<String>, BtfError> {
        let proto = self.ty(self.resolve(proto)?)?;
        if proto.kind != kind::FUNC_PROTO {
            return Err(BtfError::Malformed("a function without a prototype"));
        }
        (0..proto.len)
            .map(|index| {
                let argument = self.ty(self.resolve(self.u32(proto.body + index * 8 + 4)?)?)?;
                if argument.kind != kind::PTR || argument.target == 0 {
                    return Ok(String::new());
                }
                let pointee = self.ty(self.resolve(argument.target)?)?;
                Ok(String::from_utf8_lossy(self.string(pointee.name)).into_owned())
            })
            .collect()
    }

    /// Follows typedefs and qualifiers to the type that they stand for.
    fn resolve(&self, mut id: u32) -> Result<u32, BtfError> {
        const LONGEST: u32 = 32;
        for _ in 0..LONGEST {
            let ty = self.ty(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.target;
                }
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed("a chain of types without end"))
    }

    fn ty(&self, id: u32) -> Result<Type, BtfError> {
        match self.types.get(id as usize) {
            Some(&at) if at != 0 => self.at(at),
            // Void: nothing that could be asked for.
            Some(_) => Ok(Type { name: 0, kind: 0, len: 0, bitfields: false, target: 0, body: 0 }),
            None => Err(BtfError::Malformed("a reference to no type")),
        }
    }

    fn at(&self, at: usize) -> Result<Type, BtfError> {
        let (name, info, target) = (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
        Ok(Type {
            name,
            kind: info >> 24 & 0x1F,
            len: (info & 0xFFFF) as usize,
            bitfields: info >> 31 != 0,
            target,
            body: at + 12,
        })
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        u32_at(&self.data, at).ok_or(BtfError::Malformed("it ends within a type"))
    }

    /// The string at this offset of the string section, without its NUL.
    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.data.get(self.strings.start + offset as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

/// How many bytes follow the fixed part of a type.
fn trailing(ty: &Type) -> Result<usize, BtfError> {
    Ok(match ty.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => ty.len * 12,
        kind::ENUM | kind::FUNC_PROTO => ty.len * 8,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return Err(BtfError::Malformed("a kind of type that this agent does not know")),
    })
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
