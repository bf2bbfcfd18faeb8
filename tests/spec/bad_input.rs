//! Requests out of bounds: refused with the field that is wrong, before anything is looked up, and never echoed.

use prost::Message as _;
use tonic::Code;
use vault_engine::pb::vault_v1::{
    BatchGetStatusRequest, DeleteTokenRequest, GetStatusRequest, GetTokenRequest, StoreTokenRequest,
};

use crate::harness::{Ask as _, Caller, Refused, Setup, delete, get, spec, status};

/// What has no place in any name.
const FRAGMENTS: [&str; 40] = [
    "/",
    "\\",
    ":",
    ";",
    ",",
    "*",
    "?",
    "#",
    "%",
    "&",
    "!",
    "$",
    "'",
    "\"",
    "`",
    "<",
    ">",
    "(",
    "[",
    "{",
    "}",
    "^",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\u{7f}",
    "\u{1b}[31m",
    "%2e%2e%2f",
    "../",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "а",
    "é",
    "ﬁ",
    "İ",
    "𝐚",
    "\u{301}",
];

/// 200 texts that look like names and are none.
fn hostile() -> Vec<String> {
    let placed = FRAGMENTS.iter().flat_map(|fragment| {
        ["u1".to_owned(), String::new()].into_iter().flat_map(move |name| {
            let alone = name.is_empty();
            let around = [format!("{name}{fragment}"), format!("{fragment}{name}"), format!("u{fragment}1")];
            around.into_iter().skip(usize::from(alone) * 2)
        })
    });
    let whole = [
        "..",
        ".",
        "\u{0}\u{0}",
        "\u{fffd}",
        "default/u1:plain",
        "u1:plain",
        "{u1}",
        "#key:1",
        "#keyring",
        "${HOME}",
        "{{7*7}}",
        "'; DROP TABLE records;--",
        "u1\r\nHSET vault x",
        "\u{2025}",
        "\u{ff0e}\u{ff0e}",
        "u1\u{ad}",
        "\u{e000}",
        "-\u{2028}-",
        "ｕ１",
        "u1\u{0}gmail",
    ];
    let long = [129, 130, 255, 256, 1_000, 1_024, 4_096, 16_384, 65_536, 100_000].map(|length| "x".repeat(length));
    let wide = [33, 64, 128, 1_000, 10_000].map(|length| "é".repeat(length));
    let padded = [" u1", "u1 ", "\tu1", "u1\n", "\u{a0}u1"].map(str::to_owned);
    placed.chain(whole.map(str::to_owned)).chain(long).chain(wide).chain(padded).collect()
}

/// Every method with these three names, and what user and platform are called in it.
fn requests(tenant: &str, user: &str, platform: &str) -> [(&'static str, [&'static str; 2], Vec<u8>); 5] {
    let (tenant, user_id, platform) = (tenant.to_owned(), user.to_owned(), platform.to_owned());
    let store = StoreTokenRequest {
        tenant: tenant.clone(),
        user_id: user_id.clone(),
        platform: platform.clone(),
        access_token: "a".to_owned(),
        ..StoreTokenRequest::default()
    };
    let get = GetTokenRequest {
        tenant: tenant.clone(),
        user_id: user_id.clone(),
        platform: platform.clone(),
        ..GetTokenRequest::default()
    };
    let platforms = vec![platform.clone()];
    let (user_ids, also) = (vec!["u0".to_owned(), user_id.clone()], platforms.clone());
    let batch = BatchGetStatusRequest { tenant: tenant.clone(), user_ids, platforms: also };
    let status = GetStatusRequest { tenant: tenant.clone(), user_id: user_id.clone(), platforms };
    let delete = DeleteTokenRequest { tenant, user_id, platform };
    [
        (StoreTokenRequest::PATH, ["user_id", "platform"], store.encode_to_vec()),
        (GetTokenRequest::PATH, ["user_id", "platform"], get.encode_to_vec()),
        (GetStatusRequest::PATH, ["user_id", "platforms"], status.encode_to_vec()),
        (BatchGetStatusRequest::PATH, ["user_ids", "platforms"], batch.encode_to_vec()),
        (DeleteTokenRequest::PATH, ["user_id", "platform"], delete.encode_to_vec()),
    ]
}

