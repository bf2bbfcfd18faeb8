//! The status of many users in one call: of each what would have been said of it alone.

use tonic::Code;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Expected, Record, Store as _, Version};
use vault_engine::pb::vault_v1::{BatchGetStatusRequest, GetStatusRequest};

use crate::harness::{Setup, delete, spec, status};

fn batch(users: &[&str]) -> BatchGetStatusRequest {
    let user_ids = users.iter().map(|user| (*user).to_owned()).collect();
    BatchGetStatusRequest { user_ids, ..BatchGetStatusRequest::default() }
}

#[test]
fn each_user_is_told_of_as_if_asked_about_alone_in_the_order_of_the_request() {
    spec(async |vault| {
        vault.connect_user("zoe", "plain", 3_600).await;
        vault.connect_user("ann", "fixed", -60).await;
        vault.connect_user("ann", "rotating", 3_600).await;
        vault.connect("plain", 3_600).await;
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        let sync = vault.as_engine("sync");
        let users = ["zoe", "u1", "nobody", "ann"];
        for platforms in [vec![], vec!["plain".to_owned(), "fixed".to_owned(), "plain".to_owned()]] {
            let request = BatchGetStatusRequest { platforms: platforms.clone(), ..batch(&users) };
            let told = sync.call(request).await.unwrap().users;
            assert_eq!(told.iter().map(|told| told.user_id.as_str()).collect::<Vec<_>>(), users);
            for told in told {
                let alone = GetStatusRequest { user_id: told.user_id, platforms: platforms.clone(), ..status(&[]) };
                assert_eq!(told.connected_platforms, sync.call(alone).await.unwrap().connected_platforms);
                assert_eq!((told.error_code.as_str(), told.suggested_action.as_str()), ("", ""));
            }
        }
    });
}

#[test]
fn a_hundred_users_can_be_asked_about_each_once() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let names: Vec<String> = (0..101).map(|number| format!("user-{number}")).collect();
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(sync.call(batch(&users[..100])).await.unwrap().users.len(), 100);
        for wrong in [&users[..], &[], &["u1", "u2", "u1"]] {
            let refused = sync.call(batch(wrong)).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, ["user_ids"]);
        }
        let unknown = BatchGetStatusRequest { platforms: vec!["nowhere".to_owned()], ..batch(&["u1"]) };
        assert_eq!(sync.call(unknown).await.unwrap_err().fields, ["platform"]);
    });
}

#[test]
fn a_record_that_cannot_be_trusted_is_said_of_its_user_and_of_nobody_else() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect_user("ann", "plain", 3_600).await;
        vault
            .while_stopped(async |store| {
                let [tenant, user, platform] = ["default", "u1", "plain"];
                let key = ConnectionKey {
                    tenant: tenant.parse().unwrap(),
                    user: user.parse().unwrap(),
                    platform: platform.parse().unwrap(),
                };
                let garbage = Record::from(bytes::Bytes::from_static(b"garbage"));
                store.put(&Address::Connection(key), Expected::Version(Version(1)), garbage).await.unwrap();
            })
            .await;
        let sync = vault.as_engine("sync");
        let told = sync.call(batch(&["u1", "ann"])).await.unwrap().users;
        let [u1, ann] = &told[..] else { panic!("{told:?}") };
        assert_eq!((u1.error_code.as_str(), u1.suggested_action.as_str()), ("record_corrupt", "contact_operator"));
        assert!(u1.connected_platforms.is_empty());
        assert_eq!((ann.error_code.as_str(), ann.connected_platforms.len()), ("", 10));
        assert_eq!(
            sync.call(status(&[])).await.unwrap_err().told(),
            (Code::DataLoss, "record_corrupt", "contact_operator")
        );
    });
}

#[test]
fn the_line_about_a_batch_says_how_many_were_told_of() {
    spec(async |vault| {
        let caller = vault.as_engine("sync").and("x-request-id", "r-1");
        caller.call(batch(&["u1", "u2", "u3"])).await.unwrap();
        let line = vault.audit_of("r-1").await;
        assert_eq!(
            (&line["action"], &line["tenant"], &line["items"]),
            (&"status".into(), &"default".into(), &3.into())
        );
        assert!(line["user"].is_null());
    });
}

#[test]
fn each_user_costs_one_round_trip_to_the_store() {
    Setup::default().on_redis().run(async |vault| {
        let users = ["u1", "u2", "u3"];
        for user in users {
            vault.connect_user(user, "plain", 3_600).await;
        }
        let sync = vault.as_engine("sync");
        sync.call(batch(&users)).await.unwrap();
        let before = vault.store_calls();
        sync.call(batch(&users)).await.unwrap();
        let asked = vault.store_calls_since(&before);
        assert_eq!(asked.into_iter().collect::<Vec<_>>(), [("hgetall".to_owned(), 3)]);
    });
}
