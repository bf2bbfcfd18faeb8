//! Policies and limits on the wire.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::invalid;
use crate::access::Refusal;
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::TenantId;
use crate::domain::limits::{Limits, MAX_DISTINCT_USERS, MAX_RATE, Rate};
use crate::domain::policy::{Effect, MAX_NAMES, MAX_RULES, MAX_SCOPE_BYTES, Named, Policy, Rule};
use crate::pb::vault_v1 as pb;

const EVERYTHING: &str = "*";

/// A policy of an engine in the registry of this tenant.
pub(super) fn policy(given: pb::Policy, home: &TenantId) -> Result<Policy, Refusal> {
    if given.rules.len() > MAX_RULES {
        return invalid("policy.rules", Fault::TooMany(MAX_RULES));
    }
    let tenants = if given.tenants.is_empty() && *home != TenantId::system() {
        Named::Only(BTreeSet::from([home.clone()]))
    } else {
        set("policy.tenants", &given.tenants)?
    };
    let rules = given.rules.into_iter().map(rule).collect::<Result<Vec<_>, Refusal>>()?;
    let too_large = |_| InvalidArgument { field: "policy", fault: Fault::TooMany(MAX_NAMES) };
    Ok(Policy::new(tenants, rules).map_err(too_large)?)
}

pub(super) fn limits(given: pb::Limits) -> Result<Limits, Refusal> {
    let pb::Limits { rate_per_second, rate_burst, max_distinct_users_per_hour: users } = given;
    let rate = match (rate_per_second, rate_burst) {
        (0, 0) => None,
        (per_second, burst) => {
            let rate = Rate::new(per_second, if burst == 0 { per_second } else { burst });
            let fault = Fault::Range(1, MAX_RATE.into());
            Some(rate.ok_or(InvalidArgument { field: "limits.rate_per_second", fault })?)
        }
    };
    if users > MAX_DISTINCT_USERS {
        return invalid("limits.max_distinct_users_per_hour", Fault::Range(0, MAX_DISTINCT_USERS.into()));
    }
    Ok(Limits { rate, max_distinct_users_per_hour: (users > 0).then_some(users) })
}

fn rule(given: pb::Rule) -> Result<Rule, Refusal> {
    let effect = match given.effect.as_str() {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        _ => return invalid("policy.rules.effect", Fault::NoneOf("`allow`, `deny`")),
    };
    let scopes = given.scopes_at_most;
    if scopes.len() > MAX_NAMES {
        return invalid("policy.rules.scopes_at_most", Fault::TooMany(MAX_NAMES));
    }
    let is_scope = |scope: &String| {
        !scope.is_empty() && scope.len() <= MAX_SCOPE_BYTES && scope.bytes().all(|b| b.is_ascii_graphic())
    };
    if !scopes.iter().all(is_scope) {
        return invalid("policy.rules.scopes_at_most", Fault::Characters("visible ASCII, at most 512 bytes each"));
    }
    if effect == Effect::Deny && !scopes.is_empty() {
        return invalid("policy.rules.scopes_at_most", Fault::Shape("absent from a rule that denies"));
    }
    Ok(Rule {
        effect,
        actions: set("policy.rules.actions", &given.actions)?,
        platforms: set("policy.rules.platforms", &given.platforms)?,
        users: set("policy.rules.users", &given.users)?,
        scopes_at_most: (!scopes.is_empty()).then(|| scopes.into_iter().collect()),
    })
}

/// Names, or `*` alone. Nothing at all would be everything to some readers and nothing to others.
fn set<T: Ord + FromStr>(field: &'static str, names: &[String]) -> Result<Named<T>, Refusal> {
    match names {
        [] => invalid(field, Fault::Missing),
        [all] if all == EVERYTHING => Ok(Named::All),
        names if names.len() > MAX_NAMES => invalid(field, Fault::TooMany(MAX_NAMES)),
        names => match names.iter().map(|name| name.parse().ok()).collect::<Option<BTreeSet<T>>>() {
            Some(set) => Ok(Named::Only(set)),
            None => invalid(field, Fault::Shape("names that can be used here, or `*` alone")),
        },
    }
}
