//! From definitions to a program: macros are resolved once, and each condition learns which
//! events can satisfy it.

use crate::ast::{self, Expr, Right, Span};
use crate::check::{self, Problem};
use crate::diagnose::{Code, Diagnostic, Item, ItemKind, Severity};
use crate::eval::{Check, Node, NodeId, Program, Relation, Test};
use crate::event::Value;
use crate::field::FieldId;
use crate::findings::Findings;
use crate::lint::{SpotId, Trace};
use crate::lists::Lists;
use crate::merge::{Definition, Definitions};
use crate::names::NameSet;
use crate::parse::{self, MAX_DEPTH};
use crate::source::{SourceFile, Text};
use crate::suggest;

/// How many checks a condition may have once its macros are expanded. Falco's largest rules have
/// a few hundred; what goes beyond this is made to exhaust the evaluator.
const MAX_CHECKS: usize = 100_000;

/// A longer condition is not read: each place in it that is told of takes a walk over all of it.
const MAX_BYTES: usize = 2 << 20;

/// A compiled condition and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) node: NodeId,
    /// The names of the events that can satisfy it.
    pub(crate) holds: NameSet,
    /// The names of the events that can fail it.
    fails: NameSet,
    depth: usize,
    pub(crate) checks: usize,
    /// Where it was written.
    pub(crate) spot: SpotId,
}

/// The condition does not compile, and diagnostics say why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faulty {
    /// Only because of names that another engine may know.
    pub(crate) only_unknown_names: bool,
}

impl Faulty {
    fn and(self, other: Option<Self>) -> Self {
        let other = other.is_none_or(|other| other.only_unknown_names);
        Self { only_unknown_names: self.only_unknown_names && other }
    }
}

type Result<T> = std::result::Result<T, Faulty>;

/// Compiles the conditions of one set of definitions.
pub(crate) struct Compiler<'a> {
    definitions: &'a Definitions,
    files: &'a [SourceFile<'a>],
    lists: Lists<'a>,
    macros: Vec<Macro>,
    program: Program,
    trace: Trace<'a>,
    diagnostics: Findings,
    /// The rule being compiled and the macros that led from it to here.
    chain: Vec<Scope<'a>>,
}

/// What came of compiling.
pub(crate) struct Compiled<'a> {
    pub(crate) program: Program,
    pub(crate) trace: Trace<'a>,
    pub(crate) diagnostics: Findings,
    /// The names of the unused macros and lists.
    pub(crate) unused: Vec<(ItemKind, String)>,
}

struct Macro {
    /// The parsed condition; none if it does not parse.
    expr: Option<Expr>,
    state: State,
    is_used: bool,
    /// What it names was noted to be used.
    is_mentioned: bool,
}

#[derive(Clone, Copy)]
enum State {
    Compiled(Condition),
    /// The diagnostics from this position on say why.
    Faulty(Faulty, usize),
    New,
    /// Being compiled: who needs it now is part of it.
    Open,
}

/// Whose condition is being compiled.
#[derive(Clone, Copy)]
struct Scope<'a> {
    kind: ItemKind,
    name: &'a str,
    text: &'a Text,
    /// Macros defined by this item and later ones cannot be seen.
    visibility: usize,
}

