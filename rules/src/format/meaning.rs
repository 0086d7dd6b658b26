//! Whether two texts mean the same.

use std::collections::HashSet;
use std::rc::Rc;

use crate::ast::{Call, CallArgument, Check, Expr, FieldRef, Operand, Right, Span, Word};
use crate::parse;
use crate::yaml::{self, Content, Node};

/// How deep in a document the keys of items stand.
const ITEM: usize = 1;

/// Whether two files have the same items in the same order, whatever the order of their keys.
pub(super) fn is_same(left: &[Rc<Node>], right: &[Rc<Node>]) -> bool {
    let mut comparison = Comparison::default();
    left.len() == right.len()
        && std::iter::zip(left, right).all(|(left, right)| comparison.nodes(left, right, 0))
}

/// Whether a text is a mapping of nothing but `key`, to this value.
pub(super) fn reads_as(text: &str, key: &str, value: &Rc<Node>) -> bool {
    let Ok(documents) = yaml::parse(&format!("{text}\n")) else { return false };
    let [document] = documents.as_slice() else { return false };
    let Content::Mapping(entries) = &document.content else { return false };
    let [(name, read)] = entries.as_slice() else { return false };
    let is_name = matches!(&name.content, Content::Scalar(name) if name.text == key);
    is_name && Comparison::default().values(key, value, read)
}

/// Compares trees. The parser limits how deep they are.
#[derive(Default)]
struct Comparison {
    /// Pairs found equal: aliases share nodes, and would otherwise multiply.
    same: HashSet<(*const Node, *const Node)>,
}

impl Comparison {
    fn nodes(&mut self, left: &Rc<Node>, right: &Rc<Node>, depth: usize) -> bool {
        let pair = (Rc::as_ptr(left), Rc::as_ptr(right));
        if self.same.contains(&pair) {
            return true;
        }
        let is_same = match (&left.content, &right.content) {
            (Content::Null, Content::Null) => true,
            (Content::Scalar(left), Content::Scalar(right)) => left.text == right.text,
            (Content::Sequence(left), Content::Sequence(right)) => {
                left.len() == right.len()
                    && std::iter::zip(left, right)
                        .all(|(left, right)| self.nodes(left, right, depth + 1))
            }
            (Content::Mapping(left), Content::Mapping(right)) if depth == ITEM => {
                self.items(left, right)
            }
            (Content::Mapping(left), Content::Mapping(right)) => {
                left.len() == right.len()
                    && std::iter::zip(left, right).all(|(left, right)| {
                        self.nodes(&left.0, &right.0, depth + 1)
                            && self.nodes(&left.1, &right.1, depth + 1)
                    })
            }
            _ => false,
        };
        if is_same {
            self.same.insert(pair);
        }
        is_same
    }

    /// Compares the entries of two items: those of one key keep their order, as the first counts.
    fn items(&mut self, left: &[(Rc<Node>, Rc<Node>)], right: &[(Rc<Node>, Rc<Node>)]) -> bool {
        let sorted = |entries: &[(Rc<Node>, Rc<Node>)]| {
            let mut entries = entries.to_vec();
            entries.sort_by(|(left, _), (right, _)| name(left).cmp(&name(right)));
            entries
        };
        left.len() == right.len()
            && std::iter::zip(sorted(left), sorted(right)).all(|(left, right)| {
                self.nodes(&left.0, &right.0, ITEM + 1)
                    && self.values(name(&left.0).unwrap_or_default(), &left.1, &right.1)
            })
    }

    /// Compares the values of a key of two items.
    fn values(&mut self, key: &str, left: &Rc<Node>, right: &Rc<Node>) -> bool {
        match (&left.content, &right.content) {
            (Content::Scalar(left), Content::Scalar(right)) if key == "condition" => {
                is_same_condition(&left.text, &right.text)
            }
            _ => self.nodes(left, right, ITEM + 1),
        }
    }
}

fn name(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn is_same_condition(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    let (Ok(mut left), Ok(mut right)) = (parse::parse(left), parse::parse(right)) else {
        return false;
    };
    forget_places(&mut left);
    forget_places(&mut right);
    left == right
}

/// Makes trees equal that were read from different places.
fn forget_places(expr: &mut Expr) {
    match expr {
        Expr::And { span, operands } | Expr::Or { span, operands } => {
            forget(span);
            operands.iter_mut().for_each(forget_places);
        }
        Expr::Check(Check { span, left, operator: _, operator_span, right }) => {
            forget(span);
            forget(operator_span);
            forget_operand(left);
            forget_right(right);
        }
        Expr::Macro { span, name: _ } => forget(span),
        Expr::Not { span, operand } => {
            forget(span);
            forget_places(operand);
        }
    }
}

fn forget_right(right: &mut Right) {
    match right {
        Right::Nothing => {}
        Right::Operand(operand) => forget_operand(operand),
        Right::Word(word) => forget_word(word),
        Right::List { span, words } => {
            forget(span);
            words.iter_mut().for_each(forget_word);
        }
        Right::Quantified { quantifier: _, elements } => forget_right(elements),
    }
}

fn forget_operand(operand: &mut Operand) {
    match operand {
        Operand::Call(Call { span, transformer: _, arguments, option }) => {
            forget(span);
            arguments.iter_mut().for_each(forget_argument);
            option.iter_mut().for_each(forget_word);
        }
        Operand::Field(FieldRef { span, name: _, argument }) => {
            forget(span);
            argument.iter_mut().for_each(forget_word);
        }
    }
}

fn forget_argument(argument: &mut CallArgument) {
    match argument {
        CallArgument::Constant(word) => forget_word(word),
        CallArgument::List(arguments) => arguments.iter_mut().for_each(forget_argument),
        CallArgument::Operand(operand) => forget_operand(operand),
    }
}

fn forget_word(Word { span, bytes: _, quoted: _ }: &mut Word) {
    forget(span);
}

fn forget(span: &mut Span) {
    *span = Span::new(0..0);
}
