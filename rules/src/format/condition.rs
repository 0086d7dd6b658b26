//! Conditions: in one line if they fit, by their structure if not.
//!
//! The syntax tree has no parentheses, and they matter: what a later item appends to a condition
//! binds to what is written. So the tree of this module is built from the tokens between the checks.

use super::WIDTH;
use super::fill::{fill, start_line, width};
use super::scalar::{self, BLOCK, Context};
use crate::ast::{Call, CallArgument, Check, Expr, FieldRef, Operand, Right, Span, Word};
use crate::parse;

/// The text between a condition's colon and its end; none if it does not parse. `column` is where
/// its key ends.
pub(super) fn lay(text: &str, column: usize) -> Option<String> {
    let expr = parse::parse(text).ok()?;
    if text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let tree = Builder::new(text, &expr)?.disjunction()?;
    let line = tree.line();
    if line.contains('\n') {
        return None;
    }
    if column + 1 + tree.width <= WIDTH {
        if scalar::is_plain(&line, Context::Block) {
            return Some(format!(" {line}"));
        }
        // Conditions are full of quotes: folding spares them another pair.
        return Some(format!(" >\n{:BLOCK$}{line}", ""));
    }
    let mut page = Page { text: " >".to_owned(), line_start: 0 };
    page.start_line(BLOCK);
    page.lay(&tree, Place::new(BLOCK));
    Some(page.text)
}

/// A part of a condition, with its parentheses.
struct Tree {
    /// The columns that it takes in one line.
    width: usize,
    part: Part,
}

enum Part {
    /// Operands joined by `and` or `or`.
    Chain {
        operator: &'static str,
        operands: Vec<Tree>,
    },
    Group(Box<Tree>),
    /// A check or the name of a macro.
    Leaf(Leaf),
    Not {
        count: usize,
        operand: Box<Tree>,
    },
}

/// A check that ends in a list, or any other without `words`.
struct Leaf {
    head: String,
    words: Option<Vec<String>>,
}

impl Tree {
    fn new(part: Part) -> Self {
        let width = match &part {
            Part::Chain { operator, operands } => {
                let operators = (operands.len() - 1) * (operator.len() + 2);
                operands.iter().map(|operand| operand.width).sum::<usize>() + operators
            }
            Part::Group(inner) => inner.width + 2,
            Part::Leaf(Leaf { head, words: None }) => width(head),
            Part::Leaf(Leaf { head, words: Some(words) }) => {
                let blanks = 2 * words.len().saturating_sub(1);
                width(head) + words.iter().map(|word| width(word)).sum::<usize>() + blanks + 2
            }
            Part::Not { count, operand } => operand.width + count * "not ".len(),
        };
        Self { width, part }
    }

    /// The part in one line.
    fn line(&self) -> String {
        let mut line = String::new();
        self.write(&mut line);
        line
    }

    fn write(&self, line: &mut String) {
        match &self.part {
            Part::Chain { operator, operands } => {
                for (number, operand) in operands.iter().enumerate() {
                    if number > 0 {
                        line.extend([" ", operator, " "]);
                    }
                    operand.write(line);
                }
            }
            Part::Group(inner) => {
                line.push('(');
                inner.write(line);
                line.push(')');
            }
            Part::Leaf(Leaf { head, words }) => {
                line.push_str(head);
                if let Some(words) = words {
                    line.push('(');
                    line.push_str(&words.join(", "));
                    line.push(')');
                }
            }
            Part::Not { count, operand } => {
                line.extend(std::iter::repeat_n("not ", *count));
                operand.write(line);
            }
        }
    }
}

/// The lines of a condition.
struct Page {
    text: String,
    line_start: usize,
}

impl Page {
    fn start_line(&mut self, indent: usize) {
        self.line_start = self.text.len() + 1;
        start_line(&mut self.text, indent);
    }