impl<'a> Compiler<'a> {
    /// Parses every macro, used or not.
    pub(crate) fn new(definitions: &'a Definitions, files: &'a [SourceFile<'a>]) -> Self {
        let mut lists = Lists::default();
        for list in &definitions.lists.entries {
            lists.add(&list.name, &list.value);
        }
        let mut compiler = Self {
            definitions,
            files,
            lists,
            macros: Vec::new(),
            program: Program::default(),
            trace: Trace::default(),
            diagnostics: Findings::default(),
            chain: Vec::new(),
        };
        for definition in &definitions.macros.entries {
            let at = compiler.diagnostics.len();
            let (expr, state) = match compiler.parse(macro_scope(definition)) {
                Ok(expr) => (Some(expr), State::New),
                Err(faulty) => (None, State::Faulty(faulty, at)),
            };
            compiler.macros.push(Macro { expr, state, is_used: false, is_mentioned: false });
        }
        compiler
    }

    /// Compiles the condition of a rule, of which each part must hold.
    ///
    /// With `skip_if_unknown`, names that are not known leave no diagnostics.
    pub(crate) fn rule(
        &mut self,
        name: &'a str,
        parts: &'a [Text],
        skip_if_unknown: bool,
    ) -> Result<Condition> {
        let reported = self.diagnostics.len();
        let result = self.parts(name, parts);
        if skip_if_unknown && result.is_err_and(|faulty| faulty.only_unknown_names) {
            self.forget(reported);
        }
        result
    }

    fn parts(&mut self, name: &'a str, parts: &'a [Text]) -> Result<Condition> {
        let scope = |text| Scope { kind: ItemKind::Rule, name, text, visibility: usize::MAX };
        let mut compiled = Vec::with_capacity(parts.len());
        let mut fault = None;
        for text in parts {
            let scope = scope(text);
            match self.parse(scope).and_then(|expr| self.compile(&expr, scope)) {
                Ok(part) => compiled.push(part),
                Err(faulty) => fault = Some(faulty.and(fault)),
            }
        }
        match (fault, compiled.as_slice(), parts) {
            (Some(faulty), ..) => Err(faulty),
            (None, [only], _) => Ok(*only),
            (None, all, [first, ..]) => {
                let node = Node::And(all.iter().map(|part| part.node).collect());
                self.chained(scope(first), Span::new(0..0), node, all)
            }
            (None, ..) => Err(Faulty { only_unknown_names: false }),
        }
    }

    /// Notes which macros and lists are used by a condition that was not compiled, or not to its end:
    /// they are not unused.
    pub(crate) fn mention(&mut self, condition: &'a Text) {
        let mut texts = vec![condition];
        while let Some(text) = texts.pop() {
            let words = text.as_str().split(|c: char| c.is_whitespace() || "()\"'=,".contains(c));
            for word in words.filter(|word| !word.is_empty()) {
                self.lists.mark(word);
                let Some(index) = self.definitions.macros.position(word) else { continue };
                let macro_ = &mut self.macros[index];
                macro_.is_used = true;
                if !std::mem::replace(&mut macro_.is_mentioned, true) {
                    texts.push(&self.definitions.macros.entries[index].value);
                }
            }
        }
    }

    /// The parts of the conditions so far.
    pub(crate) fn trace(&self) -> &Trace<'a> {
        &self.trace
    }

