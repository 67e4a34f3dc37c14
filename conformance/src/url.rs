//! The little that the suite does to URLs: setting query parameters and replacing the address.

/// What stands before the first colon.
pub(crate) fn scheme(url: &str) -> &str {
    url.split_once(':').map_or(url, |(scheme, _)| scheme)
}

/// The URL with these parameters, in place of those of the same name that it has.
pub(crate) fn with_params(url: &str, params: &[(String, String)]) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            params.iter().all(|(set, _)| set != name)
        })
        .map(str::to_owned);
    let set = params.iter().map(|(name, value)| format!("{name}={value}"));
    let query: Vec<String> = kept.chain(set).collect();
    if query.is_empty() {
        return base.to_owned();
    }
    format!("{base}?{}", query.join("&"))
}

/// `host:port`, if the URL has both.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let (start, end) = authority_range(url)?;
    Some(&url[start..end]).filter(|authority| authority.contains(':'))
}

/// The URL with another `host:port`; user and password stay.
pub(crate) fn with_authority(url: &str, authority: &str) -> String {
    let Some((start, end)) = authority_range(url) else {
        return url.to_owned();
    };
    format!("{}{authority}{}", &url[..start], &url[end..])
}

fn authority_range(url: &str) -> Option<(usize, usize)> {
    let start = url.find("://")? + 3;
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let start = url[start..end]
        .rfind('@')
        .map_or(start, |at| start + at + 1);
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(url: &str, name: &str, value: &str) -> String {
        with_params(url, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn parameters_are_added_or_replaced() {
        assert_eq!(set("memory:", "a", "1"), "memory:?a=1");
        assert_eq!(set("x://h/?a=2&b=3", "a", "1"), "x://h/?b=3&a=1");
        assert_eq!(with_params("x://h/", &[]), "x://h/");
    }

    #[test]
    fn the_address_is_replaced_and_nothing_else() {
        assert_eq!(
            with_authority("x://u:p@h:1/0?a=1", "l:2"),
            "x://u:p@l:2/0?a=1"
        );
        assert_eq!(with_authority("x://h:1", "l:2"), "x://l:2");
        assert_eq!(with_authority("memory:", "l:2"), "memory:");
        assert_eq!(authority("x://u:p@h:1/"), Some("h:1"));
        assert_eq!(authority("memory:"), None);
    }
}
