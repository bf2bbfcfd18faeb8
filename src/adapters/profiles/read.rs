//! From a document to a profile: which keys there are, what they may hold, and how each is explained.

use std::collections::BTreeMap;
use std::time::Duration;

use time::Date;
use time::macros::format_description;

use super::errors;
use crate::document::{Mismatch, Node, Section};
use crate::domain::id::PlatformId;
use crate::domain::profile::{
    BodyFormat, ClientAuth, ExpiryRule, ExpiryUnit, Limits, Params, Path, Pkce, Profile, RefreshRule, Replay,
    ResponsePaths, Rotates, ScopeRule, UrlPolicy, UrlTemplate, UrlTemplateError, Variable,
};

const YEAR: u64 = 31_536_000;

/// What every refresh or exchange sends by itself. A profile may take these away or rename them, not set them.
const STANDARD_PARAMS: [&str; 8] =
    ["client_id", "client_secret", "grant_type", "refresh_token", "code", "code_verifier", "redirect_uri", "scope"];

/// Parameters whose values are secrets or somebody's.
const NEVER_SET: [&str; 8] = [
    "client_id",
    "client_secret",
    "client_assertion",
    "refresh_token",
    "access_token",
    "code",
    "code_verifier",
    "password",
];

/// Headers that belong to the client, or carry credentials.
const NEVER_SENT: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
];

/// Reads one profile.
pub(super) fn profile(section: &mut Section<'_>, id: PlatformId, policy: UrlPolicy) -> Option<Profile> {
    let file_id = id.as_str().to_owned();
    section.optional("id", |node| {
        let wrong = || Mismatch::new(format!("must be `{file_id}`, like the name of the file"), "or remove it");
        if node.text()? == file_id { Ok(()) } else { Err(wrong()) }
    });
    for key in ["client_id", "client_secret"] {
        let hint = format!("write it into the configuration, under `platforms.{id}`");
        section.forbid(key, "does not belong into a profile", &hint);
    }

    let template = |node: Node<'_>| url(node, policy);
    let display_name = section.optional("display_name", Node::text).map_or_else(|| name_of(&id), str::to_owned);
    let docs = section.required("docs", docs);
    let facts_as_of = section.required("facts_as_of", date);
    let authorize_url = section.required("authorize_url", template);
    let token_url = section.required("token_url", template);
    let refresh_url = section.optional("refresh_url", template);
    let revoke_url = section.optional("revoke_url", template);
    let introspect_url = section.optional("introspect_url", template);
    let vars = variables(section);
    let urls = [&authorize_url, &token_url, &refresh_url, &revoke_url, &introspect_url];
    check_variables(section, &urls.into_iter().flatten().collect::<Vec<_>>(), &vars, policy);

    Some(Profile {
        display_name,
        refresh_url,
        revoke_url,
        introspect_url,
        vars,
        client_auth: word(
            section,
            "client_auth",
            &[
                ("body", ClientAuth::Body),
                ("basic", ClientAuth::Basic),
                ("basic_raw", ClientAuth::BasicRaw),
                ("none", ClientAuth::None),
            ],
        ),
        body: word(section, "body", &[("form", BodyFormat::Form), ("json", BodyFormat::Json)]),
        scopes: section.section("scopes", scopes).unwrap_or_default(),
        pkce: word(section, "pkce", &[("s256", Pkce::S256), ("required", Pkce::Required), ("off", Pkce::Off)]),
        params: section.section("params", params).unwrap_or_default(),
        rename: section.map("rename", rename),
        headers: section.map("headers", header),
        response: section.section("response", response).unwrap_or_default(),
        expiry: section.section("expiry", expiry).unwrap_or_default(),
        refresh: section.section("refresh", refresh).unwrap_or_default(),
        errors: section.sections("errors", errors::rules).into_iter().flatten().collect(),
        limits: section.section("limits", limits).unwrap_or_default(),
        // Last, because these give up, and whatever has not been read by then would count as unknown.
        docs: docs?,
        facts_as_of: facts_as_of?,
        authorize_url: authorize_url?,
        token_url: token_url?,
        id,
    })
}

fn word<T: Copy + Default>(section: &mut Section<'_>, key: &str, words: &[(&str, T)]) -> T {
    section.optional(key, |node| node.one_of(words)).unwrap_or_default()
}

