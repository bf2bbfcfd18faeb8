//! Listing the connections of a tenant: everything once, page by page, and never a token.

use std::collections::BTreeSet;

use tonic::Code;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Expected, Record, Store as _, Version};
use vault_engine::pb::vault_v1::{ListTokensRequest, StoreTokenRequest, TokenInfo};

use crate::harness::{Caller, Vault, delete, get, spec};

fn sized(page_size: i32) -> ListTokensRequest {
    ListTokensRequest { page_size, ..ListTokensRequest::default() }
}

/// Everything, page by page, and how many pages that took.
async fn all(caller: &Caller, request: &ListTokensRequest) -> (Vec<TokenInfo>, usize) {
    let (mut tokens, mut pages, mut request) = (Vec::new(), 0, request.clone());
    loop {
        let page = caller.call(request.clone()).await.unwrap();
        let size = usize::try_from(if request.page_size == 0 { 50 } else { request.page_size }).unwrap();
        assert!(page.tokens.len() <= size, "{} on a page of {size}", page.tokens.len());
        tokens.extend(page.tokens);
        pages += 1;
        if page.next_page_token.is_empty() {
            return (tokens, pages);
        }
        request.page_token = page.next_page_token;
    }
}

fn names(tokens: &[TokenInfo]) -> BTreeSet<(String, String)> {
    let names: BTreeSet<_> = tokens.iter().map(|token| (token.user_id.clone(), token.platform.clone())).collect();
    assert_eq!(names.len(), tokens.len(), "something is listed twice");
    names
}

fn statuses(tokens: &[TokenInfo]) -> BTreeSet<(&str, &str, &str)> {
    tokens.iter().map(|told| (told.platform.as_str(), told.status.as_str(), told.reason.as_str())).collect()
}

async fn connect_many(vault: &Vault, users: usize) -> BTreeSet<(String, String)> {
    let mut expected = BTreeSet::new();
    for number in 0..users {
        for platform in ["plain", "rotating", "lasting"].iter().take(number % 4) {
            let user = format!("user-{number}");
            vault.connect_user(&user, platform, 3_600).await;
            expected.insert((user, (*platform).to_owned()));
        }
    }
    expected
}

#[test]
fn everything_is_listed_once_whatever_the_size_of_a_page() {
    spec(async |vault| {
        let expected = connect_many(vault, 24).await;
        let sync = vault.as_engine("sync");
        for size in [0, 1, 2, 3, 7, 35, 36, 1_000] {
            let (tokens, pages) = all(&sync, &sized(size)).await;
            assert_eq!(names(&tokens), expected, "pages of {size}");
            assert!(pages >= expected.len().div_ceil(usize::try_from(size.max(1)).unwrap()) || size == 0);
        }
        assert_eq!(all(&sync, &sized(1_000)).await.1, 1);
    });
}

#[test]
fn an_entry_says_what_is_known_and_nothing_secret() {
    spec(async |vault| {
        let request = vault.tokens().request("rotating", 3_600);
        vault.as_engine("local").call(request.clone()).await.unwrap();
        let sync = vault.as_engine("sync");
        let (tokens, _) = all(&sync, &sized(0)).await;
        let [told] = &tokens[..] else { panic!("{tokens:?}") };
        assert_eq!((told.user_id.as_str(), told.platform.as_str()), ("u1", "rotating"));
        assert_eq!(
            (told.status.as_str(), told.reason.as_str(), told.suggested_action.as_str()),
            ("active", "", "none")
        );
        assert_eq!((told.expires_at, &told.scopes, told.version), (request.expires_at, &request.scopes, 1));
        assert!((crate::harness::now() - told.created_at).abs() < 60);
        assert_eq!(told.last_refresh, None);
        let connected_at = told.created_at;
        vault.provider().will(vault.tokens().answer());
        let forced = vault_engine::pb::vault_v1::GetTokenRequest { force_refresh: true, ..get("rotating") };
        sync.call(forced).await.unwrap();
        let (tokens, _) = all(&sync, &sized(0)).await;
        assert_eq!((tokens[0].version, tokens[0].created_at), (3, connected_at));
        assert_eq!(tokens[0].last_refresh.as_ref().unwrap().outcome, "renewed");
    });
}

