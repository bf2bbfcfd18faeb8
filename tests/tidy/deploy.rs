//! What stands in `deploy/` is what the binary understands: its commands, its keys, its ports, its folders.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser as _;
use serde::Deserialize as _;
use serde_yaml::{Deserializer, Value};
use vault_engine::cli::Cli;
use vault_engine::config::{ClientCertificates, Config};

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> String {
    format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Whether the binary knows this command line.
fn understood<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    Cli::try_parse_from(words).is_ok()
}

/// The values of each directive of a unit, in their order.
fn directives(unit: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for line in unit.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((name, value)) = line.split_once('=') {
            found.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    found
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().unwrap())
}

#[test]
fn the_unit_starts_the_binary_in_its_own_folder_and_waits_for_it() {
    let unit = directives(&read("vault-engine.service"));
    let only = |name: &str| unit[name][0].as_str();
    assert!(understood(only("ExecStart").split(' ')), "{}", only("ExecStart"));
    let defaults = [("VAULT_ENGINE_ENVIRONMENT".to_owned(), "dev".to_owned())];
    let config = Config::load(None, defaults.into_iter()).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib").join(only("StateDirectory")));
    assert!(seconds(only("TimeoutStopSec")) > config.server.drain * 2, "it is killed before it has drained");
}

#[test]
fn the_unit_lets_go_of_everything() {
    let unit = directives(&read("vault-engine.service"));
    for (name, value) in [
        ("User", "vault-engine"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectControlGroups", "yes"),
        ("RestrictNamespaces", "yes"),
        ("RestrictSUIDSGID", "yes"),
        ("LockPersonality", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
        ("LimitCORE", "0"),
        ("MemorySwapMax", "0"),
        ("UMask", "0077"),
        ("StateDirectoryMode", "0700"),
    ] {
        assert_eq!(unit.get(name), Some(&vec![value.to_owned()]), "{name}");
    }
    assert_eq!(unit["SystemCallFilter"], ["@system-service", "~@privileged"]);
}

#[test]
fn the_unit_is_sound_in_the_eyes_of_systemd() {
    let unit = path("vault-engine.service");
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", &unit]).output() else {
        return; // not everywhere is systemd; what it would say is held by the tests above
    };
    let said = String::from_utf8(verified.stderr).unwrap();
    // That the binary is not installed here is the one thing it may say.
    let others: Vec<&str> = said.lines().filter(|line| !line.contains("is not executable")).collect();
    assert!(others.is_empty(), "{others:?}");
    let judged = Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=20", &unit]).output();
    let judged = judged.unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}

/// The objects of the manifest, by their kind.
fn manifest() -> BTreeMap<String, Value> {
    let text = read("kubernetes.yaml");
    let objects = Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let named: Vec<(String, Value)> =
        objects.map(|object| (object["kind"].as_str().unwrap().to_owned(), object)).collect();
    let count = named.len();
    let named: BTreeMap<_, _> = named.into_iter().collect();
    assert_eq!(named.len(), count, "two objects of a kind");
    named
}

/// The configuration in the manifest, read with its secrets somewhere else.
fn configuration(manifest: &BTreeMap<String, Value>) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let text = manifest["ConfigMap"]["data"]["config.yaml"].as_str().unwrap();
    let secrets = folder.path().display().to_string();
    for name in ["postgres", "google"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.path().join(name);
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    }
    let file = folder.path().join("config.yaml");
    fs::write(&file, text.replace("/etc/vault-engine/secrets", &secrets)).unwrap();
    Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn words(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_manifest_says_what_the_binary_understands() {
    let manifest = manifest();
    let config = configuration(&manifest);
    let pod = &manifest["StatefulSet"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];

    let serve = words(&container["args"]);
    assert!(understood(["vault-engine"].into_iter().chain(serve.clone())));
    let probes = ["startupProbe", "readinessProbe"].map(|name| words(&container[name]["exec"]["command"]));
    for probe in &probes {
        assert!(understood(probe.iter().copied()), "{probe:?}");
    }
    let port = u64::from(config.server.listen.port());
    assert!(probes[0].contains(&format!("--server=https://127.0.0.1:{port}").as_str()));
    assert_eq!(container["ports"][0]["containerPort"].as_u64(), Some(port));
    assert_eq!(manifest["Service"]["spec"]["ports"][0]["port"].as_u64(), Some(port));
    assert_eq!(manifest["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"].as_u64(), Some(port));
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(Duration::from_secs(grace) > config.server.drain * 2, "it is killed before it has drained");
}

#[test]
fn every_file_in_the_manifest_s_configuration_is_mounted() {
    let manifest = manifest();
    let config = configuration(&manifest);
    let spec = &manifest["StatefulSet"]["spec"];
    let pod = &spec["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_sequence().unwrap();
    let mounted = |path: &Path| {
        let mount = mounts.iter().find(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()));
        mount.unwrap_or_else(|| panic!("{} is not mounted", path.display()))["name"].as_str().unwrap()
    };
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(tls.client_certificates, ClientCertificates::Required);
    for file in [&tls.cert_file, &tls.key_file].into_iter().chain(tls.trust_domains.values()) {
        assert_eq!(mounted(file), "tls");
    }
    let serve = words(&pod["containers"][0]["args"]);
    assert_eq!(mounted(Path::new(serve[2])), "config");
    // What outlives an instance is on a volume of its own.
    let own = spec["volumeClaimTemplates"][0]["metadata"]["name"].as_str().unwrap();
    assert_eq!((mounted(&config.data_dir), mounted(&config.outbox.dir)), (own, own));
    for volume in pod["volumes"].as_sequence().unwrap() {
        if let Some(mode) = volume["secret"]["defaultMode"].as_u64() {
            assert_eq!(mode & 0o037, 0, "others can read {volume:?}");
        }
    }
}

#[test]
fn the_manifest_gives_no_rights_away() {
    let manifest = manifest();
    let pod = &manifest["StatefulSet"]["spec"]["template"]["spec"];
    let (whole, own) = (&pod["securityContext"], &pod["containers"][0]["securityContext"]);
    assert_eq!(whole["runAsNonRoot"], true);
    assert_eq!(whole["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!((&own["allowPrivilegeEscalation"], &own["privileged"]), (&false.into(), &false.into()));
    assert_eq!(own["readOnlyRootFilesystem"], true);
    assert_eq!(words(&own["capabilities"]["drop"]), ["ALL"]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(manifest["ServiceAccount"]["automountServiceAccountToken"], false);
    assert_eq!(words(&manifest["NetworkPolicy"]["spec"]["policyTypes"]), ["Ingress", "Egress"]);
    let labels = &manifest["StatefulSet"]["spec"]["selector"]["matchLabels"];
    for kind in ["PodDisruptionBudget", "Service", "NetworkPolicy"] {
        let spec = &manifest[kind]["spec"];
        let selected = [&spec["selector"]["matchLabels"], &spec["selector"], &spec["podSelector"]["matchLabels"]];
        assert!(selected.contains(&labels), "{kind} is about other pods");
    }
}
