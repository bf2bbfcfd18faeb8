//! A caller is answered while it still waits, whatever the store does.

use futures_util::future::join_all;
use tokio::time::Instant;
use tonic::Code;

use crate::harness::{Setup, get, until};
use crate::matrix::sound_requests;

#[test]
fn while_the_store_hangs_every_method_answers_within_the_deadline_and_writes_it_down() {
    Setup::default().on_redis().with("REGISTRY__ENABLED", "true").run(async |vault| {
        vault.connect("plain", 3_600).await;
        let [local, admin] = ["local", "admin"].map(|engine| vault.as_engine(engine).and("grpc-timeout", "2S"));
        let requests = sound_requests();
        vault.redis().pause();
        let mut refused = Vec::new();
        // Not all at once: what is measured is how long a call waits for the store, not for twenty others.
        for some in requests.chunks(7) {
            let calls = some.iter().map(async |(path, request)| {
                let began = Instant::now();
                let hurried = if path.starts_with("/vault.v1.Admin/") { &admin } else { &local };
                let refused = hurried.send(path, request.clone()).await.err().unwrap();
                (path, refused, began.elapsed())
            });
            refused.extend(join_all(calls).await);
        }
        vault.redis().resume();
        for (path, refused, waited) in refused {
            assert_eq!(refused.told(), (Code::Unavailable, "store_unavailable", "retry"), "{path}");
            assert!(refused.retry_after.is_some(), "{path}");
            assert!(waited.as_millis() < 2_000, "{path} took {waited:?}");
            let line = vault.audit_of(&refused.request_id).await;
            let told = (line["result"].as_str(), line["reason"].as_str());
            assert_eq!(told, (Some("failed"), Some("store_unavailable")), "{path}");
            if line["engine"] == "admin" {
                continue;
            }
            assert_eq!(line["engine"], "local", "{path}");
            assert_eq!(line["tenant"], "default", "{path}");
            let of_many = ["BatchGetStatus", "ListTokens", "WatchStatus"].iter().any(|method| path.ends_with(method));
            assert_eq!(line["user"].as_str(), (!of_many).then_some("u1"), "{path}");
        }
    });
}

#[test]
fn storing_again_what_found_the_store_hanging_stores_it() {
    Setup::default().on_redis().run(async |vault| {
        vault.connect("plain", 3_600).await;
        let (tokens, local) = (vault.tokens(), vault.as_engine("local"));
        let request = tokens.request("plain", 3_600);
        vault.redis().pause();
        let refused = local.clone().and("grpc-timeout", "500m").call(request.clone()).await.unwrap_err();
        vault.redis().resume();
        assert_eq!(refused.told(), (Code::Unavailable, "store_unavailable", "retry"));
        let stored = until("the store again", async || local.call(request.clone()).await.ok()).await;
        assert!(stored.replaced);
        assert_eq!(vault.as_engine("action").call(get("plain")).await.unwrap().access_token, tokens.access);
    });
}

#[test]
fn a_store_may_take_as_long_as_it_is_configured_to() {
    let patient = Setup::default().on_redis().with("STORE__REDIS__TIMEOUTS__COMMAND_MS", "9000");
    patient.run(async |vault| {
        let begun = Instant::now();
        vault.redis().ask(&[b"CLIENT", b"PAUSE", b"4600", b"ALL"]);
        vault.connect("plain", 3_600).await;
        assert!(begun.elapsed().as_millis() > 4_000, "nothing was waited for");
    });
}