async fn refused(caller: &Caller, path: &str, message: Vec<u8>, name: &str) -> Refused {
    let answer = caller.send(path, message).await;
    answer.err().unwrap_or_else(|| panic!("{path} took `{}`", name.escape_debug()))
}

#[test]
fn there_are_200_hostile_names() {
    assert_eq!(hostile().len(), 200);
}

#[test]
fn no_hostile_user_gets_to_the_store() {
    Setup::default().on_redis().run(async |vault| {
        let (local, before) = (vault.as_engine("local"), vault.store_calls());
        for name in hostile().iter().map(String::as_str).chain([""]) {
            for (path, [field, _], message) in requests("", name, "plain") {
                let refused = refused(&local, path, message, name).await;
                assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
                assert_eq!(refused.fields, [field], "{path}");
            }
        }
        let calls = vault.store_calls_since(&before);
        assert!(calls.is_empty(), "{calls:?}");
    });
}

#[test]
fn no_hostile_platform_gets_to_the_store() {
    const ODD: [&str; 9] = ["", "Gmail", "PLAIN", "-plain", "_plain", "plain.", "pla@in", "pla+in", "plain~"];
    Setup::default().on_redis().run(async |vault| {
        let (local, before) = (vault.as_engine("local"), vault.store_calls());
        for name in hostile().iter().map(String::as_str).chain(ODD) {
            for (path, [_, field], message) in requests("", "u1", name) {
                let refused = refused(&local, path, message, name).await;
                assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
                assert_eq!(refused.fields, [field], "{path}");
            }
        }
        let calls = vault.store_calls_since(&before);
        assert!(calls.is_empty(), "{calls:?}");
    });
}

/// Not `INVALID_ARGUMENT`: who may goes before what is sound, and a name that is no tenant's is told apart from somebody
/// else's by nobody.
#[test]
fn a_hostile_tenant_is_a_foreign_one_and_does_not_get_to_the_store() {
    Setup::default().on_redis().run(async |vault| {
        let (local, before) = (vault.as_engine("local"), vault.store_calls());
        for name in hostile().iter().map(String::as_str).chain(["Default", "default.", "system", "acme"]) {
            for (path, _, message) in requests(name, "u1", "plain") {
                let refused = refused(&local, path, message, name).await;
                assert_eq!(refused.told(), (Code::PermissionDenied, "not_permitted", "contact_operator"));
            }
        }
        let calls = vault.store_calls_since(&before);
        assert!(calls.is_empty(), "{calls:?}");
    });
}

#[test]
fn a_name_of_every_allowed_character_is_a_name() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let longest = "x".repeat(128);
        for user in ["Ann.B_c@example.com+tag|1=2~3-4", "...", "-", "0", &longest] {
            let tokens = vault.tokens();
            let request = StoreTokenRequest { user_id: user.to_owned(), ..tokens.request("plain", 3_600) };
            local.call(request).await.unwrap();
            let got = local.call(GetTokenRequest { user_id: user.to_owned(), ..get("plain") }).await.unwrap();
            assert_eq!(got.access_token, tokens.access, "{user}");
        }
    });
}