/// `acme-mail` becomes `Acme Mail`.
fn name_of(id: &PlatformId) -> String {
    let words = id.as_str().split(['-', '_']).filter(|word| !word.is_empty());
    let capitalised = words.map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    });
    capitalised.collect::<Vec<_>>().join(" ")
}

fn docs(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let plain = UrlTemplate::parse(text, UrlPolicy::Strict).is_ok_and(|url| url.variables().is_empty());
    if plain { Ok(text.to_owned()) } else { Err(Mismatch::new("must be the https address of a page", "")) }
}

fn date(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.scalar()?;
    match Date::parse(&text, format_description!("[year]-[month]-[day]")) {
        Ok(_) => Ok(text),
        Err(_) => Err(Mismatch::new("must be a day", "write it as `2026-11-21`")),
    }
}

fn url(node: Node<'_>, policy: UrlPolicy) -> Result<UrlTemplate, Mismatch> {
    UrlTemplate::parse(node.text()?, policy).map_err(|error| {
        let hint = match &error {
            UrlTemplateError::NotHttps | UrlTemplateError::Address if policy == UrlPolicy::Strict => {
                "http and addresses of this machine are for development: `outbound.allow_loopback`"
            }
            UrlTemplateError::Lookalike => "a host in another alphabet looks like one it is not",
            UrlTemplateError::Credentials => "the client proves itself as `client_auth` says",
            UrlTemplateError::NotAUrl
            | UrlTemplateError::NotHttps
            | UrlTemplateError::Fragment
            | UrlTemplateError::Address
            | UrlTemplateError::Variable
            | UrlTemplateError::Unset(_)
            | UrlTemplateError::Unknown(_)
            | UrlTemplateError::BadValue(_) => "write it as `https://login.example.com/oauth/token`",
        };
        Mismatch::new(error.to_string(), hint)
    })
}

fn variables(section: &mut Section<'_>) -> BTreeMap<String, Variable> {
    let name = |name: &str| {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if plain { Ok(name.to_owned()) } else { Err(Mismatch::new("is not a name", "use a-z and `_`")) }
    };
    section.section_map("vars", name, |variable| {
        let default = variable.optional("default", Node::text).map(str::to_owned);
        let about = variable.required("about", Node::text).map(str::to_owned);
        Some(Variable { default, about: about? })
    })
}

/// Every variable of a URL is declared, every declared one is used, and every default fits.
fn check_variables(section: &Section<'_>, urls: &[&UrlTemplate], vars: &BTreeMap<String, Variable>, policy: UrlPolicy) {
    let used = || urls.iter().flat_map(|url| url.variables());
    for name in used().filter(|name| !vars.contains_key(*name)) {
        section.fault(&format!("vars.{name}"), "is used in a URL and not declared", "say what it is in `about`");
    }
    for name in vars.keys().filter(|name| !used().any(|used| used == *name)) {
        section.fault(&format!("vars.{name}"), "is used in no URL", "remove it, or use it as `{name}`");
    }
    // The default of one variable is tried with a harmless value for the others.
    for (name, default) in vars.iter().filter_map(|(name, variable)| Some((name, variable.default.as_ref()?))) {
        let mut values: BTreeMap<String, String> = used().map(|used| (used.clone(), "x".to_owned())).collect();
        values.insert(name.clone(), default.clone());
        let wrong =
            urls.iter().filter(|url| url.variables().contains(name)).find_map(|url| url.fill(&values, policy).err());
        if let Some(error) = wrong {
            section.fault(&format!("vars.{name}.default"), error.to_string(), "");
        }
    }
}

fn scopes(section: &mut Section<'_>) -> ScopeRule {
    let separators = [(" ", ' '), (",", ','), ("+", '+'), (";", ';'), (":", ':')];
    let separator = section.optional("separator", |node| node.one_of(&separators));
    let offline = section.optional("offline", Node::text).map(str::to_owned);
    ScopeRule { separator: separator.unwrap_or(' '), offline }
}

fn params(section: &mut Section<'_>) -> Params {
    let value = |name: &str, node: Node<'_>| {
        if !node.is_null() && NEVER_SET.contains(&name) {
            return Err(Mismatch::new("is filled in by the vault", "remove it, or write `null` to leave it out"));
        }
        if node.is_null() { Ok(None) } else { node.scalar().map(Some) }
    };
    Params {
        authorize: section.map("authorize", value),
        token: section.map("token", value),
        refresh: section.map("refresh", value),
    }
}