#[test]
fn what_was_deleted_and_what_belongs_to_others_is_not_listed() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        let foreign = StoreTokenRequest { tenant: "acme".to_owned(), ..vault.tokens().request("keeping", 3_600) };
        vault.as_engine("acme").call(foreign).await.unwrap();
        let (tokens, _) = all(&vault.as_engine("sync"), &sized(0)).await;
        assert_eq!(names(&tokens), [("u1".to_owned(), "rotating".to_owned())].into());
        let (tokens, _) = all(&vault.as_engine("acme"), &sized(0)).await;
        assert_eq!(names(&tokens), [("u1".to_owned(), "keeping".to_owned())].into());
    });
}

#[test]
fn a_listing_is_narrowed_by_platform_and_status() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("fixed", -60).await;
        vault.connect("unregistered", -60).await;
        let sync = vault.as_engine("sync");
        let list = async |platforms: &[&str], statuses: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let request = ListTokensRequest { platforms: words(platforms), statuses: words(statuses), ..sized(1) };
            all(&sync, &request).await.0
        };
        let plain = ("plain", "active", "");
        let fixed = ("fixed", "expired", "not_refreshable");
        let unregistered = ("unregistered", "expired", "app_misconfigured");
        assert_eq!(statuses(&list(&[], &[]).await), [plain, fixed, unregistered].into());
        assert_eq!(statuses(&list(&["plain", "fixed", "slack"], &[]).await), [plain, fixed].into());
        assert_eq!(statuses(&list(&[], &["expired"]).await), [fixed, unregistered].into());
        assert_eq!(statuses(&list(&["plain", "fixed"], &["expired"]).await), [fixed].into());
        assert_eq!(statuses(&list(&["slack"], &[]).await), [].into());
        assert_eq!(statuses(&list(&[], &["unreadable", "disabled"]).await), [].into());
    });
}

#[test]
fn a_connection_to_a_platform_that_was_disabled_is_listed_as_such() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        vault.configure("ENABLED_PLATFORMS", "[rotating]");
        vault.restart().await;
        let (tokens, _) = all(&vault.as_engine("sync"), &sized(0)).await;
        assert_eq!(statuses(&tokens), [("plain", "disabled", ""), ("rotating", "active", "")].into());
    });
}

#[test]
fn a_record_that_cannot_be_read_is_listed_as_such_and_hides_nothing() {
    spec(async |vault| {
        for user in ["u1", "u2", "u3"] {
            vault.connect_user(user, "plain", 3_600).await;
        }
        vault
            .while_stopped(async |store| {
                let key = |user: &str| {
                    let user = user.parse().unwrap();
                    let platform = "plain".parse().unwrap();
                    Address::Connection(ConnectionKey { tenant: "default".parse().unwrap(), user, platform })
                };
                let garbage = Record::from(bytes::Bytes::from_static(b"garbage"));
                store.put(&key("u1"), Expected::Version(Version(1)), garbage).await.unwrap();
                // A whole record, in a place it was not sealed for.
                let moved = store.get(&key("u3")).await.unwrap().unwrap();
                store.restore(&key("u2"), Version(2), moved.value.into()).await.unwrap();
            })
            .await;
        let sync = vault.as_engine("sync");
        let (tokens, _) = all(&sync, &sized(1)).await;
        let told: BTreeSet<_> =
            tokens.iter().map(|told| (told.user_id.as_str(), told.status.as_str(), told.reason.as_str())).collect();
        let expected =
            [("u1", "unreadable", "record_format"), ("u2", "unreadable", "record_commitment"), ("u3", "active", "")];
        assert_eq!(told, expected.into());
        let unreadable = tokens.iter().find(|told| told.user_id == "u1").unwrap();
        assert_eq!((unreadable.version, unreadable.suggested_action.as_str()), (0, "contact_operator"));
        let only = ListTokensRequest { statuses: vec!["unreadable".to_owned()], ..sized(0) };
        assert_eq!(all(&sync, &only).await.0.len(), 2);
    });
}

