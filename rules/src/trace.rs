//! Conditions as they are written, for those who want to know which part of one decides.
//!
//! A [`Tree`] keeps what the compiled program leaves out: where each part stands, and which macro it
//! came from. It is made from the text anew, and evaluated in the plainest way, so that it is also a
//! second opinion on the program. Nothing of it is there when rules are only matched.

use std::collections::HashMap;
use std::rc::Rc;

use crate::ast::{self, Expr, Span};
use crate::check;
use crate::eval::Check;
use crate::event::Event;
use crate::file::RuleBody;
use crate::lists::Lists;
use crate::load;
use crate::merge::{Definition, Definitions};
use crate::parse;
use crate::source::{Place, SourceFile, Text};

/// A part of a condition.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
}

#[derive(Debug)]
pub(crate) enum Shape {
    /// All of them must hold.
    And(Vec<Tree>),
    /// A check, and how it is written.
    Check(Box<Check>, String),
    /// A macro by its name, and its condition, which all of its users share.
    Macro(String, Rc<Tree>),
    Not(Box<Tree>),
    /// One of them must hold.
    Or(Vec<Tree>),
}

impl Tree {
    /// Whether `event` satisfies the condition. Each part that has a say in it is handed to `seen`
    /// with its truth; what stands behind the part that decides has none.
    pub(crate) fn holds<E: Event>(&self, event: &E, seen: &mut dyn FnMut(&Self, bool)) -> bool {
        let holds = match &self.shape {
            Shape::And(operands) => operands.iter().all(|operand| operand.holds(event, seen)),
            Shape::Check(check, _) => check.holds(event),
            Shape::Macro(_, body) => body.holds(event, seen),
            Shape::Not(operand) => !operand.holds(event, seen),
            Shape::Or(operands) => operands.iter().any(|operand| operand.holds(event, seen)),
        };
        seen(self, holds);
        holds
    }

    /// Hands out the part itself and every other below it.
    pub(crate) fn walk(&self, each: &mut dyn FnMut(&Self)) {
        each(self);
        match &self.shape {
            Shape::And(operands) | Shape::Or(operands) => {
                for operand in operands {
                    operand.walk(each);
                }
            }
            Shape::Check(..) => {}
            Shape::Macro(_, body) => body.walk(each),
            Shape::Not(operand) => operand.walk(each),
        }
    }
}

/// Makes trees of the conditions of one set of definitions.
pub(crate) struct Planter<'a> {
    definitions: &'a Definitions,
    files: &'a [SourceFile<'a>],
    lists: Lists<'a>,
    macros: HashMap<usize, Rc<Tree>>,
}

impl<'a> Planter<'a> {
    pub(crate) fn new(definitions: &'a Definitions, files: &'a [SourceFile<'a>]) -> Self {
        let mut lists = Lists::default();
        for list in &definitions.lists.entries {
            lists.add(&list.name, &list.value);
        }
        Self { definitions, files, lists, macros: HashMap::new() }
    }

    /// The condition of a rule that compiles, with its exceptions; of no other one.
    pub(crate) fn rule(&mut self, definition: &Definition<RuleBody>) -> Option<Tree> {
        let parts = load::conditions(definition);
        let trees: Option<Vec<_>> = parts.iter().map(|text| self.text(text)).collect();
        let mut trees = trees?;
        if trees.len() < 2 {
            return trees.pop();
        }
        Some(Tree { place: definition.place.clone(), shape: Shape::And(trees) })
    }

    fn text(&mut self, text: &Text) -> Option<Tree> {
        self.tree(&parse::parse(text.as_str()).ok()?, text)
    }

    fn tree(&mut self, expr: &Expr, text: &Text) -> Option<Tree> {
        let (span, shape) = match expr {
            Expr::And { span, operands } => (*span, Shape::And(self.trees(operands, text)?)),
            Expr::Check(check) => (check.span, self.check(check, text)?),
            Expr::Macro { span, name } => (*span, Shape::Macro(name.clone(), self.macro_(name)?)),
            Expr::Not { span, operand } => (*span, Shape::Not(Box::new(self.tree(operand, text)?))),
            Expr::Or { span, operands } => (*span, Shape::Or(self.trees(operands, text)?)),
        };
        let Span { start, end } = span;
        Some(Tree { place: text.place(self.files, start..end), shape })
    }

    fn trees(&mut self, exprs: &[Expr], text: &Text) -> Option<Vec<Tree>> {
        exprs.iter().map(|expr| self.tree(expr, text)).collect()
    }

    fn check(&self, check: &ast::Check, text: &Text) -> Option<Shape> {
        let Span { start, end } = check.span;
        let written = text.as_str().get(start..end)?.split_whitespace().collect::<Vec<_>>();
        // What there is to warn of was told when the rule was compiled.
        let compiled = check::check(check, &self.lists, &mut Vec::new()).ok()?;
        Some(Shape::Check(Box::new(compiled), written.join(" ")))
    }

    fn macro_(&mut self, name: &str) -> Option<Rc<Tree>> {
        let index = self.definitions.macros.position(name)?;
        if let Some(tree) = self.macros.get(&index) {
            return Some(Rc::clone(tree));
        }
        // In what compiles, no macro needs itself.
        let definition = self.definitions.macros.entries.get(index)?;
        let tree = Rc::new(self.text(&definition.value)?);
        self.macros.insert(index, Rc::clone(&tree));
        Some(tree)
    }
}
