//! Records that somebody changed who can write to the store: noticed, told apart from absence, and an alarm.

use std::collections::BTreeSet;

use redb::{Database, ReadableTable as _, TableDefinition};
use tonic::Code;
use vault_engine::pb::vault_v1::{GetTokenRequest, StoreTokenRequest};

use crate::harness::{Refused, Setup, Vault, delete, get, spec, status};
use crate::provider::Answer;

fn on_redis(test: impl AsyncFnOnce(&Vault)) {
    Setup::default().on_redis().run(test);
}

#[track_caller]
fn is_data_loss(refused: &Refused, what: &str) {
    let told = (Code::DataLoss, "record_corrupt", "contact_operator");
    assert_eq!(refused.told(), told, "{what}");
    assert_eq!(refused.retry_after, None, "{what}");
}

/// Every method says so, and nothing is handed out.
async fn is_lost(vault: &Vault, reason: &str) {
    let local = vault.as_engine("local");
    is_data_loss(&local.call(get("plain")).await.unwrap_err(), "GetToken");
    is_data_loss(&local.call(status(&[])).await.unwrap_err(), "GetStatus");
    is_data_loss(&local.call(delete("plain")).await.unwrap_err(), "DeleteToken");
    is_data_loss(&local.call(vault.tokens().request("plain", 3_600)).await.unwrap_err(), "StoreToken");
    let alarms: BTreeSet<_> = vault.alarms().into_iter().collect();
    assert_eq!(alarms, BTreeSet::from([("record_corrupt".to_owned(), reason.to_owned())]));
    let alarms = vault.alarms().len();
    assert_eq!(alarms, 4, "one alarm for each call");
}

/// Where the hints stand. They are not sealed, and so nobody answers by them.
const HINTS: std::ops::Range<usize> = 9..20;

#[test]
fn any_flipped_bit_is_noticed() {
    on_redis(async |vault| {
        let tokens = vault.connect("plain", 3_600).await;
        let (action, drawer) = (vault.as_engine("action"), vault.drawer("default", "u1"));
        let sound = drawer.read("plain");
        assert!(sound.len() > 200);
        for at in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            drawer.write("plain", &flipped);
            let answer = action.call(get("plain")).await;
            if HINTS.contains(&at) {
                assert_eq!(answer.unwrap().access_token, tokens.access, "byte {at} of {}", sound.len());
            } else {
                is_data_loss(&answer.unwrap_err(), &format!("byte {at} of {}", sound.len()));
            }
        }
        assert_eq!(vault.alarms().len(), sound.len() - HINTS.len());
        drawer.write("plain", &sound);
        assert_eq!(action.call(get("plain")).await.unwrap().access_token, tokens.access);
    });
}

#[test]
fn a_status_that_was_told_before_is_told_of_no_other_record() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let (local, drawer) = (vault.as_engine("local"), vault.drawer("default", "u1"));
        let told = async || local.call(status(&["plain"])).await;
        let before = told().await.unwrap();
        let sound = drawer.read("plain");
        for at in (0..sound.len()).filter(|at| !HINTS.contains(at)) {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            drawer.write("plain", &flipped);
            is_data_loss(&told().await.unwrap_err(), &format!("byte {at} of {}", sound.len()));
        }
        drawer.write("plain", &sound);
        assert_eq!(told().await.unwrap(), before);
        assert!(local.call(delete("plain")).await.is_ok());
        assert_eq!(told().await.unwrap().connected_platforms[0].status, "missing");
    });
}

#[test]
fn any_other_length_is_noticed() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let (action, drawer) = (vault.as_engine("action"), vault.drawer("default", "u1"));
        let sound = drawer.read("plain");
        let shorter = (0..sound.len()).map(|length| sound[..length].to_vec());
        let longer = (1..20).map(|more| [&*sound, &vec![0; more]].concat());
        for bytes in shorter.chain(longer) {
            drawer.write("plain", &bytes);
            is_data_loss(&action.call(get("plain")).await.unwrap_err(), &format!("{} bytes", bytes.len()));
        }
    });
}

#[test]
fn whatever_is_asked_of_a_damaged_record_the_answer_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let mut bytes = drawer.read("plain");
        *bytes.last_mut().unwrap() ^= 1;
        drawer.write("plain", &bytes);
        is_lost(vault, "record_tag").await;
    });
}

#[test]
fn a_deleted_row_is_data_loss_and_not_missing() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.drawer("default", "u1").remove("plain");
        is_lost(vault, "record_vanished").await;
    });
}

#[test]
fn a_user_whose_every_row_is_gone_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.drawer("default", "u1").remove_all();
        is_lost(vault, "record_vanished").await;
    });
}

#[test]
fn a_deletion_that_is_undone_by_removing_its_row_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        vault.drawer("default", "u1").remove("plain");
        is_lost(vault, "record_vanished").await;
    });
}

#[test]
fn an_older_version_of_a_record_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let older = drawer.read("plain");
        vault.connect("plain", 3_600).await;
        drawer.write("plain", &older);
        is_lost(vault, "record_rollback").await;
    });
}

#[test]
fn a_record_that_went_back_and_was_written_again_is_data_loss_where_newer_tokens_were_seen() {
    on_redis(async |vault| {
        let older_tokens = vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let older = drawer.read("plain");
        vault.connect("plain", 3_600).await;
        drawer.write("plain", &older);
        vault.start_another().await;
        // Writes twice: that it refreshes, and that it could not.
        vault.provider().will(Answer::text(503, "busy"));
        let other = vault.as_engine_of_another("action");
        other.call(GetTokenRequest { force_refresh: true, ..get("plain") }).await.unwrap_err();
        let told = other.call(get("plain")).await.unwrap();
        assert_eq!(told.access_token, older_tokens.access, "the other instance has never seen newer ones");
        is_lost(vault, "record_rollback").await;
    });
}

