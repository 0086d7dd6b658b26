//! Where a security module keeps the labels of tasks: in a blob behind their credentials, at a place that
//! the kernel hands out when it starts.

use super::btf::Btf;
use crate::node::LsmList;

/// What the probes must know to read a module's labels; zeros if they cannot.
#[derive(Default)]
pub(super) struct Label {
    /// The address of the module's `struct lsm_blob_sizes`.
    pub(super) sizes: u64,
    /// The offset of the field that they read.
    pub(super) field: u64,
}

impl Label {
    /// The labels of a module, whose field is the first of `fields`, each a struct and a path in it, that
    /// the kernel has.
    pub(super) fn of(
        btf: &Btf,
        active: &LsmList,
        module: &str,
        sizes: u64,
        fields: &[(&'static str, &'static str)],
    ) -> Self {
        if !active.has(module) {
            return Self::default();
        }
        let field = fields.iter().find_map(|&(root, path)| btf.field(root, path).ok());
        match field {
            Some(field) if sizes != 0 => Self { sizes, field: field.into() },
            _ => {
                tracing::warn!(
                    "the kernel does not tell where {module} keeps its labels: containers that lose \
                     them are not noticed"
                );
                Self::default()
            }
        }
    }
}