    /// What came of compiling.
    pub(crate) fn finish(self) -> Compiled<'a> {
        let macros = self.definitions.macros.entries.iter().zip(&self.macros);
        let macros = macros
            .filter(|(_, macro_)| !macro_.is_used)
            .map(|(definition, _)| (ItemKind::Macro, definition.name.clone()));
        let lists = self.lists.unused().map(|name| (ItemKind::List, name.to_owned()));
        let unused = macros.chain(lists).collect();
        let Self { program, trace, diagnostics, .. } = self;
        Compiled { program, trace, diagnostics, unused }
    }

    /// Takes back diagnostics, so that the macros in question are judged anew by their next user.
    fn forget(&mut self, reported: usize) {
        self.diagnostics.truncate(reported);
        for macro_ in &mut self.macros {
            if matches!(macro_.state, State::Faulty(_, at) if at >= reported) {
                macro_.state = State::New;
            }
        }
    }

    fn parse(&mut self, scope: Scope<'a>) -> Result<Expr> {
        if scope.text.as_str().len() > MAX_BYTES {
            let message = format!("the condition is longer than {} MiB", MAX_BYTES >> 20);
            return Err(self.fault(scope, Problem::condition(Span::new(0..1), message)));
        }
        parse::parse(scope.text.as_str()).map_err(|error| self.fault(scope, error.into()))
    }

    fn compile(&mut self, expr: &Expr, scope: Scope<'a>) -> Result<Condition> {
        self.chain.push(scope);
        let result = self.lower(expr, scope);
        self.chain.pop();
        result
    }

    fn lower(&mut self, expr: &Expr, scope: Scope<'a>) -> Result<Condition> {
        match expr {
            Expr::And { span, operands } => {
                let operands = self.operands(operands, scope)?;
                let node = Node::And(operands.iter().map(|operand| operand.node).collect());
                self.chained(scope, *span, node, &operands)
            }
            Expr::Or { span, operands } => {
                let operands = self.operands(operands, scope)?;
                let node = Node::Or(operands.iter().map(|operand| operand.node).collect());
                self.chained(scope, *span, node, &operands)
            }
            Expr::Not { span, operand } => {
                let operand = self.lower(operand, scope)?;
                self.chained(scope, *span, Node::Not(operand.node), &[operand])
            }
            Expr::Check(check) => self.check(check, scope),
            Expr::Macro { span, name } => self.macro_(*span, name, scope),
        }
    }

    /// Every operand, or the faults of all of them.
    fn operands(&mut self, exprs: &[Expr], scope: Scope<'a>) -> Result<Vec<Condition>> {
        let mut operands = Vec::with_capacity(exprs.len());
        let mut fault = None;
        for expr in exprs {
            match self.lower(expr, scope) {
                Ok(operand) => operands.push(operand),
                Err(faulty) => fault = Some(faulty.and(fault)),
            }
        }
        fault.map_or(Ok(operands), Err)
    }

    /// A condition made of others.
    fn chained(
        &mut self,
        scope: Scope<'a>,
        span: Span,
        node: Node,
        operands: &[Condition],
    ) -> Result<Condition> {
        let depth = 1 + operands.iter().map(|operand| operand.depth).max().unwrap_or(0);
        let checks = operands.iter().map(|operand| operand.checks).fold(0, usize::saturating_add);
        let excess = if depth > MAX_DEPTH {
            Some(format!("nests deeper than {MAX_DEPTH} levels"))
        } else if checks > MAX_CHECKS {
            Some(format!("has more than {MAX_CHECKS} checks"))
        } else {
            None
        };
        if let Some(excess) = excess {
            let message = format!("the condition {excess} once its macros are expanded");
            return Err(self.fault(scope, Problem::condition(span, message)));
        }
        let holds = operands.iter().map(|operand| operand.holds);
        let fails = operands.iter().map(|operand| operand.fails);
        let (holds, fails) = match &node {
            Node::And(_) => (
                holds.fold(NameSet::all(), NameSet::intersection),
                fails.fold(NameSet::NONE, NameSet::union),
            ),
            // A negation holds where its only operand fails.
            Node::Not(_) => (
                fails.fold(NameSet::NONE, NameSet::union),
                holds.fold(NameSet::NONE, NameSet::union),
            ),
            _ => (
                holds.fold(NameSet::NONE, NameSet::union),
                fails.fold(NameSet::all(), NameSet::intersection),
            ),
        };
        let node = self.program.add(node);
        let spots = operands.iter().map(|operand| operand.spot).collect();
        let spot = self.trace.add(&self.program, node, spots, (scope.text, span), [fails, holds]);
        Ok(Condition { node, holds, fails, depth, checks, spot })
    }

    fn check(&mut self, check: &ast::Check, scope: Scope<'a>) -> Result<Condition> {
        let mut warnings = Vec::new();
        let checked = check::check(check, &self.lists, &mut warnings);
        for warning in warnings {
            self.report(scope, warning);
        }
        let span = check.span;
        let check = checked.map_err(|problem| {
            let problem = self.with_macro_hint(problem, check);
            self.fault(scope, problem)
        })?;
        let (holds, fails) = event_names(&check);
        let node = self.program.add(Node::Check(check));
        let place = (scope.text, span);
        let spot = self.trace.add(&self.program, node, Box::default(), place, [fails, holds]);
        Ok(Condition { node, holds, fails, depth: 1, checks: 1, spot })
    }

    /// A hint if what should be a list is a macro.
    fn with_macro_hint(&self, problem: Problem, check: &ast::Check) -> Problem {
        match &check.right {
            Right::Word(word) if word.span == problem.span => {
                let name = String::from_utf8_lossy(&word.bytes);
                match self.definitions.macros.position(&name) {
                    Some(_) if problem.message.starts_with("nonexistent list") => {
                        let hint = format!("{name} is a macro: it stands alone, as a check does");
                        problem.with_hint(Some(hint))
                    }
                    _ => problem,
                }
            }
            _ => problem,
        }
    }

    fn macro_(&mut self, span: Span, name: &str, scope: Scope<'a>) -> Result<Condition> {
        let index = self.visible_macro(span, name, scope)?;
        self.macros[index].is_used = true;
        match self.macros[index].state {
            State::Compiled(condition) => Ok(condition),
            State::Faulty(faulty, _) => Err(faulty),
            State::Open => {
                let message = format!("reference loop in macro '{name}'");
                let problem = Problem::new(Code::Validate, span, message);
                Err(self.fault(scope, problem))
            }
            State::New => self.new_macro(index, span, scope),
        }
    }

    fn new_macro(&mut self, index: usize, span: Span, scope: Scope<'a>) -> Result<Condition> {
        if self.chain.len() > MAX_DEPTH {
            let message = format!("macros nest deeper than {MAX_DEPTH} levels");
            return Err(self.fault(scope, Problem::condition(span, message)));
        }
        let at = self.diagnostics.len();
        // Out of the table while it is compiled, back for whoever has to judge it anew.
        let expr = self.macros[index].expr.take();
        self.macros[index].state = State::Open;
        let definition = &self.definitions.macros.entries[index];
        let result = match &expr {
            Some(expr) => self.compile(expr, macro_scope(definition)),
            None => Err(Faulty { only_unknown_names: false }),
        };
        self.macros[index].expr = expr;
        self.macros[index].state = match result {
            Ok(condition) => State::Compiled(condition),
            Err(faulty) => State::Faulty(faulty, at),
        };
        result
    }

    fn visible_macro(&mut self, span: Span, name: &str, scope: Scope<'a>) -> Result<usize> {
        let macros = &self.definitions.macros;
        let known = macros.position(name);
        if let Some(index) = known
            && macros.entries[index].position < scope.visibility
        {
            return Ok(index);
        }
        let hint = if known.is_some() {
            Some(format!("{name} is defined later: move it above its user"))
        } else if self.definitions.lists.position(name).is_some() {
            Some(format!("{name} is a list: compare a field with it, as in proc.name in ({name})"))
        } else {
            let names = macros.entries.iter().map(|definition| definition.name.as_str());
            suggest::hint(name, names)
        };
        let message = format!("Undefined macro '{name}' used in filter.");
        let problem = Problem::new(Code::Validate, span, message).with_hint(hint);
        Err(self.fault(scope, problem))
    }

    fn fault(&mut self, scope: Scope<'a>, problem: Problem) -> Faulty {
        let faulty = Faulty { only_unknown_names: problem.is_unknown_name };
        self.report(scope, problem);
        faulty
    }

    fn report(&mut self, scope: Scope<'a>, problem: Problem) {
        if self.diagnostics.drops(&self.files[scope.text.file()], problem.code) {
            return;
        }
        let mut diagnostic = diagnostic(self.files, scope.text, problem);
        diagnostic.item = Some(Item { kind: scope.kind, name: scope.name.to_owned() });
        if diagnostic.severity == Severity::Error {
            let users = self.chain.iter().rev().skip(1);
            let users: Vec<_> =
                users.map(|user| format!("{} '{}'", user.kind, user.name)).collect();
            diagnostic.note =
                (!users.is_empty()).then(|| format!("used by {}", users.join(", used by ")));
        }
        self.diagnostics.push(diagnostic);
    }
}