    /// Adds a part to the line.
    fn lay(&mut self, tree: &Tree, place: Place) {
        let Place { indent, further, tail, is_broken } = place;
        let is_chain = matches!(tree.part, Part::Chain { .. });
        let column = width(&self.text[self.line_start..]);
        if column + tree.width + tail <= WIDTH && !(is_broken && is_chain) {
            tree.write(&mut self.text);
            return;
        }
        match &tree.part {
            Part::Chain { operator, operands } => {
                for (number, operand) in operands.iter().enumerate() {
                    if number > 0 {
                        self.start_line(further);
                        self.text.extend([operator, " "]);
                    }
                    let indent = if number == 0 { indent } else { further };
                    let place = Place { indent, further: further + 2, tail: 0, is_broken: false };
                    self.lay(operand, place);
                }
            }
            Part::Group(inner) if matches!(inner.part, Part::Chain { .. }) => {
                self.text.push('(');
                self.start_line(indent + 2);
                self.lay(inner, Place::new(indent + 2));
                self.start_line(indent);
                self.text.push(')');
            }
            Part::Group(inner) => {
                self.text.push('(');
                self.lay(inner, Place { tail: tail + 1, ..place });
                self.text.push(')');
            }
            Part::Leaf(Leaf { head, words: Some(words) }) if !words.is_empty() => {
                self.text.push_str(head);
                self.text.push('(');
                let last = words.len() - 1;
                let word = |(number, word): (usize, &String)| {
                    if number < last { format!("{word},") } else { word.clone() }
                };
                let words: Vec<_> = words.iter().enumerate().map(word).collect();
                fill(&mut self.text, words.iter().map(String::as_str), indent + 2);
                self.start_line(indent);
                self.text.push(')');
            }
            Part::Leaf(_) => tree.write(&mut self.text),
            Part::Not { count, operand } => {
                self.text.extend(std::iter::repeat_n("not ", *count));
                self.lay(operand, place);
            }
        }
    }
}

/// Where a part is laid out.
#[derive(Clone, Copy)]
struct Place {
    /// The column in which its line starts.
    indent: usize,
    /// The column in which lines start on which it goes on.
    further: usize,
    /// How many parentheses follow on its last line.
    tail: usize,
    /// Whether a chain has a line for each operand, even if it fits in one.
    is_broken: bool,
}

impl Place {
    fn new(indent: usize) -> Self {
        Self { indent, further: indent, tail: 0, is_broken: true }
    }
}

/// Builds the tree of a condition that parses.
struct Builder<'a> {
    text: &'a str,
    /// The checks and macros, in order.
    leaves: std::vec::IntoIter<(Span, Leaf)>,
    next: Option<(Span, Leaf)>,
    position: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, expr: &Expr) -> Option<Self> {
        let mut leaves = Vec::new();
        collect(text, expr, &mut leaves)?;
        let mut leaves = leaves.into_iter();
        let next = leaves.next();
        Some(Self { text, leaves, next, position: 0 })
    }

    fn disjunction(&mut self) -> Option<Tree> {
        self.chain("or", Self::conjunction)
    }

    fn conjunction(&mut self) -> Option<Tree> {
        self.chain("and", Self::negation)
    }

    fn chain(
        &mut self,
        operator: &'static str,
        operand: fn(&mut Self) -> Option<Tree>,
    ) -> Option<Tree> {
        let first = operand(self)?;
        if !self.symbol(operator) {
            return Some(first);
        }
        let mut operands = vec![first, operand(self)?];
        while self.symbol(operator) {
            operands.push(operand(self)?);
        }
        Some(Tree::new(Part::Chain { operator, operands }))
    }

    fn negation(&mut self) -> Option<Tree> {
        let mut count = 0;
        while self.symbol("not") {
            count += 1;
        }
        let operand = if self.symbol("(") {
            let inner = self.disjunction()?;
            if !self.symbol(")") {
                return None;
            }
            Tree::new(Part::Group(Box::new(inner)))
        } else {
            let (span, leaf) = std::mem::replace(&mut self.next, self.leaves.next())?;
            if span.start != self.position {
                return None;
            }
            self.position = span.end;
            Tree::new(Part::Leaf(leaf))
        };
        if count == 0 {
            return Some(operand);
        }
        Some(Tree::new(Part::Not { count, operand: Box::new(operand) }))
    }

    /// Reads a word or parenthesis that stands between two leaves.
    fn symbol(&mut self, symbol: &str) -> bool {
        let end = self.next.as_ref().map_or(self.text.len(), |(span, _)| span.start);
        let Some(gap) = self.text.get(self.position..end) else { return false };
        let rest = gap.trim_start_matches([' ', '\t', '\r', '\n', '\u{8}']);
        self.position = end - rest.len();
        let found = rest.starts_with(symbol);
        if found {
            self.position += symbol.len();
        }
        found
    }
}

