//! Text that comes from elsewhere, made fit for a terminal.

use std::borrow::Cow;

/// The same text on one line, with control characters escaped: what strangers publish must not move
/// the cursor, ring the bell or forge another line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control()) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// The same text without what stands between `://` and `@`: user and password of a URL.
pub(crate) fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("://");
        // A password may itself contain an `@` that somebody forgot to encode.
        let end = part.find(char::is_whitespace).unwrap_or(part.len());
        clean.push_str(match part[..end].rfind('@') {
            Some(at) => &part[at + 1..],
            None => part,
        });
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_instead_of_obeyed() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}d"), "a\\u{1b}[2Jb\\nc\\u{9b}d");
        assert_eq!(printable("grüße, мир \u{1f600}"), "grüße, мир \u{1f600}");
    }

    #[test]
    fn user_and_password_are_taken_out_of_every_url() {
        assert_eq!(
            without_userinfo("'redis://me:p@ss@a/1' and rediss://:pw@b found, not redis://c/"),
            "'redis://a/1' and rediss://b found, not redis://c/"
        );
    }
}
