//! Builds the tree of a condition.

use std::iter::Peekable;

use crate::entity::Property;

use super::lexer::Token;

/// How deep conditions may be nested: enough for people, and not enough to exhaust the stack.
const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Literal(Property),
    Name {
        system: bool,
        name: String,
    },
    Exists(Box<Expression>),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    IsNull(Box<Expression>),
    Like {
        value: Box<Expression>,
        pattern: Box<Expression>,
        escape: Option<char>,
    },
    In(Box<Expression>, Vec<Expression>),
    /// Comparison or arithmetic, by its sign.
    Binary(&'static str, Box<Expression>, Box<Expression>),
}

pub(super) fn parse(tokens: Vec<Token>) -> Result<Expression, String> {
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.tokens.next() {
        None => Ok(expression),
        Some(token) => Err(format!("{} is not expected", shown(&token))),
    }
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.not()?;
        while self.word("and") {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, String> {
        let mut negated = false;
        while self.word("not") {
            negated = !negated;
        }
        let expression = self.comparison()?;
        Ok(if negated { not(expression) } else { expression })
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.sum()?;
        for sign in ["=", "<>", "!=", "<=", ">=", "<", ">"] {
            if self.sign(sign) {
                let sign = if sign == "!=" { "<>" } else { sign };
                return Ok(Expression::Binary(
                    sign,
                    Box::new(left),
                    Box::new(self.sum()?),
                ));
            }
        }
        if self.word("is") {
            let negated = self.word("not");
            self.expect_word("null")?;
            let is_null = Expression::IsNull(Box::new(left));
            return Ok(if negated { not(is_null) } else { is_null });
        }
        let negated = self.word("not");
        let found = if self.word("like") {
            self.like(left)?
        } else if self.word("in") {
            self.one_of(left)?
        } else if negated {
            return Err("LIKE or IN is expected after NOT".into());
        } else {
            return Ok(left);
        };
        Ok(if negated { not(found) } else { found })
    }

    fn like(&mut self, value: Expression) -> Result<Expression, String> {
        let pattern = Box::new(self.sum()?);
        let escape = if self.word("escape") {
            match self.tokens.next() {
                Some(Token::Text(text)) if text.chars().count() == 1 => text.chars().next(),
                _ => return Err("one character is expected after ESCAPE".into()),
            }
        } else {
            None
        };
        Ok(Expression::Like {
            value: Box::new(value),
            pattern,
            escape,
        })
    }

    fn one_of(&mut self, value: Expression) -> Result<Expression, String> {
        self.expect_sign("(")?;
        let mut list = vec![self.sum()?];
        while self.sign(",") {
            list.push(self.sum()?);
        }
        self.expect_sign(")")?;
        Ok(Expression::In(Box::new(value), list))
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut left = self.product()?;
        while let Some(sign) = self.any_sign(&["+", "-"]) {
            left = Expression::Binary(sign, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut left = self.operand()?;
        while let Some(sign) = self.any_sign(&["*", "/", "%"]) {
            left = Expression::Binary(sign, Box::new(left), Box::new(self.operand()?));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Expression, String> {
        let mut negative = false;
        while let Some(sign) = self.any_sign(&["+", "-"]) {
            negative ^= sign == "-";
        }
        let operand = self.primary()?;
        if !negative {
            return Ok(operand);
        }
        let zero = Expression::Literal(Property::Int(0));
        Ok(Expression::Binary("-", Box::new(zero), Box::new(operand)))
    }

    fn primary(&mut self) -> Result<Expression, String> {
        let token = self.tokens.next().ok_or("it ends too early")?;
        match token {
            Token::Text(text) => Ok(Expression::Literal(Property::Text(text))),
            Token::Int(value) => Ok(Expression::Literal(Property::Int(value))),
            Token::Float(value) => Ok(Expression::Literal(Property::Float(value))),
            Token::Quoted(name) => Ok(Expression::Name {
                system: false,
                name,
            }),
            Token::Sign("(") => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("it is nested deeper than {MAX_DEPTH}"));
                }
                let inner = self.or()?;
                self.depth -= 1;
                self.expect_sign(")")?;
                Ok(inner)
            }
            Token::Word(word) => self.named(word),
            Token::Sign(_) => Err(format!("{} is not expected", shown(&token))),
        }
    }

    fn named(&mut self, word: String) -> Result<Expression, String> {
        match word.to_ascii_lowercase().as_str() {
            "true" => return Ok(Expression::Literal(Property::Bool(true))),
            "false" => return Ok(Expression::Literal(Property::Bool(false))),
            "null" => return Ok(Expression::Literal(Property::Null)),
            "and" | "or" | "not" | "like" | "in" | "is" | "escape" => {
                return Err(format!("{word} is not expected"));
            }
            "exists" if self.sign("(") => {
                let name = self.name()?;
                self.expect_sign(")")?;
                return Ok(Expression::Exists(Box::new(name)));
            }
            scope @ ("sys" | "user") if self.sign(".") => {
                let system = scope == "sys";
                return match self.tokens.next() {
                    Some(Token::Word(name) | Token::Quoted(name)) => {
                        Ok(Expression::Name { system, name })
                    }
                    _ => Err(format!("a name is expected after {word}.")),
                };
            }
            _ => {}
        }
        if self.sign("(") {
            return Err(format!("the function {word} is not known"));
        }
        Ok(Expression::Name {
            system: false,
            name: word,
        })
    }

    fn name(&mut self) -> Result<Expression, String> {
        match self.primary()? {
            name @ Expression::Name { .. } => Ok(name),
            _ => Err("a property is expected in EXISTS".into()),
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let is =
            |token: &Token| matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word));
        self.tokens.next_if(is).is_some()
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token, Token::Sign(found) if *found == sign))
            .is_some()
    }

    fn any_sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().copied().find(|sign| self.sign(sign))
    }

    fn expect_word(&mut self, word: &str) -> Result<(), String> {
        if self.word(word) {
            return Ok(());
        }
        Err(format!("{} is expected", word.to_uppercase()))
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), String> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(format!("{sign} is expected"))
    }
}

fn not(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(text) | Token::Quoted(text) | Token::Text(text) => text.clone(),
        Token::Int(value) => value.to_string(),
        Token::Float(value) => value.to_string(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}
