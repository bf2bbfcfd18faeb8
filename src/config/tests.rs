//! What a configuration may say, and how every fault in it is told.

use std::os::unix::fs::PermissionsExt as _;

use secrecy::ExposeSecret as _;
use serde_yaml::Value;

use super::*;
use crate::domain::limits::Rate;
use crate::domain::method::Action;
use crate::domain::policy::{Effect, Named};

const SAMPLE: &str = include_str!("../../deploy/config.sample.yaml");

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), pairs(variables))
}

fn pairs(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

/// The faults, one per line, without the folder of the file.
fn faults(text: &str, variables: &[(&str, &str)]) -> String {
    match load(text, variables) {
        Ok(_) => panic!("`{text}` with {variables:?} was accepted"),
        Err(faults) => faults
            .into_iter()
            .map(|fault| {
                let file = fault.file.as_ref().and_then(|file| file.file_name()).map(PathBuf::from);
                Fault { file, ..fault }.to_string()
            })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn dev(more: &str) -> String {
    format!("environment: dev\n{more}\n")
}

/// The sample with everything switched on that is commented out in it.
fn uncommented() -> String {
    let key = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let nested = |line: &&str| line.starts_with("#  ") && !line.starts_with("#   {");
    let lines =
        SAMPLE.lines().map(|line| if key(&line) || nested(&line) { line.replacen('#', "", 1) } else { line.into() });
    lines.collect::<Vec<String>>().join("\n")
}

#[test]
fn the_sample_says_the_defaults() {
    let sample = load(SAMPLE, &[]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let defaults = Config::load(None, pairs(&[("VAULT_ENGINE_ENVIRONMENT", "dev")])).unwrap();
    assert_eq!(format!("{sample:#?}"), format!("{defaults:#?}"));
}

#[test]
fn everything_the_sample_offers_can_be_switched_on() {
    let secrets = [
        ("VAULT_ENGINE_SECRET_POSTGRES", "p"),
        ("VAULT_ENGINE_SECRET_REDIS", "r"),
        ("VAULT_ENGINE_SECRET_SENTINEL", "s"),
        ("VAULT_ENGINE_SECRET_GOOGLE", "g"),
        ("VAULT_ENGINE_SECRET_MICROSOFT", "m"),
        ("VAULT_ENGINE_STORE__KIND", "redis"),
        ("VAULT_ENGINE_KMS__PROVIDER", "aws"),
    ];
    let config = load(&uncommented(), &secrets).unwrap_or_else(|faults| panic!("{faults:#?}\n{}", uncommented()));
    let StoreConfig::Redis(redis) = &config.store else { panic!("{:?}", config.store) };
    assert_eq!(redis.password.as_ref().unwrap().expose_secret(), "r");
    assert!(redis.tls.as_ref().unwrap().client.is_some());
    assert!(matches!(&config.kms, KmsConfig::Aws(aws) if aws.endpoint.is_some()));
    let [engine] = &config.engines[..] else { panic!("{:?}", config.engines) };
    let rules: Vec<_> = engine.policy.rules().iter().map(|rule| (rule.effect, rule.actions.clone())).collect();
    let own = Named::Only([Action::Get, Action::Status].into());
    assert_eq!(rules, [(Effect::Allow, own), (Effect::Deny, Named::All)]);
    assert_eq!(engine.limits.rate, Rate::new(200, 400));
    assert_eq!(config.platforms[&"google".parse().unwrap()].client_secrets[0].expose(), "g");
    assert_eq!(config.platforms[&"microsoft".parse().unwrap()].vars["tenant"], "organizations");
    assert_eq!(config.enabled_platforms.unwrap().len(), 2);
    assert!(config.profiles_dir.is_some());
}

/// All groups of keys in a document, with the keys in each.
fn groups(value: &Value, path: &[String], found: &mut Vec<(Vec<String>, Vec<String>)>) {
    let Value::Mapping(entries) = value else { return };
    let keys: Vec<String> = entries.keys().map(|key| key.as_str().unwrap().to_owned()).collect();
    found.push((path.to_vec(), keys));
    for (key, value) in entries {
        groups(value, &[path, &[key.as_str().unwrap().to_owned()]].concat(), found);
    }
}

/// The keys that may stand in a group, as somebody is told who wrote one that may not. `None`: there every name may.
fn known_in(document: &Value, group: &[String]) -> Option<Vec<String>> {
    let mut document = document.clone();
    let place = group.iter().fold(&mut document, |place, key| &mut place[key.as_str()]);
    place["0000000000"] = Value::Null;
    let told = faults(&serde_yaml::to_string(&document).unwrap(), &[]);
    let path = [group, &["0000000000".to_owned()]].concat().join(".");
    let line = told.lines().find(|line| line.contains(&format!(" {path}: is not a known key")))?;
    let (_, known) = line.split_once("known here: ")?;
    Some(known.split(", ").map(str::to_owned).collect())
}

#[test]
fn the_sample_has_every_key_there_is() {
    let sample: Value = serde_yaml::from_str(&uncommented()).unwrap();
    let mut found = Vec::new();
    groups(&sample, &[], &mut found);
    let (mut compared, mut missing) = (0, Vec::new());
    for (group, keys) in &found {
        let Some(known) = known_in(&sample, group) else { continue };
        let shown = |key: &String| match group.as_slice() {
            // Of several examples one is enough, and none has the key that says where secrets belong instead.
            [first, _] if first == "platforms" => {
                let mut examples = found.iter().filter(|(path, _)| path.len() == 2 && path.first() == Some(first));
                examples.any(|(_, keys)| keys.contains(key)) || key == "client_secret"
            }
            _ => keys.contains(key),
        };
        missing.extend(known.iter().filter(|key| !shown(key)).map(|key| format!("{}.{key}", group.join("."))));
        compared += 1;
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(compared > 20, "{compared} groups");
}

#[test]
fn what_is_forgotten_does_not_weaken_an_installation() {
    let all = faults("", &[]);
    assert!(all.contains("kms.provider: keeps the key beside what it protects"), "{all}");
    let config = load("kms: { provider: aws, aws: { key_id: alias/vault } }", &[]).unwrap();
    assert_eq!(config.environment.as_str(), "prod");
    assert!(!config.is_development() && !config.server.reflection && !config.outbound.allow_loopback);
    assert!(config.server.listen.ip().is_loopback());
    assert!(load("kms: { local: { accept_in_production: true } }", &[]).is_ok());
    assert!(faults("outbound: { allow_loopback: true }", &[]).contains("outbound.allow_loopback: is for development"));
}

#[test]
fn all_faults_are_reported_at_once_with_their_lines() {
    let all = faults("environment: Dev\nlisten: localhost:1\nstore:\n  knd: redis\nlog:\n  level: loud\n", &[]);
    for expected in [
        "config.yaml:1: environment: may contain only a-z 0-9 -",
        "config.yaml:2: listen: must be an IP address with a port — write `127.0.0.1:50051`",
        "config.yaml:4: store.knd: is not a known key — did you mean `kind`?",
        "config.yaml:6: log.level: must be one of `error`, `warn`, `info`, `debug`, `trace`",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
}

#[test]
fn only_loopback_is_served_without_tls_unless_that_is_accepted() {
    for listen in ["0.0.0.0:50051", "10.0.0.1:1", "\"[::]:1\""] {
        assert!(faults(&dev(&format!("listen: {listen}")), &[]).contains("because there is no `tls`"), "{listen}");
    }
    assert!(load(&dev("listen: \"[::1]:1\""), &[]).is_ok());
    assert!(load(&dev("listen: 0.0.0.0:1\nallow_plaintext: true"), &[]).is_ok());
    let tls = "tls: { cert_file: /c, key_file: /k }";
    assert!(load(&dev(&format!("listen: 0.0.0.0:1\n{tls}")), &[]).is_ok());
    assert!(faults(&dev(&format!("allow_plaintext: true\n{tls}")), &[]).contains("has no place beside `tls`"));
}

#[test]
fn certificates_of_callers_are_asked_for_where_they_can_be_checked() {
    let tls = |more: &str| dev(&format!("tls: {{ cert_file: /c, key_file: /k{more} }}"));
    let asked = |more: &str| load(&tls(more), &[]).unwrap().tls.unwrap().client_certificates;
    assert_eq!(asked(""), ClientCertificates::None);
    assert_eq!(asked(", client_ca_file: /a"), ClientCertificates::Required);
    assert_eq!(asked(", trust_domains: { prod.example: /a }"), ClientCertificates::Required);
    assert_eq!(asked(", client_ca_file: /a, client_certificates: optional"), ClientCertificates::Optional);
    assert!(faults(&tls(", client_certificates: required"), &[]).contains("cannot be checked without authorities"));
    assert!(faults(&tls(", client_ca_file: /a, client_certificates: none"), &[]).contains("there are authorities"));
    assert!(faults(&tls(", trust_domains: { Prod: /a }"), &[]).contains("is not a trust domain"));
    assert!(faults(&dev("tls: { cert_file: /c }"), &[]).contains("tls.key_file: must be given"));
    assert!(load(&dev(""), &[]).unwrap().tls.is_none());
}

#[test]
fn an_engine_is_bound_only_to_workloads_that_can_prove_themselves() {
    let engine = |ids: &str| {
        let key = "keys: [{ id: k, verifier: 0123456789abcdef }]";
        let domains = "tls: { cert_file: /c, key_file: /k, trust_domains: { prod.example: /a } }";
        dev(&format!("{domains}\nengines: [{{ id: e, actions: [get], spiffe_ids: [{ids}], {key} }}]"))
    };
    let bound = load(&engine("spiffe://prod.example/a, spiffe://prod.example/b"), &[]).unwrap();
    assert_eq!(bound.engines[0].spiffe_ids.len(), 2);
    assert!(faults(&engine("spiffe://test.example/a"), &[]).contains("add `test.example` to `tls.trust_domains`"));
    assert!(faults(&engine("spiffe://prod.example"), &[]).contains("spiffe_ids[0]: may contain only"));
}

#[test]
fn a_key_that_others_can_read_is_refused_wherever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "").unwrap();
    let key = key.display().to_string();
    let sections = [
        format!("tls: {{ cert_file: /c, key_file: {key} }}"),
        format!("store: {{ redis: {{ url: \"rediss://h\", tls: {{ cert_file: /c, key_file: {key} }} }} }}"),
        format!("store: {{ postgres: {{ tls: {{ cert_file: /c, key_file: {key} }} }} }}"),
    ];
    for text in &sections {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(faults(&dev(text), &[]).contains("has mode 644, too open for a secret"), "{text}");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&dev(text), &[]).is_ok(), "{text}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let variables = [
        ("VAULT_ENGINE_LISTEN", "[::1]:7"),
        ("VAULT_ENGINE_STORE__EMBEDDED__PATH", "/tmp/7"),
        ("VAULT_ENGINE_ENABLED_PLATFORMS", "[slack, zoom]"),
        ("VAULT_ENGINE_ENGINES", "[{id: e, actions: [get], keys: [{id: k, verifier: 0123456789abcdef}]}]"),
        ("VAULT_ENGINE_PLATFORMS__SLACK__CLIENT_ID", "0123.4567"),
        ("VAULT_ENGINE_DRAIN_SECONDS", ""),
        ("UNRELATED", "x"),
    ];
    let config = load(&dev("listen: 127.0.0.1:1\ndrain_seconds: 3"), &variables).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:7");
    assert_eq!(config.server.drain, Duration::from_secs(3));
    assert!(matches!(&config.store, StoreConfig::Embedded { path } if path == Path::new("/tmp/7")));
    assert_eq!(config.enabled_platforms.unwrap().len(), 2);
    assert_eq!(config.engines[0].id.as_str(), "e");
    assert_eq!(config.platforms[&"slack".parse().unwrap()].client_id.as_deref(), Some("0123.4567"));
}

#[test]
fn a_variable_that_is_no_field_is_a_fault() {
    let all = faults(&dev(""), &[("VAULT_ENGINE_LISTN", "x"), ("VAULT_ENGINE_LOG__LEVEL", "loud")]);
    assert!(all.contains("VAULT_ENGINE_LISTN: listn: is not a known key — did you mean `listen`?"), "{all}");
    assert!(all.contains("VAULT_ENGINE_LOG__LEVEL: log.level: must be one of"), "{all}");
    let all = faults(&dev(""), &[("VAULT_ENGINE_LOG____LEVEL", "x")]);
    assert!(all.contains("VAULT_ENGINE_LOG____LEVEL: is not the name of a field"), "{all}");
}

#[test]
fn variables_of_the_command_line_and_of_kubernetes_are_left_alone() {
    let variables = [
        ("VAULT_ENGINE_SERVER", "http://127.0.0.1:50051"),
        ("VAULT_ENGINE_ENGINE_ID", "e"),
        ("VAULT_ENGINE_KEY", "k"),
        ("VAULT_ENGINE_KEY_FILE", "/k"),
        ("VAULT_ENGINE_CONFIG", "/c"),
        ("VAULT_ENGINE_LOG", "debug"),
        ("VAULT_ENGINE_PORT", "tcp://10.0.0.1:50051"),
        ("VAULT_ENGINE_SERVICE_HOST", "10.0.0.1"),
    ];
    assert!(load(&dev(""), &variables).is_ok());
}

#[test]
fn a_secret_written_into_the_configuration_is_refused_and_not_repeated() {
    for text in [
        "platforms: { slack: { client_id: a, client_secrets: [hunter2] } }",
        "store: { redis: { password: hunter2 } }",
        "platforms: { slack: { client_secrets: [{ value: hunter2 }] } }",
    ] {
        let all = faults(&dev(text), &[]);
        assert!(all.contains("`{ file: /path }`") && all.contains("`{ env: NAME }`"), "{all}");
        assert!(!all.contains("hunter2"), "{all}");
    }
    let inline = faults(&dev(""), &[("VAULT_ENGINE_STORE__REDIS__PASSWORD", "hunter2")]);
    assert!(inline.starts_with("VAULT_ENGINE_STORE__REDIS__PASSWORD: store.redis.password: must not be"), "{inline}");
    assert!(!inline.contains("hunter2"), "{inline}");
    let single = faults(&dev("platforms: { slack: { client_secret: hunter2 } }"), &[]);
    assert!(single.contains("is called `client_secrets`") && !single.contains("hunter2"), "{single}");
    let url = faults(&dev("store: { redis: { url: \"redis://u:hunter2@host\" } }"), &[]);
    assert!(url.contains("must not carry credentials") && !url.contains("hunter2"), "{url}");
    let pasted = dev("engines: [{ id: e, actions: [get], keys: [{ id: k, verifier: tvk1_hunter2_aaaaaaaaaaaa }] }]");
    let pasted = faults(&pasted, &[]);
    assert!(pasted.contains("is an engine key") && !pasted.contains("hunter2"), "{pasted}");
}

#[test]
fn a_secret_is_fetched_from_where_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let text = dev(&format!(
        "platforms: {{ slack: {{ client_id: a, client_secrets: [{{ file: {} }}, {{ env: OTHER }}] }} }}",
        file.display()
    ));
    let open = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&file, "hunter2 \r\n").unwrap();
    for mode in [0o600, 0o400, 0o640, 0o440] {
        open(mode);
        let config = load(&text, &[("OTHER", "second\n")]).unwrap();
        let secrets = &config.platforms[&"slack".parse().unwrap()].client_secrets;
        assert_eq!((secrets[0].expose(), secrets[1].expose()), ("hunter2 ", "second"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    for mode in [0o644, 0o604, 0o660, 0o602] {
        open(mode);
        assert!(faults(&text, &[("OTHER", "x")]).contains("too open for a secret — at most the owner"), "{mode:o}");
    }
    open(0o600);
    assert!(faults(&text, &[]).contains("refers to the environment variable `OTHER`, which is not set"));
    std::fs::write(&file, "\n").unwrap();
    assert!(faults(&text, &[("OTHER", "x")]).contains("client_secrets[0]: refers to an empty secret"));
    std::fs::remove_file(&file).unwrap();
    assert!(faults(&text, &[("OTHER", "x")]).contains("which cannot be read"));
}

#[test]
fn an_engine_has_an_id_of_its_own_something_to_do_and_a_key() {
    let key = "keys: [{ id: k, verifier: 0123456789abcdef }]";
    let all = faults(
        &dev(&format!("engines:\n- {{ id: e, actions: [], {key} }}\n- {{ id: e, actions: [get, fly] }}\n")),
        &[],
    );
    for expected in [
        "config.yaml:3: engines[0].actions: must name at least one action",
        "config.yaml:4: engines[1].actions[1]: must be one of `get`, `status`, `store`, `delete`, `list`, `watch`",
        "config.yaml:4: engines[1].keys: must hold at least one key",
        "config.yaml:4: engines[1].id: is used twice: `e`",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
    let system = format!("engines: [{{ id: e, actions: [get], tenants: [system], {key} }}]");
    assert!(faults(&dev(&system), &[]).contains("engines[0].tenants[0]: is reserved"));
    let config = load(&dev(&format!("engines: [{{ id: e, actions: [get], {key} }}]")), &[]).unwrap();
    let default = crate::domain::id::TenantId::default_tenant();
    assert_eq!(*config.engines[0].policy.tenants(), Named::Only([default].into()));
}

#[test]
fn a_set_names_its_members_or_is_everything_and_a_rule_says_what_it_does() {
    let engine =
        |text: &str| dev(&format!("engines: [{{ id: e, keys: [{{ id: k, verifier: 0123456789abcdef }}], {text} }}]"));
    for (text, expected) in [
        ("actions: [get, \"*\"]", "engines[0].actions: names others beside `*`"),
        ("actions: [get], users: [\"u*\"]", "engines[0].users[0]: may contain only"),
        ("rules: [{ actions: [get] }]", "engines[0].rules[0].effect: must be given"),
        ("rules: [{ effect: deny }]", "engines[0].rules[0].actions: must name at least one action"),
        ("rules: [{ effect: deny, actions: [get], scopes_at_most: [a] }]", "scopes_at_most: is for rules that allow"),
        ("actions: [get], rate: { burst: 4 }", "engines[0].rate.per_second: must be given"),
        ("actions: [get], rate: { per_second: 0 }", "engines[0].rate.per_second: must be a whole number from 1"),
        ("actions: [get], max_distinct_users_per_hour: 0", "max_distinct_users_per_hour: must be a whole number"),
    ] {
        let told = faults(&engine(text), &[]);
        assert!(told.contains(expected), "{text}\n{told}");
    }
    let config = load(&engine("actions: [\"*\"], tenants: [\"*\"], rate: { per_second: 5 }"), &[]).unwrap();
    assert_eq!((config.engines[0].policy.tenants(), config.engines[0].limits.rate), (&Named::All, Rate::new(5, 5)));
}

#[test]
fn redis_may_be_one_server_or_several() {
    let servers = |more: &str| {
        let config = load(&dev(&format!("store: {{ kind: redis, redis: {{ {more} }} }}")), &[]).unwrap();
        let StoreConfig::Redis(redis) = config.store else { panic!("{:?}", config.store) };
        (redis.servers, redis.tls.is_some())
    };
    assert!(matches!(servers("url: \"redis://h\""), (RedisServersConfig::Server { .. }, false)));
    assert!(matches!(servers("url: \"rediss://h\""), (RedisServersConfig::Server { .. }, true)));
    let sentinel = servers("mode: sentinel, sentinel: { nodes: [\"a:1\", \"[::1]:2\"], master_name: m, tls: {} }");
    let (RedisServersConfig::Sentinel(sentinel), false) = sentinel else { panic!("{sentinel:?}") };
    let nodes: Vec<_> = sentinel.nodes.iter().map(|node| (node.host.as_str(), node.port)).collect();
    assert_eq!(nodes, [("a", 1), ("::1", 2)]);
    assert!(sentinel.tls.is_some());
    let cluster = servers("mode: cluster, cluster: { nodes: [\"a:1\"] }, tls: {}");
    assert!(matches!(cluster, (RedisServersConfig::Cluster { .. }, true)), "{cluster:?}");
}

#[test]
fn what_redis_would_be_refused_with_later_is_refused_by_the_name_of_its_key() {
    let redis =
        |more: &str| faults(&dev(&format!("store: {{ kind: redis, redis: {{ url: \"redis://r/0\", {more} }} }}")), &[]);
    assert!(redis("connections: 65").contains("store.redis.connections: must be a whole number from 1 to 64"));
    let together = redis("timeouts: { connect_ms: 40000, command_ms: 20001 }");
    assert!(together.contains("store.redis.timeouts: must be at most 60000 together"), "{together}");
}

#[test]
fn each_choice_asks_for_what_it_needs() {
    assert!(faults(&dev("store: { kind: redis }"), &[]).contains("store.redis.url: must be given"));
    assert!(faults(&dev("kms: { provider: aws }"), &[]).contains("kms.aws.key_id: must be given"));
    assert!(faults(&dev("store: { kind: dynamodb }"), &[]).contains("store.dynamodb.table: must be given"));
    let dynamodb = |more: &str| faults(&dev(&format!("store: {{ dynamodb: {{ {more} }} }}")), &[]);
    assert!(dynamodb("table: a/b/c").contains("must be the name of a table"));
    assert!(dynamodb("table: abc, endpoint: \"http://elsewhere\"").contains("must begin with `https://`"));
    assert!(dynamodb("timeouts: { command_ms: 1 }").contains("store.dynamodb.timeouts.command_ms"));
    let redis = |more: &str| faults(&dev(&format!("store: {{ redis: {{ {more} }} }}")), &[]);
    assert!(redis("url: \"http://h\"").contains("must be the address of a Redis server"));
    assert!(redis("url: \"redis://h\", tls: { ca_file: /c }").contains("write `rediss://`"));
    assert!(redis("url: \"rediss://h\", tls: { cert_file: /c }").contains("`cert_file` and `key_file` together"));
    assert!(redis("username: u").contains("needs a `password`"));
    let chosen = |more: &str| faults(&dev(&format!("store: {{ kind: redis, redis: {{ {more} }} }}")), &[]);
    assert!(chosen("mode: sentinel").contains("store.redis.sentinel.nodes: must be 1 to 64 addresses"));
    assert!(chosen("mode: cluster").contains("store.redis.cluster.nodes: must be 1 to 64 addresses"));
    assert!(chosen("mode: sentinel, sentinel: { nodes: [\"h:1\"] }").contains("sentinel.master_name: must be given"));
    assert!(chosen("mode: cluster, cluster: { nodes: [] }").contains("cluster.nodes: must be 1 to 64 addresses"));
    for node in ["h", "h:0x1", "h:65536", ":1", "a b:1", "redis://h:1"] {
        let told = chosen(&format!("mode: cluster, cluster: {{ nodes: [{node:?}] }}"));
        assert!(told.contains("must be a host and a port"), "{node}: {told}");
    }
    assert!(redis("key_prefix: \"{x}\"").contains("must be at most 64"));
    assert!(faults(&dev("kms: { aws: { endpoint: \"http://kms.example.com\" } }"), &[]).contains("`https://`"));
    assert!(faults(&dev("outbound: { allowed_hosts: [\"*.example.com\"] }"), &[]).contains("the name of one host"));
    assert!(faults(&dev("refresh: { backoff_max_seconds: 3 }"), &[]).contains("must not be less"));
    assert!(faults(&dev("platforms: { slack: { vars: 3 } }"), &[]).contains("must be a group of keys"));
    assert!(faults(&dev("platforms: { Slack: {} }"), &[]).contains("platforms.Slack: is not a platform"));
}

#[test]
fn a_configuration_that_anybody_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, dev("")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o646)).unwrap();
    let all = Config::load(Some(&file), std::iter::empty()).unwrap_err();
    assert!(all[0].to_string().contains("may be written by anybody"), "{}", all[0]);
}

#[test]
fn a_postgres_server_is_asked_to_prove_who_it_is_unless_told_otherwise() {
    let read = |more: &str| {
        let text =
            dev(&format!("store: {{ kind: postgres, postgres: {{ url: \"postgres://db.internal/vault\"{more} }} }}"));
        match load(&text, &[]).unwrap().store {
            StoreConfig::Postgres(postgres) => *postgres,
            other => panic!("{other:?}"),
        }
    };
    let plain = read("");
    assert_eq!((plain.host.as_str(), plain.port, plain.database.as_str()), ("db.internal", 5_432, "vault"));
    assert!(plain.tls.is_some_and(|tls| !tls.any_host));
    assert!(
        read(", sslmode: verify-ca, tls: { ca_file: /c }").tls.is_some_and(|tls| tls.any_host && tls.ca_file.is_some())
    );
    assert!(read(", sslmode: disable").tls.is_none());
}

#[test]
fn a_postgres_server_that_cannot_be_used_is_refused_by_name() {
    assert!(faults(&dev("store: { kind: postgres }"), &[]).contains("store.postgres.url: must be given"));
    let postgres = |more: &str| faults(&dev(&format!("store: {{ postgres: {{ {more} }} }}")), &[]);
    for url in ["http://h/vault", "postgres://h", "postgres:///vault", "postgres://h/vault?sslmode=require"] {
        assert!(postgres(&format!("url: \"{url}\"")).contains("must be the address of a PostgreSQL database"), "{url}");
    }
    let credentials = postgres("url: \"postgres://u:hunter2@h/vault\"");
    assert!(credentials.contains("must not carry credentials") && !credentials.contains("hunter2"), "{credentials}");
    assert!(postgres("sslmode: require").contains("sslmode"));
    assert!(postgres("sslmode: disable, tls: { ca_file: /c }").contains("without"));
    assert!(postgres("tls: { cert_file: /c }").contains("`cert_file` and `key_file` together"));
    assert!(postgres("password: hunter2").contains("must not be written here"));
}
