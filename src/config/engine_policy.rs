//! What an engine of the configuration may do, and how much of it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use crate::document::{Mismatch, Node, Section};
use crate::domain::id::TenantId;
use crate::domain::limits::{Limits, MAX_DISTINCT_USERS, MAX_RATE, Rate};
use crate::domain::policy::{Effect, MAX_SCOPE_BYTES, Named, Policy, Rule, SCOPES_ON_DENY};

/// One item of a list that may be `*`.
enum Name<T> {
    All,
    One(T),
}

const EVERYTHING: &str = "*";

/// `actions` with what narrows them are a rule that allows, and `rules` are more.
pub(super) fn policy(section: &mut Section<'_>) -> Option<Policy> {
    let tenants = named(section, "tenants");
    let own = rule(section, Effect::Allow);
    let mut rules = section.sections("rules", |section| {
        let effects = [("allow", Effect::Allow), ("deny", Effect::Deny)];
        let effect = section.required("effect", |node| node.one_of(&effects));
        let rule = rule(section, effect.unwrap_or(Effect::Allow));
        if rule.actions.names() == 0 && rule.actions != Named::All {
            section.fault("actions", "must name at least one action", "such as `[get, status]`, or `[\"*\"]` for all");
        }
        effect.map(|effect| Rule { effect, ..rule })
    });
    let is_empty = own.actions.names() == 0 && own.actions != Named::All;
    if is_empty && rules.is_empty() {
        section.fault("actions", "must name at least one action", "such as `[get, status]`");
    }
    if !is_empty {
        rules.insert(0, own);
    }
    let tenants = tenants.unwrap_or_else(|| Named::Only(BTreeSet::from([TenantId::default_tenant()])));
    Policy::new(tenants, rules).map_err(|large| section.fault("rules", large.to_string(), "")).ok()
}

/// `rate` and `max_distinct_users_per_hour`.
pub(super) fn limits(section: &mut Section<'_>) -> Option<Limits> {
    let rate = section.has("rate").then(|| {
        section.section("rate", |section| {
            let per_second = section.required("per_second", |node| node.number(1..=MAX_RATE.into()));
            let burst = section.optional("burst", |node| node.number(1..=MAX_RATE.into()));
            let number = |number: u64| u32::try_from(number).ok();
            let per_second = per_second.and_then(number)?;
            Rate::new(per_second, burst.and_then(number).unwrap_or(per_second))
        })
    });
    // Known to the section also where it is absent.
    if rate.is_none() {
        section.optional("rate", |_| Ok(()));
    }
    let users = section.optional("max_distinct_users_per_hour", |node| node.number(1..=MAX_DISTINCT_USERS.into()));
    let max_distinct_users_per_hour = users.and_then(|users| u32::try_from(users).ok());
    match rate {
        None => Some(Limits { rate: None, max_distinct_users_per_hour }),
        Some(rate) => Some(Limits { rate: Some(rate.flatten()?), max_distinct_users_per_hour }),
    }
}

fn rule(section: &mut Section<'_>, effect: Effect) -> Rule {
    let actions = named(section, "actions").unwrap_or(Named::Only(BTreeSet::new()));
    let platforms = named(section, "platforms").unwrap_or(Named::All);
    let users = named(section, "users").unwrap_or(Named::All);
    let scopes_at_most = section.list("scopes_at_most", scope).map(|scopes| scopes.into_iter().collect());
    if effect == Effect::Deny && scopes_at_most.is_some() {
        section.fault("scopes_at_most", SCOPES_ON_DENY, "");
    }
    Rule { effect, actions, platforms, users, scopes_at_most }
}

/// A list of names, or `["*"]`; `None` where it is absent. An empty list names nothing.
fn named<T: Ord + FromStr<Err: Display>>(section: &mut Section<'_>, key: &str) -> Option<Named<T>> {
    let items = section.list(key, |node| match node.text()? {
        EVERYTHING => Ok(Name::All),
        _ => node.parse().map(Name::One),
    })?;
    let all = items.iter().any(|item| matches!(item, Name::All));
    if all && items.len() > 1 {
        section.fault(key, "names others beside `*`", "write `[\"*\"]` alone: it is everything there is");
    }
    let one = |item| if let Name::One(one) = item { Some(one) } else { None };
    Some(if all { Named::All } else { Named::Only(items.into_iter().filter_map(one).collect()) })
}

fn scope(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let fits = text.len() <= MAX_SCOPE_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(Mismatch::new("is not a scope", "visible ASCII, at most 512 bytes")) }
}
