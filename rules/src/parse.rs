//! From the text of a condition to its syntax tree.
//!
//! Recursive descent over Falco's grammar: `or` over `and` over `not` over checks. Nesting is
//! limited, so that no input exhausts the stack.

use crate::advice;
use crate::ast::{
    Call, CallArgument, Check, Expr, FieldRef, Operand, Operator, OperatorClass, Quantifier, Right,
    Span, Transformer, Word,
};
use crate::lex::{Cursor, SyntaxError};

/// How deep parentheses and transformers may nest: what Falco's loader accepts.
pub(crate) const MAX_DEPTH: usize = 199;

type Result<T> = std::result::Result<T, SyntaxError>;

/// Parses a whole condition.
pub(crate) fn parse(text: &str) -> Result<Expr> {
    whole(text).map_err(|error| advice::advise(text, error))
}

fn whole(text: &str) -> Result<Expr> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    let expr = parser.disjunction()?;
    if parser.cursor.is_at_end() {
        return Ok(expr);
    }
    let last = parser.cursor.last_token();
    let message = format!("unexpected token after '{last}', expecting 'or', 'and'");
    Err(SyntaxError {
        span: parser.cursor.span_ahead(),
        message,
        hint: Some("a value with blanks, '=', ',' or parentheses needs quotes".to_owned()),
        opened: None,
    })
}

/// The transformer that stands at a place of an output, if one does, and where it ends.
pub(crate) fn call_at(text: &str, position: usize) -> Result<Option<(Call, usize)>> {
    let mut cursor = Cursor::new(text);
    cursor.rewind(position);
    let mut parser = Parser { cursor, depth: 0 };
    let call = parser.call(false)?;
    Ok(call.map(|call| (call, parser.cursor.position())))
}

/// Whether a text is a value that needs no quotes, and nothing more: a string with quotes of its own, `val(…)` or a
/// transformer, or a list where one may stand.
pub(crate) fn is_value(text: &str, may_be_list: bool) -> bool {
    let whole = |read: fn(&mut Parser<'_>) -> bool| {
        let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
        read(&mut parser) && parser.cursor.is_at_end()
    };
    whole(|parser| matches!(parser.cursor.quoted(), Ok(Some(_))))
        || whole(|parser| matches!(parser.call(true), Ok(Some(_))))
        || may_be_list
            && text.starts_with('(')
            && whole(|parser| matches!(parser.list(), Ok(Some(_))))
}

