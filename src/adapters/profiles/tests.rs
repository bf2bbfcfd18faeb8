//! What a profile may say, and what is refused.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::domain::profile::Rotates;

const PLAIN: &str = "authorize_url: https://acme.example.com/authorize\n\
                     token_url: https://acme.example.com/token\n\
                     docs: https://acme.example.com/docs\n\
                     facts_as_of: 2026-11-21\n";

fn read_as(name: &str, text: &str, policy: UrlPolicy) -> Result<Profile, Vec<Fault>> {
    let file = PathBuf::from(name);
    profile(&Document::parse(text, Some(&file), LIMITS)?, &file, policy)
}

fn read(text: &str) -> Result<Profile, Vec<Fault>> {
    read_as("acme-mail.yaml", text, UrlPolicy::Strict)
}

fn faults(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("`{text}` was accepted"),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// The plain profile with one line more.
fn with(line: &str) -> String {
    format!("{PLAIN}{line}\n")
}

#[test]
fn a_plain_platform_is_four_lines() {
    let profile = read(PLAIN).unwrap();
    assert_eq!(PLAIN.lines().count(), 4);
    assert_eq!((profile.id.as_str(), profile.display_name.as_str()), ("acme-mail", "Acme Mail"));
    assert_eq!(profile.refresh.rotates, Rotates::Maybe);
    assert_eq!(profile.refresh_endpoint().to_string(), "https://acme.example.com/token");
}

#[test]
fn the_manual_shows_every_key_and_is_right() {
    let manual = include_str!("../../../platform_profiles/README.md");
    let examples: Vec<&str> = manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        read_as("acme.yaml", example, UrlPolicy::Strict).unwrap_or_else(|faults| panic!("{faults:#?}"));
    }
    let unknown = faults("?: 1\n".replace('?', "nothing_like_it").as_str());
    let known = unknown.lines().find_map(|line| line.split_once("known here: ")).unwrap().1;
    for key in known.split(", ").filter(|key| !key.starts_with("client_id") && *key != "client_secret") {
        assert!(manual.contains(&format!("\n{key}:")), "`{key}` is not in the manual");
    }
}

#[test]
fn the_name_of_the_file_is_the_id() {
    assert!(read(&with("id: acme-mail")).is_ok());
    assert!(faults(&with("id: acme")).contains("acme-mail.yaml:5: id: must be `acme-mail`"));
    let misnamed = read_as("Acme Mail.yaml", PLAIN, UrlPolicy::Strict).unwrap_err();
    assert!(misnamed[0].to_string().starts_with("Acme Mail.yaml: is not named like a platform"), "{}", misnamed[0]);
}

