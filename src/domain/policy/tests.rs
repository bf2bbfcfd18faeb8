//! The algebra of policies: what holds for every policy and everything anybody may want.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const USERS: [&str; 3] = ["u1", "u2", "u3"];
const PLATFORMS: [&str; 3] = ["gmail", "slack", "plain"];
const TENANTS: [&str; 2] = ["default", "acme"];
const SCOPES: [&str; 3] = ["read", "write", "admin"];

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn named<T: Ord + Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Named<T>> {
    prop_oneof![Just(Named::All), btree_set(select(all), 0..3).prop_map(Named::Only)]
}

fn of<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| parsed(text)).collect()
}

fn rules(effects: &'static [Effect]) -> impl Strategy<Value = Rule> {
    let scopes = proptest::option::of(btree_set(select(&SCOPES[..]), 0..3));
    let sets = (named(Action::ALL.to_vec()), named(of(&PLATFORMS)), named(of(&USERS)), scopes);
    (select(effects), sets).prop_map(|(effect, (actions, platforms, users, scopes))| {
        let scopes = scopes.map(|scopes| scopes.into_iter().map(str::to_owned).collect());
        Rule { effect, actions, platforms, users, scopes_at_most: scopes.filter(|_| effect == Effect::Allow) }
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    (named(of(&TENANTS)), vec(rules(&[Effect::Allow, Effect::Deny]), 0..6))
        .prop_map(|(tenants, rules)| Policy::new(tenants, rules).unwrap())
}

/// Something somebody may want.
#[derive(Debug, Clone)]
struct Wish {
    action: Action,
    tenant: TenantId,
    user: UserId,
    platform: PlatformId,
    scopes: Vec<String>,
}

fn wishes() -> impl Strategy<Value = Wish> {
    let scopes = vec(select(&SCOPES[..]), 0..3);
    (select(&Action::ALL[..]), select(&TENANTS[..]), select(&USERS[..]), select(&PLATFORMS[..]), scopes).prop_map(
        |(action, tenant, user, platform, scopes)| Wish {
            action,
            tenant: parsed(tenant),
            user: parsed(user),
            platform: parsed(platform),
            scopes: scopes.into_iter().map(str::to_owned).collect(),
        },
    )
}

// === impl Wish ===

impl Wish {
    fn resource(&self) -> Resource<'_> {
        let (user, platform) = (Some(&self.user), Some(&self.platform));
        Resource { tenant: &self.tenant, user, platform, scopes: Some(&self.scopes) }
    }

    fn allowed_by(&self, policy: &Policy) -> bool {
        matches!(decide(policy, self.action, &self.resource()), Decision::Allowed(_))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_rule_that_denies_never_widens(policy in policies(), deny in rules(&[Effect::Deny]), at in 0..7_usize, wish in wishes()) {
        let mut rules = policy.rules().to_vec();
        rules.insert(at.min(rules.len()), deny);
        let narrower = Policy::new(policy.tenants().clone(), rules).unwrap();
        prop_assert!(policy.grants(wish.action) || !narrower.grants(wish.action));
        prop_assert!(wish.allowed_by(&policy) || !wish.allowed_by(&narrower));
    }

    #[test]
    fn a_rule_that_allows_never_narrows(policy in policies(), allow in rules(&[Effect::Allow]), wish in wishes()) {
        let rules = [policy.rules(), &[allow]].concat();
        let wider = Policy::new(policy.tenants().clone(), rules).unwrap();
        prop_assert!(!wish.allowed_by(&policy) || wish.allowed_by(&wider));
    }

    #[test]
    fn the_order_of_rules_does_not_matter(policy in policies(), wish in wishes()) {
        let rules = policy.rules().iter().rev().cloned().collect();
        let turned = Policy::new(policy.tenants().clone(), rules).unwrap();
        prop_assert_eq!(wish.allowed_by(&policy), wish.allowed_by(&turned));
    }

    #[test]
    fn without_rules_and_without_the_tenant_nothing_is_allowed(policy in policies(), wish in wishes()) {
        let empty = Policy::new(policy.tenants().clone(), Vec::new()).unwrap();
        prop_assert!(!wish.allowed_by(&empty));
        let mut others: BTreeSet<TenantId> = of(&TENANTS).into_iter().collect();
        others.remove(&wish.tenant);
        let foreign = Policy::new(Named::Only(others), policy.rules().to_vec()).unwrap();
        prop_assert_eq!(decide(&foreign, wish.action, &wish.resource()), Decision::Denied(Denial::Tenant));
    }

    /// Whoever asks about many things is let in to be told of each one that is permitted, and of those only.
    #[test]
    fn what_is_allowed_is_within_what_may_be_asked_about(policy in policies(), wish in wishes()) {
        if wish.allowed_by(&policy) {
            let whole = wish.resource();
            for (user, platform) in [(None, None), (whole.user, None), (None, whole.platform), (whole.user, whole.platform)] {
                let wider = Resource { user, platform, scopes: None, ..whole };
                prop_assert!(matches!(decide(&policy, wish.action, &wider), Decision::Allowed(_)));
            }
            prop_assert!(policy.grants(wish.action));
        }
    }

    #[test]
    fn the_rule_that_is_named_is_one_that_says_so(policy in policies(), wish in wishes()) {
        let rule = |number: usize| &policy.rules()[number];
        match decide(&policy, wish.action, &wish.resource()) {
            Decision::Allowed(number) => prop_assert_eq!(rule(number).effect, Effect::Allow),
            Decision::Denied(Denial::Rule(number)) => prop_assert_eq!(rule(number).effect, Effect::Deny),
            Decision::Denied(Denial::Scopes(number)) => prop_assert!(rule(number).scopes_at_most.is_some()),
            Decision::Denied(Denial::NoRule | Denial::Tenant) => {}
        }
    }
}

fn allow_get(scopes: &[&str]) -> Policy {
    let scopes_at_most = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
    let rule = Rule { scopes_at_most, ..Rule::allowing(Named::Only(BTreeSet::from([Action::Get]))) };
    Policy::new(Named::All, vec![rule]).unwrap()
}

#[test]
fn a_token_with_more_scopes_than_allowed_or_with_unknown_ones_is_denied() {
    let policy = Arc::new(allow_get(&["read", "write"]));
    let permits = Permits::new(policy, Action::Get, TenantId::default_tenant());
    let key = ConnectionKey { tenant: TenantId::default_tenant(), user: parsed("u1"), platform: parsed("gmail") };
    let token = |scopes: &[&str]| {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        permits.token(&key, &scopes)
    };
    assert!(token(&["read"]) && token(&["write", "read"]));
    assert!(!token(&["read", "admin"]) && !token(&["Read"]) && !token(&[]));
    assert!(permits.connection(&key.user, &key.platform));
    assert!(!permits.token(&ConnectionKey { tenant: parsed("acme"), ..key.clone() }, &["read".to_owned()]));
}

#[test]
fn no_policy_is_larger_than_its_bounds() {
    let rules = |count| vec![Rule::allowing(Named::All); count];
    assert!(Policy::new(Named::All, rules(MAX_RULES)).is_ok());
    assert!(Policy::new(Named::All, rules(MAX_RULES + 1)).is_err());
    let of_users = |count: usize| {
        let users = (0..count).map(|number| parsed(&format!("u{number}"))).collect();
        Rule { users: Named::Only(users), ..Rule::allowing(Named::All) }
    };
    assert!(Policy::new(Named::All, vec![of_users(MAX_NAMES); 4]).is_ok());
    assert!(Policy::new(Named::All, vec![of_users(MAX_NAMES); 5]).is_err());
    assert!(Policy::new(Named::All, vec![of_users(MAX_NAMES + 1)]).is_err());
}