/// Whether a text is a field with its argument, and nothing more.
pub(crate) fn is_field(text: &str) -> bool {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    matches!(parser.field(), Ok(Some(_))) && parser.cursor.is_at_end()
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

impl Parser<'_> {
    fn disjunction(&mut self) -> Result<Expr> {
        let (span, operands) = self.chain("or", Self::conjunction)?;
        Ok(single(operands).unwrap_or_else(|operands| Expr::Or { span, operands }))
    }

    fn conjunction(&mut self) -> Result<Expr> {
        let (span, operands) = self.chain("and", Self::negation)?;
        Ok(single(operands).unwrap_or_else(|operands| Expr::And { span, operands }))
    }

    /// Operands joined by `word`, which a blank or a parenthesis must follow.
    fn chain(
        &mut self,
        word: &str,
        operand: fn(&mut Self) -> Result<Expr>,
    ) -> Result<(Span, Vec<Expr>)> {
        self.cursor.skip_blanks();
        let start = self.cursor.position();
        let mut operands = vec![operand(self)?];
        let mut span = self.cursor.span_from(start);
        self.cursor.skip_blanks();
        while self.cursor.symbol(word) {
            operands.push(if self.cursor.skip_blanks() {
                operand(self)?
            } else if self.cursor.symbol("(") {
                self.parenthesised()?
            } else {
                return Err(self.expected(&format!("expected blank or '(' after '{word}'")));
            });
            span = self.cursor.span_from(start);
            self.cursor.skip_blanks();
        }
        Ok((span, operands))
    }

    fn negation(&mut self) -> Result<Expr> {
        self.cursor.skip_blanks();
        let start = self.cursor.position();
        // Pairs of `not` cancel out: a check has two outcomes only.
        let mut negated = false;
        while self.cursor.word("not") {
            negated = !negated;
        }
        let operand = if self.cursor.symbol("not(") {
            negated = !negated;
            self.parenthesised()?
        } else {
            self.primary()?
        };
        if !negated {
            return Ok(operand);
        }
        Ok(Expr::Not { span: self.cursor.span_from(start), operand: Box::new(operand) })
    }

    /// The rest of an expression in parentheses, after the opening one.
    fn parenthesised(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let expr = parser.disjunction()?;
            parser.close(")", "expected a ')' token")?;
            Ok(expr)
        })
    }

    fn primary(&mut self) -> Result<Expr> {
        if self.cursor.symbol("(") {
            return self.parenthesised();
        }
        let start = self.cursor.position();
        if let Some(operand) = self.operand(false)? {
            return self.check(start, operand).map(Expr::Check);
        }
        match self.cursor.identifier() {
            Some(name) => {
                Ok(Expr::Macro { span: self.cursor.span_from(start), name: name.to_owned() })
            }
            None => Err(self.expected("expected a '(' token, a field check, or an identifier")),
        }
    }

    /// A field or a transformer; `val(…)` only on the right-hand side.
    fn operand(&mut self, right: bool) -> Result<Option<Operand>> {
        if let Some(call) = self.call(right)? {
            return Ok(Some(Operand::Call(call)));
        }
        if right {
            // A bare field name on the right is a constant.
            return Ok(None);
        }
        Ok(self.field()?.map(Operand::Field))
    }

    fn field(&mut self) -> Result<Option<FieldRef>> {
        let start = self.cursor.position();
        let Some(name) = self.cursor.field_name() else { return Ok(None) };
        let argument = if self.cursor.symbol("[") { Some(self.bracketed()?) } else { None };
        let span = self.cursor.span_from(start);
        Ok(Some(FieldRef { span, name: name.to_owned(), argument }))
    }

    fn bracketed(&mut self) -> Result<Word> {
        let Some(word) = self.cursor.field_argument()? else {
            let message = "expected a valid field argument: a quoted string or a bare string";
            return Err(self.expected(message));
        };
        if self.cursor.symbol("]") { Ok(word) } else { Err(self.expected("expected a ']' token")) }
    }

    fn call(&mut self, right: bool) -> Result<Option<Call>> {
        let start = self.cursor.position();
        let Some(transformer) = self.transformer(right) else { return Ok(None) };
        let arguments = self.nested(Self::call_arguments)?;
        if !has_valid_shape(transformer, &arguments) {
            let span = self.cursor.span_from(start);
            let message = format!("{} takes {}", transformer.name(), shape(transformer));
            return Err(SyntaxError { span, message, hint: None, opened: None });
        }
        let takes_option = transformer == Transformer::Getopt;
        let option =
            if takes_option && self.cursor.symbol("[") { Some(self.bracketed()?) } else { None };
        let span = self.cursor.span_from(start);
        Ok(Some(Call { span, transformer, arguments, option }))
    }

    /// The name of a transformer with the parenthesis that must follow at once.
    fn transformer(&mut self, right: bool) -> Option<Transformer> {
        Transformer::ALL
            .iter()
            .copied()
            .filter(|transformer| right || *transformer != Transformer::Value)
            .find(|transformer| {
                let start = self.cursor.clone();
                let found = self.cursor.symbol(transformer.name()) && self.cursor.symbol("(");
                if !found {
                    self.cursor = start;
                }
                found
            })
    }

    /// Arguments of a transformer and the closing parenthesis, or the elements of a list in it.
    fn call_arguments(&mut self) -> Result<Vec<CallArgument>> {
        let mut arguments = Vec::new();
        loop {
            self.cursor.skip_blanks();
            arguments.push(self.call_argument()?);
            self.cursor.skip_blanks();
            if !self.cursor.symbol(",") {
                break;
            }
        }
        self.close(")", "expected a ')' token closing the transformer")?;
        Ok(arguments)
    }

    fn call_argument(&mut self) -> Result<CallArgument> {
        if let Some(word) = self.cursor.quoted()? {
            return Ok(CallArgument::Constant(word));
        }
        if self.cursor.symbol("(") {
            return self.nested(Self::call_arguments).map(CallArgument::List);
        }
        match self.operand(false)? {
            Some(operand) => Ok(CallArgument::Operand(operand)),
            None => Err(self.expected("expected a field, a transformer or a quoted string")),
        }
    }

    fn check(&mut self, start: usize, left: Operand) -> Result<Check> {
        self.cursor.skip_blanks();
        let operator_start = self.cursor.position();
        let operator = self.operator()?;
        let name_end = operator_start + operator.name().len();
        let operator_span = Span::new(operator_start..name_end);
        let has_blank = self.cursor.skip_blanks() || self.cursor.position() > name_end;
        let right = match operator.class() {
            OperatorClass::Unary => {
                self.cursor.rewind(name_end);
                Right::Nothing
            }
            OperatorClass::Number => self.number()?,
            OperatorClass::Text => self.text(has_blank)?,
            OperatorClass::List => self.list_or_operand()?,
        };
        Ok(Check { span: self.cursor.span_from(start), left, operator, operator_span, right })
    }

    fn operator(&mut self) -> Result<Operator> {
        let found = Operator::ALL.iter().copied().find(|operator| {
            let is_word = operator.name().starts_with(|c: char| c.is_ascii_alphabetic());
            if is_word && operator.class() == OperatorClass::Text {
                self.cursor.word(operator.name())
            } else {
                self.cursor.symbol(operator.name())
            }
        });
        found.ok_or_else(|| {
            let names: Vec<_> = Operator::ALL.iter().map(|operator| operator.name()).collect();
            let mut error = self.expected("expected a valid check operator");
            error.hint = Some(format!("one of {}", names.join(" ")));
            error
        })
    }

    fn number(&mut self) -> Result<Right> {
        if let Some(operand) = self.operand(true)? {
            return Ok(Right::Operand(operand));
        }
        match self.cursor.number() {
            Some(word) => Ok(Right::Word(word)),
            None => Err(self.expected("expected a number, val(field) or a transformer")),
        }
    }

    fn text(&mut self, has_blank: bool) -> Result<Right> {
        if let Some(operand) = self.operand(true)? {
            return Ok(Right::Operand(operand));
        }
        if has_blank && let Some(right) = self.quantified()? {
            return Ok(right);
        }
        match self.cursor.value()? {
            Some(word) => Ok(Right::Word(word)),
            None => Err(self.expected("expected a string value, val(field) or a transformer")),
        }
    }

    /// A quantifier with its list; alone, its name is an ordinary value.
    fn quantified(&mut self) -> Result<Option<Right>> {
        let start = self.cursor.clone();
        for quantifier in Quantifier::ALL.iter().copied() {
            if !self.cursor.word(quantifier.name()) {
                continue;
            }
            if let Some(elements) = self.list()? {
                return Ok(Some(Right::Quantified { quantifier, elements: Box::new(elements) }));
            }
        }
        self.cursor = start;
        Ok(None)
    }

    fn list_or_operand(&mut self) -> Result<Right> {
        if let Some(operand) = self.operand(true)? {
            return Ok(Right::Operand(operand));
        }
        match self.list()? {
            Some(list) => Ok(list),
            None => {
                Err(self.expected("expected a list, an identifier, val(field) or a transformer"))
            }
        }
    }

    /// A list literal, or the name of a list.
    fn list(&mut self) -> Result<Option<Right>> {
        let start = self.cursor.position();
        if !self.cursor.symbol("(") {
            let name = self.cursor.identifier();
            let Some(name) = name.filter(|name| !matches!(*name, "and" | "or")) else {
                self.cursor.rewind(start);
                return Ok(None);
            };
            let span = self.cursor.span_from(start);
            let bytes = name.as_bytes().to_vec();
            return Ok(Some(Right::Word(Word { span, bytes, quoted: false })));
        }
        let mut words = Vec::new();
        self.cursor.skip_blanks();
        if let Some(first) = self.cursor.value()? {
            words.push(first);
            self.cursor.skip_blanks();
            while self.cursor.symbol(",") {
                self.cursor.skip_blanks();
                match self.cursor.value()? {
                    Some(word) => words.push(word),
                    None => return Err(self.expected("expected a string value")),
                }
                self.cursor.skip_blanks();
            }
        }
        self.close(")", "expected a ')' token")?;
        Ok(Some(Right::List { span: self.cursor.span_from(start), words }))
    }

    fn close(&mut self, token: &str, message: &str) -> Result<()> {
        self.cursor.skip_blanks();
        if self.cursor.symbol(token) { Ok(()) } else { Err(self.expected(message)) }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected(&format!("exceeded max depth limit of {MAX_DEPTH}")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn expected(&self, message: &str) -> SyntaxError {
        SyntaxError {
            span: self.cursor.span_ahead(),
            message: message.to_owned(),
            hint: None,
            opened: None,
        }
    }
}

/// The only operand, or all of them.
fn single(mut operands: Vec<Expr>) -> std::result::Result<Expr, Vec<Expr>> {
    match operands.pop() {
        Some(operand) if operands.is_empty() => Ok(operand),
        last => {
            operands.extend(last);
            Err(operands)
        }
    }
}

fn has_valid_shape(transformer: Transformer, arguments: &[CallArgument]) -> bool {
    match transformer {
        // Their arguments are judged by the type check.
        Transformer::Concat | Transformer::Getopt | Transformer::Join => true,
        Transformer::Value => {
            matches!(arguments, [CallArgument::Operand(Operand::Field(_))])
        }
        _ => matches!(arguments, [CallArgument::Operand(_)]),
    }
}

fn shape(transformer: Transformer) -> &'static str {
    if transformer == Transformer::Value { "one field" } else { "one field or transformer" }
}
