//! What is on the wire beside the API itself: health, reflection, request ids, and the limits of a message.

use futures_util::stream::iter;
use prost::Message as _;
use prost_reflect::{DescriptorPool, Kind};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use vault_engine::pb::DESCRIPTORS;
use vault_engine::pb::vault_v1::{GetTokenRequest, StoreTokenRequest};

use crate::harness::{Ask as _, Setup, get, spec};

const REQUEST_ID: &str = "x-request-id";

#[test]
fn anybody_may_ask_whether_the_vault_serves() {
    spec(async |vault| {
        let mut health = HealthClient::new(vault.as_nobody().channel());
        for service in ["", "vault.v1.TokenVault"] {
            let told = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
            assert_eq!(told.status(), ServingStatus::Serving, "`{service}`");
        }
        let unknown = health.check(HealthCheckRequest { service: "vault.v2".to_owned() }).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
    });
}

/// Asks for the services, in one of the two versions of the protocol: they have the same words and no type in common.
macro_rules! services {
    ($vault:expr, $version:ident) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = $version::ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new($vault.as_nobody().channel());
        match client.server_reflection_info(iter([request])).await {
            Err(status) => Err(status.code()),
            Ok(answers) => match answers.into_inner().message().await.unwrap().unwrap().message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    Ok(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
                }
                other => panic!("{other:?}"),
            },
        }
    }};
}

#[test]
fn in_development_the_api_describes_itself_to_anybody() {
    spec(async |vault| {
        for services in [services!(vault, v1).unwrap(), services!(vault, v1alpha).unwrap()] {
            assert!(services.contains(&"vault.v1.TokenVault".to_owned()), "{services:?}");
            assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
        }
    });
}

#[test]
fn switched_off_the_api_does_not_describe_itself() {
    Setup::default().with("REFLECTION", "false").run(async |vault| {
        assert_eq!(services!(vault, v1), Err(Code::Unimplemented));
        assert_eq!(services!(vault, v1alpha), Err(Code::Unimplemented));
    });
}

#[test]
fn a_caller_s_request_id_is_taken_over() {
    spec(async |vault| {
        let id = format!("A-z.0_9-{}", "x".repeat(56));
        let caller = vault.as_engine("local").and(REQUEST_ID, &id);
        assert_eq!(caller.call(get("plain")).await.unwrap_err().request_id, id);
        vault.connect("plain", 3_600).await;
        let answer = caller.send(GetTokenRequest::PATH, get("plain").encode_to_vec()).await.unwrap();
        assert_eq!(answer.request_id, id);
        let nobody = vault.as_nobody().and(REQUEST_ID, &id);
        assert_eq!(nobody.call(get("plain")).await.unwrap_err().request_id, id);
    });
}

#[test]
fn without_a_request_id_one_is_made_and_no_two_are_alike() {
    spec(async |vault| {
        let action = vault.as_engine("action");
        let (first, second) =
            (action.call(get("plain")).await.unwrap_err(), action.call(get("plain")).await.unwrap_err());
        for id in [&first.request_id, &second.request_id] {
            assert!(id.len() == 28 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
        assert_ne!(first.request_id, second.request_id);
    });
}

#[test]
fn a_request_id_that_is_none_is_replaced() {
    spec(async |vault| {
        let long = "x".repeat(65);
        for odd in ["", " ", "a b", "-a", "a/b", "a\"b", "a,b", "é", long.as_str()] {
            let refused = vault.as_engine("action").and(REQUEST_ID, odd).call(get("plain")).await.unwrap_err();
            assert_eq!(refused.request_id.len(), 28, "`{odd}` became `{}`", refused.request_id);
        }
    });
}

#[test]
fn a_message_larger_than_256_kib_is_not_read() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        for size in [257 * 1_024, 1_024 * 1_024, 3 * 1_024 * 1_024] {
            let request = StoreTokenRequest { user_id: "u".repeat(size), ..vault.tokens().request("plain", 0) };
            let refused = local.call(request).await.unwrap_err();
            let told = (Code::ResourceExhausted, "invalid_request", "fix_request");
            assert_eq!(refused.told(), told, "{size}");
            let line = vault.audit_of(&refused.request_id).await;
            let told = (line["engine"].as_str(), line["action"].as_str(), line["result"].as_str());
            assert_eq!(told, (Some("local"), Some("store"), Some("failed")));
            assert_eq!(line["reason"], "unreadable_request");
        }
    });
}

#[test]
fn bytes_that_are_no_message_are_refused_and_written_down() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let secret = vault.secret("garbage").into_bytes();
        // Field 1 is text, and these are not: a number, text beyond the end, bytes that are no UTF-8.
        let deep = vec![0x0b; 10_000];
        for garbage in [vec![0xff; 32], [&[0x08], &*secret].concat(), vec![0x0a, 0x7f], vec![0x0a, 1, 0xff], deep] {
            let refused = local.send(GetTokenRequest::PATH, garbage).await.err().unwrap();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"), "{refused:?}");
            assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "unreadable_request");
        }
    });
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    spec(async |vault| {
        let tokens = vault.connect("plain", 3_600).await;
        // Field 1000, text.
        let later = [get("plain").encode_to_vec(), vec![0xc2, 0x3e, 2, b'h', b'i']].concat();
        let answer = vault.as_engine("action").send(GetTokenRequest::PATH, later).await.unwrap();
        let answer = vault_engine::pb::vault_v1::GetTokenResponse::decode(answer.body).unwrap();
        assert_eq!(answer.access_token, tokens.access);
    });
}

#[test]
fn a_method_the_api_does_not_have_is_unimplemented_and_written_down() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let refused = local.send("/vault.v1.TokenVault/GetRefreshToken", Vec::new()).await.err().unwrap();
        assert_eq!(refused.code, Code::Unimplemented);
        let line = vault.audit_of(&refused.request_id).await;
        let told = (line["engine"].as_str(), line["action"].as_str(), line["reason"].as_str());
        assert_eq!(told, (Some("local"), Some("unknown"), Some("unknown_method")));
        for path in [
            "/vault.v1.tokenvault/GetToken",
            "/vault.v1.TokenVault/getToken",
            "/vault.v1.TokenVault/GetToken/",
            "/vault.v1.TokenVault/",
            "/vault.v1.TokenVault",
            "/vault.v1.TokenVaults/GetToken",
            "/GetToken",
            "/",
        ] {
            let refused = local.send(path, get("plain").encode_to_vec()).await.err().unwrap();
            assert_eq!(refused.code, Code::Unimplemented, "{path}");
        }
    });
}

#[test]
fn the_descriptors_say_what_the_documentation_says() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name("vault.v1.TokenVault").unwrap();
    assert!(service.methods().all(|method| !method.is_client_streaming()));
    let streams = service.methods().filter(prost_reflect::MethodDescriptor::is_server_streaming);
    assert_eq!(
        streams.map(|method| method.full_name().to_owned()).collect::<Vec<_>>(),
        ["vault.v1.TokenVault.WatchStatus"]
    );
    let request = pool.get_message_by_name("vault.v1.StoreTokenRequest").unwrap();
    let fields: Vec<_> = request.fields().map(|field| (field.number(), field.name().to_owned())).collect();
    let documented = ["user_id", "platform", "access_token", "refresh_token", "expires_at", "scopes"];
    for (number, name) in (1..).zip(documented) {
        assert!(fields.contains(&(number, name.to_owned())), "{number} is not {name}");
    }
    assert_eq!(request.get_field_by_name("expires_at").unwrap().kind(), Kind::Int64);
    assert!(request.get_field_by_name("scopes").unwrap().is_list());
}