/// The leaves of an expression, in order.
fn collect(text: &str, expr: &Expr, leaves: &mut Vec<(Span, Leaf)>) -> Option<()> {
    match expr {
        Expr::And { span: _, operands } | Expr::Or { span: _, operands } => {
            for operand in operands {
                collect(text, operand, leaves)?;
            }
        }
        Expr::Check(check) => leaves.push((check.span, Writer { text }.check(check)?)),
        Expr::Macro { span, name } => {
            leaves.push((*span, Leaf { head: name.clone(), words: None }));
        }
        Expr::Not { span: _, operand } => collect(text, operand, leaves)?,
    }
    Some(())
}

/// Writes checks with canonical blanks, and words as they are written.
struct Writer<'a> {
    text: &'a str,
}

impl Writer<'_> {
    fn check(&self, check: &Check) -> Option<Leaf> {
        let Check { span: _, left, operator, operator_span: _, right } = check;
        let head = format!("{} {}", self.operand(left)?, operator.name());
        self.right(head, right)
    }

    fn right(&self, head: String, right: &Right) -> Option<Leaf> {
        match right {
            Right::Nothing => Some(Leaf { head, words: None }),
            Right::Operand(operand) => {
                Some(Leaf { head: format!("{head} {}", self.operand(operand)?), words: None })
            }
            Right::Word(word) => {
                Some(Leaf { head: format!("{head} {}", self.word(word)?), words: None })
            }
            Right::List { span: _, words } => {
                let words: Option<_> = words.iter().map(|word| self.word(word)).collect();
                Some(Leaf { head: head + " ", words: Some(words?) })
            }
            Right::Quantified { quantifier, elements } => {
                self.right(format!("{head} {}", quantifier.name()), elements)
            }
        }
    }

    fn operand(&self, operand: &Operand) -> Option<String> {
        match operand {
            Operand::Call(call) => self.call(call),
            Operand::Field(FieldRef { span, name: _, argument: _ }) => {
                self.text.get(span.start..span.end).map(str::to_owned)
            }
        }
    }

    fn call(&self, call: &Call) -> Option<String> {
        let Call { span: _, transformer, arguments, option } = call;
        let arguments = self.arguments(arguments)?;
        let option = match option {
            Some(word) => format!("[{}]", self.word(word)?),
            None => String::new(),
        };
        Some(format!("{}{arguments}{option}", transformer.name()))
    }

    fn arguments(&self, arguments: &[CallArgument]) -> Option<String> {
        let written: Option<Vec<_>> = arguments
            .iter()
            .map(|argument| match argument {
                CallArgument::Constant(word) => self.word(word),
                CallArgument::List(arguments) => self.arguments(arguments),
                CallArgument::Operand(operand) => self.operand(operand),
            })
            .collect();
        Some(format!("({})", written?.join(", ")))
    }

    fn word(&self, word: &Word) -> Option<String> {
        self.text.get(word.span.start..word.span.end).map(str::to_owned)
    }
}