#[test]
fn a_token_does_not_come_back_from_before_its_deletion() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let older = drawer.read("plain");
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        drawer.write("plain", &older);
        is_lost(vault, "record_rollback").await;
    });
}

#[test]
fn an_older_record_under_a_newer_version_is_noticed() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let older = drawer.read("plain");
        vault.connect("plain", 3_600).await;
        let newer = drawer.read("plain");
        // The version is the nine bytes before what is sealed.
        drawer.write("plain", &[&newer[..9], &older[9..]].concat());
        is_lost(vault, "record_commitment").await;
    });
}

#[test]
fn the_record_of_another_user_opens_for_nobody() {
    on_redis(async |vault| {
        let local = vault.as_engine("local");
        vault.connect("plain", 3_600).await;
        let other = StoreTokenRequest { user_id: "u2".to_owned(), ..vault.tokens().request("plain", 3_600) };
        local.call(other).await.unwrap();
        let theirs = vault.drawer("default", "u2").read("plain");
        vault.drawer("default", "u1").write("plain", &theirs);
        is_lost(vault, "record_commitment").await;
    });
}

#[test]
fn the_record_of_another_user_does_not_open_with_that_user_s_key_beside_it() {
    on_redis(async |vault| {
        let local = vault.as_engine("local");
        vault.connect("plain", 3_600).await;
        let other = StoreTokenRequest { user_id: "u2".to_owned(), ..vault.tokens().request("plain", 3_600) };
        local.call(other).await.unwrap();
        for field in ["plain", "#key:1"] {
            let theirs = vault.drawer("default", "u2").read(field);
            vault.drawer("default", "u1").write(field, &theirs);
        }
        // With nothing in memory.
        vault.restart().await;
        is_lost(vault, "record_commitment").await;
    });
}

#[test]
fn the_record_of_another_platform_opens_for_nobody() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let others = drawer.read("rotating");
        drawer.write("plain", &others);
        is_lost(vault, "record_commitment").await;
    });
}

#[test]
fn the_record_of_another_tenant_opens_for_nobody() {
    on_redis(async |vault| {
        let broker = vault.as_engine("broker");
        for tenant in ["acme", "globex"] {
            let request = vault.tokens().request("plain", 3_600);
            broker.call(StoreTokenRequest { tenant: tenant.to_owned(), ..request }).await.unwrap();
        }
        for field in ["plain", "#key:1"] {
            let theirs = vault.drawer("globex", "u1").read(field);
            vault.drawer("acme", "u1").write(field, &theirs);
        }
        vault.restart().await;
        let stolen = GetTokenRequest { tenant: "acme".to_owned(), ..get("plain") };
        is_data_loss(&vault.as_engine("broker").call(stolen).await.unwrap_err(), "the other tenant's record");
    });
}

#[test]
fn damage_to_one_platform_leaves_the_tokens_of_the_others() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let other = vault.connect("rotating", 3_600).await;
        vault.drawer("default", "u1").write("plain", b"nonsense");
        let local = vault.as_engine("local");
        assert_eq!(local.call(get("rotating")).await.unwrap().access_token, other.access);
        let told = local.call(status(&["rotating"])).await;
        // A drawer with something in it that no vault wrote is not read in part.
        is_data_loss(&told.unwrap_err(), "GetStatus");
    });
}

#[test]
fn a_damaged_user_key_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.drawer("default", "u1");
        let mut key = drawer.read("#key:1");
        *key.last_mut().unwrap() ^= 1;
        drawer.write("#key:1", &key);
        vault.restart().await;
        is_lost(vault, "record_tag").await;
    });
}

#[test]
fn a_missing_user_key_is_data_loss() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.drawer("default", "u1").remove("#key:1");
        vault.restart().await;
        let local = vault.as_engine("local");
        is_data_loss(&local.call(get("plain")).await.unwrap_err(), "GetToken");
        is_data_loss(&local.call(status(&[])).await.unwrap_err(), "GetStatus");
        let alarms: BTreeSet<_> = vault.alarms().into_iter().collect();
        assert_eq!(alarms, BTreeSet::from([("record_corrupt".to_owned(), "record_key_missing".to_owned())]));
    });
}

#[test]
fn a_damaged_tenant_key_hands_out_nothing() {
    on_redis(async |vault| {
        vault.connect("plain", 3_600).await;
        let drawer = vault.tenant_drawer("default");
        let mut keyring = drawer.read("#keyring");
        // What stands at either end is not the key.
        let middle = keyring.len() / 2;
        keyring[middle] ^= 1;
        drawer.write("#keyring", &keyring);
        vault.restart().await;
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert!(matches!(refused.code, Code::DataLoss | Code::FailedPrecondition), "{refused:?}");
        assert_ne!(refused.suggested_action, "reauth");
    });
}

#[test]
fn damage_done_to_the_file_while_the_vault_was_stopped_is_noticed() {
    const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let damage = |vault: &Vault| {
            let file = Database::open(vault.store_file()).unwrap();
            let transaction = file.begin_write().unwrap();
            {
                let mut records = transaction.open_table(RECORDS).unwrap();
                let mut bytes = records.get(b"default/u1:plain".as_slice()).unwrap().unwrap().value().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                records.insert(b"default/u1:plain".as_slice(), bytes.as_slice()).unwrap();
            }
            transaction.commit().unwrap();
        };
        vault.restart_after(damage).await;
        is_lost(vault, "record_tag").await;
    });
}
