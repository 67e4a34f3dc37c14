//! Splits a condition into words, literals and signs.

/// A piece of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword or a plain name, as it was written.
    Word(String),
    /// A name in `[]` or `""`, which is never a keyword.
    Quoted(String),
    Text(String),
    Int(i64),
    Float(f64),
    Sign(&'static str),
}

/// Longer signs come before those they begin with.
const SIGNS: [&str; 16] = [
    "<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", "+", "-", "*", "/", "%",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' => quoted(rest, '\'').map(|(text, after)| (Token::Text(text), after)),
            '"' => quoted(rest, '"').map(|(name, after)| (Token::Quoted(name), after)),
            '[' => quoted(rest, ']').map(|(name, after)| (Token::Quoted(name), after)),
            '0'..='9' => number(rest),
            c if c.is_alphabetic() || "_#$".contains(c) => Ok(word(rest)),
            _ => sign(rest),
        }?;
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// What stands between the first character and the closing one, which is doubled to stand for itself.
fn quoted(text: &str, close: char) -> Result<(String, &str), String> {
    let mut found = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != close {
            found.push(c);
        } else if chars.next_if(|(_, next)| *next == close).is_some() {
            found.push(close);
        } else {
            return Ok((found, &text[at + c.len_utf8()..]));
        }
    }
    Err(format!("{close} is missing after {text}"))
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    // The sign of an exponent belongs to the number.
    if text[..end].ends_with(['e', 'E']) && text[end..].starts_with(['+', '-']) {
        let after = &text[end + 1..];
        end += 1 + after.find(|c| !is_part(c)).unwrap_or(after.len());
    }
    let (digits, rest) = text.split_at(end);
    if let Ok(int) = digits.parse() {
        return Ok((Token::Int(int), rest));
    }
    match digits.parse() {
        Ok(float) => Ok((Token::Float(float), rest)),
        Err(_) => Err(format!("{digits} is not a number")),
    }
}

fn word(text: &str) -> (Token, &str) {
    let is_part = |c: char| c.is_alphanumeric() || "_#$-".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (Token::Word(text[..end].into()), &text[end..])
}

fn sign(text: &str) -> Result<(Token, &str), String> {
    for sign in SIGNS {
        if let Some(rest) = text.strip_prefix(sign) {
            return Ok((Token::Sign(sign), rest));
        }
    }
    Err(format!("{text} is not understood"))
}
