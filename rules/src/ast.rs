//! The syntax tree of a condition; every node knows the bytes that it was read from.

use std::ops::Range;

/// A range of bytes of a condition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Expr {
    And { span: Span, operands: Vec<Expr> },
    Check(Check),
    Macro { span: Span, name: String },
    Not { span: Span, operand: Box<Expr> },
    Or { span: Span, operands: Vec<Expr> },
}

/// A comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Check {
    pub(crate) span: Span,
    pub(crate) left: Operand,
    pub(crate) operator: Operator,
    pub(crate) operator_span: Span,
    pub(crate) right: Right,
}

/// What is looked at: a field, or a field seen through transformers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Operand {
    Call(Call),
    Field(FieldRef),
}

/// A field with its argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FieldRef {
    pub(crate) span: Span,
    pub(crate) name: String,
    pub(crate) argument: Option<Word>,
}

/// A transformer applied to arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) span: Span,
    pub(crate) transformer: Transformer,
    pub(crate) arguments: Vec<CallArgument>,
    /// The option that `getopt(…)[option]` picks.
    pub(crate) option: Option<Word>,
}

/// An argument of a transformer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CallArgument {
    Constant(Word),
    List(Vec<CallArgument>),
    Operand(Operand),
}

/// What a check compares with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Right {
    /// `exists` compares with nothing.
    Nothing,
    /// `val(field)` or a transformer.
    Operand(Operand),
    /// One value; after a list operator, the name of a list.
    Word(Word),
    /// A list literal.
    List { span: Span, words: Vec<Word> },
    /// A list, each element of which is compared on its own.
    Quantified { quantifier: Quantifier, elements: Box<Right> },
}

/// A constant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Word {
    pub(crate) span: Span,
    /// The value, escapes resolved.
    pub(crate) bytes: Vec<u8>,
    /// A quoted word never names a list.
    pub(crate) quoted: bool,
}

/// Declares an enum of words of the language with their spelling.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $spelling:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum $name {
            $($variant,)*
        }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $spelling,)*
                }
            }
        }
    };
}

words! {
    /// Operators, longer spellings before their own prefixes.
    Operator {
        Exists "exists",
        LessOrEqual "<=",
        Less "<",
        GreaterOrEqual ">=",
        Greater ">",
        EqualTwice "==",
        Equal "=",
        NotEqual "!=",
        Glob "glob",
        GlobFolded "iglob",
        Contains "contains",
        ContainsFolded "icontains",
        ContainsBytes "bcontains",
        StartsWith "startswith",
        StartsWithBytes "bstartswith",
        EndsWith "endswith",
        Regex "regex",
        Intersects "intersects",
        In "in",
        PathMatch "pmatch",
    }
}

/// What may stand to the right of an operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OperatorClass {
    List,
    Number,
    Text,
    Unary,
}

impl Operator {
    pub(crate) const fn class(self) -> OperatorClass {
        match self {
            Self::Exists => OperatorClass::Unary,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => {
                OperatorClass::Number
            }
            Self::In | Self::Intersects | Self::PathMatch => OperatorClass::List,
            _ => OperatorClass::Text,
        }
    }
}

words! {
    /// How many elements of a list must satisfy a comparison.
    Quantifier {
        All "allof",
        Any "anyof",
        One "oneof",
    }
}

words! {
    /// Functions of values; `val` is the field itself and stands on the right only.
    Transformer {
        Base64 "b64",
        Basename "basename",
        Concat "concat",
        Getopt "getopt",
        Join "join",
        Length "len",
        Lower "tolower",
        Upper "toupper",
        Value "val",
    }
}