fn rename(name: &str, node: Node<'_>) -> Result<String, Mismatch> {
    if !STANDARD_PARAMS.contains(&name) {
        return Err(Mismatch::new("is not a standard parameter", format!("known: {}", STANDARD_PARAMS.join(", "))));
    }
    node.text().map(str::to_owned)
}

fn header(name: &str, node: Node<'_>) -> Result<String, Mismatch> {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Mismatch::new("is not the name of a header", "use letters, digits and `-`"));
    }
    if NEVER_SENT.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Mismatch::new("is a header the vault sets itself", "remove it; see `client_auth` and `body`"));
    }
    let text = node.text()?;
    if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        Ok(text.to_owned())
    } else {
        Err(Mismatch::new("must be plain ASCII text", ""))
    }
}

/// A place in a JSON answer, such as `authed_user.access_token`.
pub(super) fn path(node: Node<'_>) -> Result<Path, Mismatch> {
    let path: Path = node.text()?.split('.').map(str::to_owned).collect();
    if path.iter().any(|key| key.trim().is_empty()) {
        return Err(Mismatch::new("is not a path", "write keys with a dot between them, such as `data.token`"));
    }
    Ok(path)
}

fn response(section: &mut Section<'_>) -> ResponsePaths {
    let standard = ResponsePaths::default();
    let mut paths = |key: &str, standard: Vec<Path>| {
        section.optional(key, |node| node.one_or_many().into_iter().map(path).collect()).unwrap_or(standard)
    };
    ResponsePaths {
        access_token: paths("access_token", standard.access_token),
        refresh_token: paths("refresh_token", standard.refresh_token),
        expires_in: paths("expires_in", standard.expires_in),
        refresh_expires_in: paths("refresh_expires_in", standard.refresh_expires_in),
        scope: paths("scope", standard.scope),
        token_type: paths("token_type", standard.token_type),
    }
}

fn expiry(section: &mut Section<'_>) -> ExpiryRule {
    let default = section.optional("default_seconds", |node| node.number(1..=YEAR)).map(Duration::from_secs);
    let units = [
        ("seconds", ExpiryUnit::Seconds),
        ("milliseconds", ExpiryUnit::Milliseconds),
        ("unix_seconds", ExpiryUnit::UnixSeconds),
    ];
    let unit = word(section, "unit", &units);
    let from_jwt = section.optional("from_jwt", Node::boolean).unwrap_or_default();
    let never = section.optional("never", Node::boolean).unwrap_or_default();
    if never && (default.is_some() || from_jwt) {
        section.fault("never", "contradicts `default_seconds` and `from_jwt`", "keep one of them");
    }
    ExpiryRule { default, unit, from_jwt, never }
}

fn refresh(section: &mut Section<'_>) -> RefreshRule {
    let standard = RefreshRule::default();
    let supported = section.optional("supported", Node::boolean).unwrap_or(standard.supported);
    let rotates = [("yes", Rotates::Yes), ("no", Rotates::No), ("maybe", Rotates::Maybe)];
    let rotates = word(section, "rotates", &rotates);
    let window = section.optional("reuse_window_seconds", |node| node.number(0..=YEAR)).map(Duration::from_secs);
    let replay = word(section, "replay", &[("reject", Replay::Reject), ("revoke_all", Replay::RevokeAll)]);
    let confirm = section.optional("confirm", Node::boolean).unwrap_or_default();
    let mut days =
        |key: &str| section.optional(key, |node| node.number(1..=36_500)).and_then(|days| u32::try_from(days).ok());
    let (idle_days, max_days) = (days("idle_days"), days("max_days"));
    let margin = section.optional("margin_seconds", |node| node.number(0..=86_400)).map(Duration::from_secs);
    if rotates == Rotates::No && (window.is_some() || replay == Replay::RevokeAll) {
        let problem = "says that the same token may always be used again, and other keys here say the opposite";
        section.fault("rotates", problem, "remove `reuse_window_seconds` and `replay`, or write `yes`");
    }
    RefreshRule {
        supported,
        rotates,
        reuse_window: window.unwrap_or(standard.reuse_window),
        replay,
        confirm,
        idle_days,
        max_days,
        margin: margin.unwrap_or(standard.margin),
    }
}

fn limits(section: &mut Section<'_>) -> Limits {
    let live = section.optional("live_refresh_tokens", |node| node.number(1..=1_000_000));
    Limits { live_refresh_tokens: live.and_then(|live| u32::try_from(live).ok()) }
}