/// A problem of a text as a diagnostic of the file that the text came from.
pub(crate) fn diagnostic(files: &[SourceFile<'_>], text: &Text, problem: Problem) -> Diagnostic {
    let Problem { code, span, message, hint, opened, is_unknown_name: _ } = problem;
    let place = text.place(files, span.start..span.end);
    let mut diagnostic = files[place.file].diagnostic(code, &place.span, message);
    diagnostic.hint = hint;
    diagnostic.related = opened
        .map(|Span { start, end }| text.place(files, start..end))
        .map(|place| files[place.file].related(&place.span, "this '(' is not closed"))
        .into_iter()
        .collect();
    diagnostic
}

fn macro_scope(definition: &Definition<Text>) -> Scope<'_> {
    let Definition { name, visibility, value, .. } = definition;
    Scope { kind: ItemKind::Macro, name, text: value, visibility: *visibility }
}

/// The names of the events that can satisfy a check, and of those that can fail it.
fn event_names(check: &Check) -> (NameSet, NameSet) {
    let Some(subject) = check.subject() else { return (NameSet::all(), NameSet::all()) };
    match (subject.field, &check.test) {
        (FieldId::EvtType, test) if !matches!(test, Test::Against(..)) => {
            let accepts = |name: &'static str| test.holds(&Value::from(name));
            (NameSet::matching(accepts), NameSet::matching(|name| !accepts(name)))
        }
        // `evt.num = 0` is how rule files say never, `evt.num >= 0` how they say always.
        (FieldId::EvtNum, Test::Number(relation, constant)) => match (relation, *constant) {
            (Relation::Equal | Relation::LessOrEqual, ..1) | (Relation::Less, ..=1) => {
                (NameSet::NONE, NameSet::all())
            }
            (Relation::NotEqual | Relation::Greater, ..1) | (Relation::GreaterOrEqual, ..=1) => {
                (NameSet::all(), NameSet::NONE)
            }
            _ => (NameSet::all(), NameSet::all()),
        },
        _ => (NameSet::all(), NameSet::all()),
    }
}