#[test]
fn what_is_missing_and_what_is_unknown_is_said_at_once() {
    let all = faults("token_ulr: https://acme.example.com/token\ndocs: x\n");
    for expected in [
        "acme-mail.yaml:1: token_ulr: is not a known key — did you mean `token_url`?",
        "acme-mail.yaml:2: docs: must be the https address of a page",
        "acme-mail.yaml: authorize_url: must be given",
        "acme-mail.yaml: token_url: must be given",
        "acme-mail.yaml: facts_as_of: must be given",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
}

#[test]
fn one_fault_does_not_make_a_good_key_unknown() {
    let found = faults(&with("refresh: { rotates: sometimes }").replace("2026-11-21", "2026-13-01"));
    assert!(found.contains("facts_as_of:") && found.contains("refresh.rotates:"), "{found}");
    assert!(!found.contains("not a known key"), "{found}");
}

#[test]
fn secrets_are_sent_where_they_belong() {
    let all = faults(&with("client_secret: hunter2"));
    assert!(all.contains("client_secret: does not belong into a profile"), "{all}");
    assert!(all.contains("`platforms.acme-mail`") && !all.contains("hunter2"), "{all}");
    assert!(faults(&with("params: { refresh: { client_secret: hunter2 } }")).contains("filled in by the vault"));
    assert!(faults(&with("headers: { Authorization: Basic eA== }")).contains("a header the vault sets itself"));
}

#[test]
fn urls_that_could_send_a_secret_elsewhere_are_refused() {
    for (url, problem) in [
        ("http://acme.example.com/", "must begin with `https://`"),
        ("https://user@acme.example.com/", "must not carry credentials"),
        ("https://169.254.169.254/", "must name its host"),
        ("https://[::1]/", "must name its host"),
        ("https://localhost/", "must name its host"),
        ("https://аcme.example.com/", "plain ASCII"),
        ("https://xn--cme-7cd.example.com/", "plain ASCII"),
        ("https://${HOST}/", "variable"),
        ("https://{shop}.example.com/#x", "fragment"),
        ("/token", "not an absolute URL"),
    ] {
        let all = faults(&with(&format!("revoke_url: \"{url}\"")));
        assert!(all.contains("acme-mail.yaml:5: revoke_url: ") && all.contains(problem), "`{url}`: {all}");
    }
    let dev = PLAIN.replace("https://acme.example.com/token", "http://127.0.0.1:9000/token");
    assert!(read_as("acme.yaml", &dev, UrlPolicy::AllowLoopback).is_ok());
    assert!(faults(&dev).contains("acme-mail.yaml:2: token_url: "));
}

#[test]
fn variables_are_declared_used_and_fit() {
    let templated = PLAIN.replace("https://acme.example.com/token", "https://{shop}.example.com/token");
    assert!(faults(&templated).contains("vars.shop: is used in a URL and not declared"));
    assert!(faults(&with("vars: { shop: { about: x } }")).contains("acme-mail.yaml:5: vars.shop: is used in no URL"));
    let hostile = format!("{templated}vars: {{ shop: {{ about: x, default: evil.com/ }} }}\n");
    assert!(faults(&hostile).contains("vars.shop.default: the value of `shop` may contain only"));
    assert!(read(&format!("{templated}vars: {{ shop: {{ about: x }} }}\n")).is_ok());
}

#[test]
fn an_error_rule_says_what_it_matches_and_never_overrides_what_is_transient() {
    let rule = |rule: &str| faults(&with(&format!("errors:\n- {{ {rule} }}")));
    assert!(rule("means: reconnect").contains("errors[0]: would match every error"));
    assert!(rule("status: 400, equals: x, means: retry").contains("errors[0].path: must say where to look"));
    assert!(rule("status: 503, path: error, means: reconnect").contains("can mean nothing but `retry`"));
    assert!(rule("status: 429, means: app").contains("can mean nothing but `retry`"));
    assert!(rule("status: 400").contains("errors[0].means: must be given"));
    assert!(rule("status: 400, means: reauth").contains("must be one of `reconnect`, `retry`, `app`"));
    assert!(rule("status: 400, means: app, cause: bad").contains("errors[0].cause: is not a cause"));
    let two = read(&with("errors:\n- { status: [400, 401], path: code, equals: 4700, means: retry }")).unwrap();
    assert_eq!(two.errors.len(), 2);
    assert!(two.errors[1].matches(401, &serde_json::json!({ "code": 4700 })));
}

#[test]
fn words_and_numbers_are_explained() {
    assert!(
        faults(&with("refresh:\n  rotates: true"))
            .contains("acme-mail.yaml:6: refresh.rotates: must be one of `yes`, `no`, `maybe` — did you mean `yes`?")
    );
    assert!(faults(&with("refresh: { confirm: yes }")).contains("write `true`: in YAML 1.2"));
    assert!(faults(&with("refresh: { rotates: no, replay: revoke_all }")).contains("say the opposite"));
    assert!(faults(&with("expiry: { never: true, from_jwt: true }")).contains("contradicts"));
    assert!(faults(&with("facts_as_of_: 1")).contains("did you mean `facts_as_of`?"));
    assert!(faults(&with("scopes: { separator: \"|\" }")).contains("scopes.separator: must be one of ` `, `,`"));
    assert!(faults(&with("response: { access_token: data..token }")).contains("is not a path"));
    assert!(faults(&with("rename: { clientid: app_id }")).contains("is not a standard parameter"));
    assert_eq!(read(&with("scopes: { separator: \" \" }")).unwrap().scopes.separator, ' ');
}

#[test]
fn no_text_of_a_profile_is_expanded() {
    let profile = read(&with("params: { authorize: { a: \"${HOME}\", b: $(id) } }")).unwrap();
    let values: Vec<_> = profile.params.authorize.into_values().collect();
    assert_eq!(values, [Some("${HOME}".into()), Some("$(id)".into())]);
}

#[test]
fn a_null_parameter_takes_a_standard_one_away() {
    let profile = read(&with("params: { refresh: { grant_type: null, type: refresh } }")).unwrap();
    assert_eq!(profile.params.refresh.get("grant_type"), Some(&None));
    assert_eq!(profile.params.refresh.get("type"), Some(&Some("refresh".into())));
}

#[test]
fn a_folder_adds_and_overrides_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.yaml"), PLAIN).unwrap();
    std::fs::write(folder.path().join("slack.yaml"), PLAIN).unwrap();
    std::fs::write(folder.path().join("README.md"), "not a profile").unwrap();
    let mut profiles = Profiles::builtin().unwrap();
    profiles.load_dir(folder.path(), UrlPolicy::Strict).unwrap();
    let slack = profiles.get(&"slack".parse().unwrap()).unwrap();
    assert_eq!(slack.token_url.to_string(), "https://acme.example.com/token");
    assert_eq!(profiles.iter().count(), SHIPPED.len() + 1);

    std::fs::write(folder.path().join("broken.yaml"), "docs: 1\n").unwrap();
    let mut untouched = Profiles::builtin().unwrap();
    let all = untouched.load_dir(folder.path(), UrlPolicy::Strict).unwrap_err();
    assert!(all.iter().all(|fault| fault.to_string().contains("broken.yaml")), "{all:?}");
    assert_eq!(untouched.iter().count(), SHIPPED.len());
    assert!(untouched.load_dir(&folder.path().join("absent"), UrlPolicy::Strict).is_err());
}

#[test]
fn hostile_files_are_refused_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    for (name, text) in [
        ("brackets", "[".repeat(100_000)),
        ("brackets-within-the-limit", "[".repeat(60_000)),
        ("megabyte", "#".repeat(1_048_576)),
        ("aliases", format!("{PLAIN}a: &a [x]\nb: {}\n", "*a,".repeat(10_000))),
        ("two-documents", format!("{PLAIN}---\n{PLAIN}")),
        ("binary", "\0\u{1}".into()),
    ] {
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        let found = check_file(&file, UrlPolicy::Strict);
        assert!(!found.is_empty(), "{name} was accepted");
        assert!(found.iter().all(|fault| fault.file.as_deref() == Some(&*file)), "{found:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
