//! Who may do what: rules, and the one function that decides. Who somebody is, is not known here.
//!
//! Nothing is permitted that no rule allows, and what one rule denies no other rule allows. A set names its members or
//! is `*`, which is everything there is; there are no other patterns, so that nobody has to guess what a name matches.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::id::{ConnectionKey, PlatformId, TenantId, UserId};
use super::method::Action;

/// Some of a kind of thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named<T> {
    /// All there are, and all there ever will be.
    All,
    /// These.
    Only(BTreeSet<T>),
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is permitted, unless another rule denies it.
    Allow,
    /// It is not, whatever other rules say.
    Deny,
}

/// One statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What follows when it matches.
    pub effect: Effect,
    /// What is done.
    pub actions: Named<Action>,
    /// With connections to which platforms.
    pub platforms: Named<PlatformId>,
    /// Of which users.
    pub users: Named<UserId>,
    /// For a rule that allows: only tokens none of whose scopes is missing here. A token whose scopes nobody stated may
    /// have any, and is not among them.
    pub scopes_at_most: Option<BTreeSet<String>>,
}

/// Everything an engine may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    tenants: Named<TenantId>,
    rules: Vec<Rule>,
}

/// What somebody wants to do something with. What is `None` is not decided yet: some user, some platform.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// Whose connection.
    pub user: Option<&'a UserId>,
    /// To which platform.
    pub platform: Option<&'a PlatformId>,
    /// The scopes of its token.
    pub scopes: Option<&'a [String]>,
}

/// Whether somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Because this rule says so; rules are counted from 0.
    Allowed(usize),
    /// They may not.
    Denied(Denial),
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// They do not act for the tenant.
    Tenant,
    /// This rule says so.
    Rule(usize),
    /// No rule allows it.
    NoRule,
    /// This rule would, if the token had no other scopes than it names.
    Scopes(usize),
}

/// A policy that is larger than any should be. Says what, and how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has too many {what}: at most {most}")]
pub struct PolicyTooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much there may be.
    pub most: usize,
}

/// A scope bound on a rule that denies. What it should mean there, two people would answer differently.
pub const SCOPES_ON_DENY: &str = "is for rules that allow: a rule that denies does so whatever the scopes are";

/// The most rules of a policy.
pub const MAX_RULES: usize = 256;
/// The most names in one set of a rule.
pub const MAX_NAMES: usize = 1_000;
/// The most names in all sets of a policy.
pub const MAX_NAMES_IN_ALL: usize = 4_000;
/// The most bytes of a scope.
pub const MAX_SCOPE_BYTES: usize = 512;

/// Decides. The same function for one call, for each item of a list, and for each message of a stream.
///
/// Where user or platform are not decided yet, the answer is whether there can be anything that is permitted: a rule
/// that denies some of it does not deny all of it. What is found is decided on again, each on its own.
#[must_use]
pub fn decide(policy: &Policy, action: Action, resource: &Resource<'_>) -> Decision {
    if !policy.tenants.contains(resource.tenant) {
        return Decision::Denied(Denial::Tenant);
    }
    let mut allowed = None;
    let mut too_wide = None;
    for (number, rule) in policy.rules.iter().enumerate() {
        if !rule.actions.contains(&action) {
            continue;
        }
        match rule.effect {
            Effect::Deny if rule.covers_all_of(resource) => return Decision::Denied(Denial::Rule(number)),
            Effect::Allow if rule.covers_some_of(resource) => {
                let first = if rule.covers_scopes(resource) { &mut allowed } else { &mut too_wide };
                *first = first.or(Some(number));
            }
            Effect::Deny | Effect::Allow => {}
        }
    }
    match (allowed, too_wide) {
        (Some(rule), _) => Decision::Allowed(rule),
        (None, Some(rule)) => Decision::Denied(Denial::Scopes(rule)),
        (None, None) => Decision::Denied(Denial::NoRule),
    }
}

// === impl Named ===

impl<T: Ord> Named<T> {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, one: &T) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => these.contains(one),
        }
    }

    /// How many are named.
    #[must_use]
    pub fn names(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Only(these) => these.len(),
        }
    }
}

// === impl Effect ===

impl Effect {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

// === impl Rule ===

impl Rule {
    /// Allows these actions on everything.
    #[must_use]
    pub fn allowing(actions: Named<Action>) -> Self {
        Self { effect: Effect::Allow, actions, platforms: Named::All, users: Named::All, scopes_at_most: None }
    }

    fn covers_all_of(&self, resource: &Resource<'_>) -> bool {
        all(&self.users, resource.user) && all(&self.platforms, resource.platform)
    }

    fn covers_some_of(&self, resource: &Resource<'_>) -> bool {
        some(&self.users, resource.user) && some(&self.platforms, resource.platform)
    }