#[test]
fn users_that_differ_in_case_are_two_users() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let shouted = GetTokenRequest { user_id: "U1".to_owned(), ..get("plain") };
        assert_eq!(vault.as_engine("action").call(shouted).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn what_is_stored_has_bounds() {
    spec(async |vault| {
        let (sync, sound) = (vault.as_engine("sync"), vault.tokens().request("plain", 3_600));
        let huge = "t".repeat(32 * 1_024 + 1);
        let scopes = |scope: &str, number: usize| vec![scope.to_owned(); number];
        let cases = [
            ("access_token", StoreTokenRequest { access_token: String::new(), ..sound.clone() }),
            ("access_token", StoreTokenRequest { access_token: huge.clone(), ..sound.clone() }),
            ("access_token", StoreTokenRequest { access_token: "a\r\nb".to_owned(), ..sound.clone() }),
            ("access_token", StoreTokenRequest { access_token: "tokén".to_owned(), ..sound.clone() }),
            ("refresh_token", StoreTokenRequest { refresh_token: huge, ..sound.clone() }),
            ("refresh_token", StoreTokenRequest { refresh_token: "r\0".to_owned(), ..sound.clone() }),
            ("expires_at", StoreTokenRequest { expires_at: -1, ..sound.clone() }),
            ("expires_at", StoreTokenRequest { expires_at: i64::MAX, ..sound.clone() }),
            // Milliseconds where seconds belong.
            ("expires_at", StoreTokenRequest { expires_at: 1_700_000_000_000, ..sound.clone() }),
            ("scopes", StoreTokenRequest { scopes: scopes("s", 129), ..sound.clone() }),
            ("scopes", StoreTokenRequest { scopes: scopes(&"s".repeat(513), 1), ..sound.clone() }),
            ("scopes", StoreTokenRequest { scopes: scopes("", 1), ..sound.clone() }),
            ("scopes", StoreTokenRequest { scopes: scopes("two words", 1), ..sound.clone() }),
            ("token_type", StoreTokenRequest { token_type: "x".repeat(65), ..sound.clone() }),
            ("token_type", StoreTokenRequest { token_type: "Bear er".to_owned(), ..sound.clone() }),
        ];
        for (number, (field, request)) in cases.into_iter().enumerate() {
            let refused = sync.call(request).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"), "case {number}");
            assert_eq!(refused.fields, [field], "case {number}");
        }
    });
}

#[test]
fn what_is_at_the_bounds_is_stored_and_handed_out() {
    spec(async |vault| {
        let padded = |secret: &str| format!("{secret:t<width$}", width = 32 * 1_024);
        let tokens = vault.tokens();
        let request = StoreTokenRequest {
            access_token: padded(&tokens.access),
            refresh_token: padded(&tokens.refresh),
            expires_at: 253_402_300_799,
            scopes: vec!["s".repeat(512); 128],
            token_type: "x".repeat(64),
            ..tokens.request("plain", 0)
        };
        vault.as_engine("sync").call(request.clone()).await.unwrap();
        let got = vault.as_engine("action").call(get("plain")).await.unwrap();
        assert!(got.access_token == request.access_token);
        assert_eq!(
            (got.expires_at, got.scopes, got.token_type),
            (request.expires_at, request.scopes, request.token_type)
        );
    });
}

#[test]
fn a_snapshot_can_be_asked_of_a_thousand_platforms_and_no_more() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let told = sync.call(status(&["plain"; 1_000])).await.unwrap().connected_platforms;
        assert_eq!(told.len(), 1);
        let refused = sync.call(status(&["plain"; 1_001])).await.unwrap_err();
        assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["platforms".to_owned()]));
    });
}

#[test]
fn nothing_of_a_bad_request_is_in_the_answer() {
    spec(async |vault| {
        // The leak check after the test looks for them in every answer, the log and the trail.
        let odd = || format!("{}\n", vault.secret("field"));
        let local = vault.as_engine("local");
        let sound = vault.tokens().request("plain", 3_600);
        for request in [
            StoreTokenRequest { user_id: odd(), ..sound.clone() },
            StoreTokenRequest { platform: odd(), ..sound.clone() },
            StoreTokenRequest { tenant: odd(), ..sound.clone() },
            StoreTokenRequest { access_token: odd(), ..sound.clone() },
            StoreTokenRequest { refresh_token: odd(), ..sound.clone() },
            StoreTokenRequest { scopes: vec![odd()], ..sound.clone() },
            StoreTokenRequest { token_type: odd(), ..sound.clone() },
        ] {
            local.call(request).await.unwrap_err();
        }
        local.call(DeleteTokenRequest { user_id: odd(), ..delete("plain") }).await.unwrap_err();
        local.call(status(&[&odd()])).await.unwrap_err();
        local.clone().and("x-request-id", odd().trim_end()).call(get("plain")).await.unwrap_err();
    });
}
