//! URLs of a platform, some with variables such as `{tenant}`.

use std::collections::BTreeMap;
use std::fmt;

use url::{Host, Url};

/// A URL with `{variables}` in its host or path, checked when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    text: String,
    variables: Vec<String>,
}

/// Which URLs a profile may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPolicy {
    /// `https` to a host with a name.
    Strict,
    /// Also `http` and IP addresses, but of this machine's loopback interface only: for development.
    AllowLoopback,
}

/// Why a text is not a usable URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlTemplateError {
    /// It does not parse.
    #[error("is not an absolute URL")]
    NotAUrl,
    /// It is not encrypted.
    #[error("must begin with `https://`")]
    NotHttps,
    /// It carries a user name or password.
    #[error("must not carry credentials")]
    Credentials,
    /// It has a fragment.
    #[error("must not have a fragment")]
    Fragment,
    /// Its host is an address instead of a name.
    #[error("must name its host, not give an address")]
    Address,
    /// Its host has characters outside ASCII, or their encoded form.
    #[error("must have a host of plain ASCII letters")]
    Lookalike,
    /// A brace is not closed, or a variable is not `[a-z_]+`.
    #[error("has a malformed variable; write `{{name}}` with a-z and `_`")]
    Variable,
    /// A variable has no value.
    #[error("needs a value for `{0}`")]
    Unset(String),
    /// A value is given for a variable that no URL has.
    #[error("has no variable `{0}`")]
    Unknown(String),
    /// The value of a variable has characters that could change what the URL means.
    #[error("the value of `{0}` may contain only letters, digits, `.`, `-` and `_`")]
    BadValue(String),
}

// === impl UrlTemplate ===

impl UrlTemplate {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When it is not one this policy allows.
    pub fn parse(text: &str, policy: UrlPolicy) -> Result<Self, UrlTemplateError> {
        let variables = variables_of(text)?;
        let sample: BTreeMap<String, String> = variables.iter().map(|name| (name.clone(), "x".to_owned())).collect();
        let template = Self { text: text.to_owned(), variables };
        template.fill(&sample, policy)?;
        Ok(template)
    }

    /// The variables it names.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The URL with its variables filled in. A value can fill its place and nothing more: it cannot add a host label
    /// beyond `.`, a path segment, a query or a port.
    ///
    /// # Errors
    ///
    /// When a value is missing, or the outcome is not a URL this policy allows.
    pub fn fill(&self, values: &BTreeMap<String, String>, policy: UrlPolicy) -> Result<Url, UrlTemplateError> {
        let mut text = self.text.clone();
        for name in &self.variables {
            let value = values.get(name).ok_or_else(|| UrlTemplateError::Unset(name.clone()))?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if value.is_empty() || value.contains("..") || !value.bytes().all(plain) {
                return Err(UrlTemplateError::BadValue(name.clone()));
            }
            text = text.replace(&format!("{{{name}}}"), value);
        }
        check(&text, policy)
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn variables_of(text: &str) -> Result<Vec<String>, UrlTemplateError> {
    let mut variables = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or(UrlTemplateError::Variable)?;
        let wrong = name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if wrong || before.contains('}') {
            return Err(UrlTemplateError::Variable);
        }
        if !variables.iter().any(|known| known == name) {
            variables.push(name.to_owned());
        }
        rest = tail;
    }
    if rest.contains('}') { Err(UrlTemplateError::Variable) } else { Ok(variables) }
}

fn check(text: &str, policy: UrlPolicy) -> Result<Url, UrlTemplateError> {
    // The parser lower-cases and decodes; a host written in another alphabet must not survive as its ASCII form.
    if !text.is_ascii() {
        return Err(UrlTemplateError::Lookalike);
    }
    let url = Url::parse(text).map_err(|_| UrlTemplateError::NotAUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlTemplateError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlTemplateError::Fragment);
    }
    let loopback = match url.host().ok_or(UrlTemplateError::NotAUrl)? {
        Host::Domain(name) if name.split('.').any(|label| label.starts_with("xn--")) => {
            return Err(UrlTemplateError::Lookalike);
        }
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) if address.is_loopback() => true,
        Host::Ipv6(address) if address.is_loopback() => true,
        Host::Ipv4(_) | Host::Ipv6(_) => return Err(UrlTemplateError::Address),
    };
    match (url.scheme(), loopback, policy) {
        ("http" | "https", true, UrlPolicy::AllowLoopback) | ("https", false, _) => Ok(url),
        ("https", true, UrlPolicy::Strict) => Err(UrlTemplateError::Address),
        _ => Err(UrlTemplateError::NotHttps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> Result<UrlTemplate, UrlTemplateError> {
        UrlTemplate::parse(text, UrlPolicy::Strict)
    }

    #[test]
    fn urls_that_could_send_a_secret_elsewhere_are_refused() {
        use UrlTemplateError as E;
        assert_eq!(strict("http://example.com/token").unwrap_err(), E::NotHttps);
        assert_eq!(strict("https://user@example.com/token").unwrap_err(), E::Credentials);
        assert_eq!(strict("https://10.0.0.1/token").unwrap_err(), E::Address);
        assert_eq!(strict("https://[::1]/token").unwrap_err(), E::Address);
        assert_eq!(strict("https://127.0.0.1/token").unwrap_err(), E::Address);
        assert_eq!(strict("https://gооgle.com/token").unwrap_err(), E::Lookalike);
        assert_eq!(strict("https://xn--ggle-55da.com/token").unwrap_err(), E::Lookalike);
        assert_eq!(strict("https://example.com/#x").unwrap_err(), E::Fragment);
        assert_eq!(strict("ftp://example.com/").unwrap_err(), E::NotHttps);
        assert_eq!(strict("example.com/token").unwrap_err(), E::NotAUrl);
    }

    #[test]
    fn only_development_may_use_plain_http_and_only_on_loopback() {
        let dev = |text| UrlTemplate::parse(text, UrlPolicy::AllowLoopback);
        assert!(dev("http://127.0.0.1:9000/token").is_ok());
        assert!(dev("http://localhost:9000/token").is_ok());
        assert_eq!(dev("http://example.com/").unwrap_err(), UrlTemplateError::NotHttps);
        assert_eq!(dev("http://192.168.0.1/").unwrap_err(), UrlTemplateError::Address);
    }

    #[test]
    fn a_variable_fills_its_place_and_nothing_more() {
        let template = strict("https://{shop}.example.com/oauth/token").unwrap();
        let filled = |value: &str| {
            template.fill(&BTreeMap::from([("shop".to_owned(), value.to_owned())]), UrlPolicy::Strict).map(String::from)
        };
        assert_eq!(filled("acme").unwrap(), "https://acme.example.com/oauth/token");
        for hostile in ["evil.com/", "a@b", "a:1", "a#", "a?b", "", "a..b", "a%2f", "а"] {
            assert_eq!(filled(hostile), Err(UrlTemplateError::BadValue("shop".into())), "`{hostile}`");
        }
        assert_eq!(template.fill(&BTreeMap::new(), UrlPolicy::Strict), Err(UrlTemplateError::Unset("shop".into())));
    }

    #[test]
    fn a_malformed_variable_is_refused() {
        for text in ["https://{a.example.com", "https://a}.example.com", "https://{A}.example.com", "https://{}.x.com"]
        {
            assert_eq!(strict(text).unwrap_err(), UrlTemplateError::Variable, "`{text}`");
        }
    }
}