#[test]
fn a_page_token_is_good_for_its_own_listing_and_for_no_other() {
    spec(async |vault| {
        for user in ["u1", "u2", "u3"] {
            for (engine, tenant) in [("local", "default"), ("broker", "acme"), ("broker", "globex")] {
                let (user_id, tenant) = (user.to_owned(), tenant.to_owned());
                let request = StoreTokenRequest { user_id, tenant, ..vault.tokens().request("plain", 3_600) };
                vault.as_engine(engine).call(request).await.unwrap();
            }
        }
        let broker = vault.as_engine("broker");
        let first = ListTokensRequest { tenant: "acme".to_owned(), ..sized(1) };
        let page_token = broker.call(first.clone()).await.unwrap().next_page_token;
        let next = ListTokensRequest { page_token: page_token.clone(), ..first };
        let one = |text: &str| vec![text.to_owned()];
        // The size may change, and another instance, or this one after a restart, may be asked.
        vault.restart().await;
        let broker = vault.as_engine("broker");
        assert_eq!(broker.call(ListTokensRequest { page_size: 2, ..next.clone() }).await.unwrap().tokens.len(), 2);
        for wrong in [
            ListTokensRequest { tenant: "globex".to_owned(), ..next.clone() },
            ListTokensRequest { platforms: one("plain"), ..next.clone() },
            ListTokensRequest { statuses: one("active"), ..next.clone() },
        ] {
            let refused = broker.call(wrong).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, ["page_token"]);
        }
        let foreign = ListTokensRequest { tenant: String::new(), ..next.clone() };
        assert_eq!(vault.as_engine("sync").call(foreign).await.unwrap_err().fields, ["page_token"]);
    });
}

#[test]
fn an_altered_page_token_is_refused() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        let sync = vault.as_engine("sync");
        let token = sync.call(sized(1)).await.unwrap().next_page_token;
        let flipped = (0..token.len()).map(|at| {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        });
        let odd = ["x", "u1", "=", "../", "\u{0}", &token[1..], &token[..token.len() - 1], &"A".repeat(200_000)];
        let mut refused = 0;
        for page_token in flipped.chain(odd.map(str::to_owned)).chain([format!("{token}A"), format!(" {token}")]) {
            // The last character of base64 has bits that mean nothing; a token that differs only there is refused too.
            let answer = sync.call(ListTokensRequest { page_token, ..sized(1) }).await.unwrap_err();
            assert_eq!((answer.code, answer.fields), (Code::InvalidArgument, vec!["page_token".to_owned()]));
            refused += 1;
        }
        assert_eq!(refused, token.len() + 10);
    });
}

#[test]
fn what_is_asked_of_a_listing_has_bounds() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let many = |text: &str, number: usize| vec![text.to_owned(); number];
        let cases = [
            ("page_size", sized(-1)),
            ("page_size", sized(1_001)),
            ("page_size", sized(i32::MAX)),
            ("statuses", ListTokensRequest { statuses: many("missing", 1), ..sized(0) }),
            ("statuses", ListTokensRequest { statuses: many("Active", 1), ..sized(0) }),
            ("statuses", ListTokensRequest { statuses: many("active", 17), ..sized(0) }),
            ("platforms", ListTokensRequest { platforms: many("plain", 101), ..sized(0) }),
            ("platforms", ListTokensRequest { platforms: many("Plain", 1), ..sized(0) }),
        ];
        for (number, (field, request)) in cases.into_iter().enumerate() {
            let refused = sync.call(request).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"), "case {number}");
            assert_eq!(refused.fields, [field], "case {number}");
        }
    });
}

#[test]
fn the_line_about_a_page_says_how_many_were_told_of() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        vault.as_engine("sync").and("x-request-id", "r-1").call(sized(0)).await.unwrap();
        let line = vault.audit_of("r-1").await;
        assert_eq!((&line["action"], &line["tenant"], &line["items"]), (&"list".into(), &"default".into(), &2.into()));
        assert!(line["user"].is_null() && line["platform"].is_null());
    });
}