    fn covers_scopes(&self, resource: &Resource<'_>) -> bool {
        match (&self.scopes_at_most, resource.scopes) {
            (None, _) | (_, None) => true,
            (Some(most), Some(scopes)) => !scopes.is_empty() && scopes.iter().all(|scope| most.contains(scope)),
        }
    }

    fn names(&self) -> usize {
        let scopes = self.scopes_at_most.as_ref().map_or(0, BTreeSet::len);
        self.platforms.names() + self.users.names() + scopes
    }

    fn widest(&self) -> usize {
        let scopes = self.scopes_at_most.as_ref().map_or(0, BTreeSet::len);
        self.platforms.names().max(self.users.names()).max(scopes)
    }
}

fn all<T: Ord>(named: &Named<T>, one: Option<&T>) -> bool {
    one.map_or(*named == Named::All, |one| named.contains(one))
}

fn some<T: Ord>(named: &Named<T>, one: Option<&T>) -> bool {
    match (named, one) {
        (Named::Only(these), None) => !these.is_empty(),
        (Named::All, None) => true,
        (named, Some(one)) => named.contains(one),
    }
}

// === impl Policy ===

impl Policy {
    /// These rules, for these tenants.
    ///
    /// # Errors
    ///
    /// When there is more of something than any policy needs.
    pub fn new(tenants: Named<TenantId>, rules: Vec<Rule>) -> Result<Self, PolicyTooLarge> {
        let large = |what, most| Err(PolicyTooLarge { what, most });
        if rules.len() > MAX_RULES {
            return large("rules", MAX_RULES);
        }
        if tenants.names() > MAX_NAMES || rules.iter().any(|rule| rule.widest() > MAX_NAMES) {
            return large("names in one set", MAX_NAMES);
        }
        if rules.iter().map(Rule::names).sum::<usize>() > MAX_NAMES_IN_ALL {
            return large("names in all its sets", MAX_NAMES_IN_ALL);
        }
        Ok(Self { tenants, rules })
    }

    /// One rule that allows these actions on everything.
    #[must_use]
    pub fn allowing(tenants: Named<TenantId>, actions: Named<Action>) -> Self {
        Self { tenants, rules: vec![Rule::allowing(actions)] }
    }

    /// The tenants it is about; everything of all others is denied.
    #[must_use]
    pub fn tenants(&self) -> &Named<TenantId> {
        &self.tenants
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there is anything of any tenant that it permits this for.
    #[must_use]
    pub fn grants(&self, action: Action) -> bool {
        let mut matching = self.rules.iter().filter(|rule| rule.actions.contains(&action));
        let denies_all =
            |rule: &Rule| rule.effect == Effect::Deny && rule.users == Named::All && rule.platforms == Named::All;
        let allows =
            |rule: &Rule| rule.effect == Effect::Allow && some(&rule.users, None) && some(&rule.platforms, None);
        let all = matching.clone();
        matching.any(allows) && !all.into_iter().any(denies_all)
    }
}

/// What somebody may do one thing with: a policy, narrowed to one action and one tenant.
#[derive(Clone, Debug)]
pub struct Permits {
    policy: Arc<Policy>,
    action: Action,
    tenant: TenantId,
}

// === impl Permits ===

impl Permits {
    /// What this policy permits this for, in this tenant.
    #[must_use]
    pub fn new(policy: Arc<Policy>, action: Action, tenant: TenantId) -> Self {
        Self { policy, action, tenant }
    }

    /// Whether there can be anything.
    #[must_use]
    pub fn anything(&self) -> bool {
        self.decide(None, None, None)
    }

    /// Whether there can be anything of this user.
    #[must_use]
    pub fn something_of(&self, user: &UserId) -> bool {
        self.decide(Some(user), None, None)
    }

    /// Whether there can be anything at this platform.
    #[must_use]
    pub fn something_at(&self, platform: &PlatformId) -> bool {
        self.decide(None, Some(platform), None)
    }

    /// Whether this connection is permitted.
    #[must_use]
    pub fn connection(&self, user: &UserId, platform: &PlatformId) -> bool {
        self.decide(Some(user), Some(platform), None)
    }

    /// Whether this connection is permitted, with a token of these scopes.
    #[must_use]
    pub fn token(&self, key: &ConnectionKey, scopes: &[String]) -> bool {
        key.tenant == self.tenant && self.decide(Some(&key.user), Some(&key.platform), Some(scopes))
    }

    fn decide(&self, user: Option<&UserId>, platform: Option<&PlatformId>, scopes: Option<&[String]>) -> bool {
        let resource = Resource { tenant: &self.tenant, user, platform, scopes };
        matches!(decide(&self.policy, self.action, &resource), Decision::Allowed(_))
    }
}

#[cfg(test)]
mod tests;
