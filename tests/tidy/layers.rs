//! Who may name whom: the layers of the house, and the one room of each driver.

use std::collections::BTreeMap;

use super::source::{Named, module_of, names};

/// A layer is a module at the top of `src/`. It may name itself and what stands here, and all that is below it.
const LAYERS: &[(&str, Layer)] = &[
    ("domain", Layer::Names(&[])),
    ("document", Layer::Names(&[])),
    ("pb", Layer::Names(&[])),
    ("envelope", Layer::Names(&["domain", "pb::store_v1"])),
    ("service", Layer::Names(&["envelope", "domain"])),
    ("refresher", Layer::Names(&["service", "envelope", "domain"])),
    ("access", Layer::Names(&["service", "refresher", "domain"])),
    ("transport", Layer::Names(&["access", "domain", "pb::vault_v1", "pb::DESCRIPTORS"])),
    ("adapters", Layer::Names(&["domain", "envelope", "document"])),
    ("config", Layer::Names(&["domain", "document"])),
    ("app", Layer::Composes),
    ("cli", Layer::Composes),
    ("hardening", Layer::Composes),
    ("lifecycle", Layer::Composes),
    ("runtime", Layer::Composes),
    ("telemetry", Layer::Composes),
    ("main", Layer::Composes),
];

enum Layer {
    Names(&'static [&'static str]),
    /// Puts the house together: it may name anything, and no other layer lists it.
    Composes,
}

/// Crates that know the outside world, and where in `src/` they may be named.
const DRIVERS: &[(&[&str], &[&str])] = &[
    (&["tonic", "tonic_health", "tonic_reflection", "tonic_types"], &["src/transport/", "src/pb", "src/cli/"]),
    (&["redis"], &["src/adapters/store/redis"]),
    (&["redb"], &["src/adapters/store/embedded"]),
    (&["sqlx"], &["src/adapters/store/postgres"]),
    (&["aws_config"], &["src/adapters/keys/aws", "src/adapters/store/dynamodb"]),
    (&["aws_sdk_dynamodb"], &["src/adapters/store/dynamodb"]),
    (&["aws_sdk_kms"], &["src/adapters/keys/aws"]),
    (&["oauth2", "reqwest"], &["src/adapters/oauth"]),
    (&["serde_yaml"], &["src/document", "src/config", "src/adapters/profiles", "src/adapters/keys"]),
    (&["axum"], &["src/cli/demo"]),
];

/// Ways to ask the machine for the time. tokio's clock is not among them: tests can stop it.
const CLOCKS: &[(&str, &str)] =
    &[("SystemTime", "now"), ("Instant", "now"), ("OffsetDateTime", "now_utc"), ("UtcDateTime", "now")];

/// Where the time may be asked.
const CLOCK_HOME: &str = "src/adapters/system.rs";

/// A layer that names one above it, or a module that has no place in the table.
pub(crate) fn misplaced_imports(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let Some(own) = module.first() else {
        return Vec::new(); // the root of the crate declares the layers
    };
    let Some((_, layer)) = LAYERS.iter().find(|(name, _)| name == own) else {
        return vec![format!("{file}: `{own}` has no row in the table of layers")];
    };
    let allowed = match layer {
        Layer::Names(allowed) => *allowed,
        Layer::Composes => return Vec::new(),
    };
    let may = |named: &[String]| named.first() == Some(own) || allowed.iter().any(|path| stands_below(named, path));
    let mut faults = BTreeMap::new();
    for Named { line, segments } in names(file, source) {
        if let Some((root, named)) = segments.split_first()
            && root == "crate"
            && !may(named)
        {
            faults.entry(named.join("::")).or_insert(line);
        }
    }
    let fault = |(named, line)| format!("{file}:{line}: `{own}` may not name `{named}`");
    faults.into_iter().map(fault).collect()
}

fn stands_below(named: &[String], path: &str) -> bool {
    path.split("::").enumerate().all(|(depth, part)| named.get(depth).is_some_and(|segment| segment == part))
}

/// A driver named outside its room.
pub(crate) fn strayed_drivers(file: &str, source: &str) -> Vec<String> {
    let refuse = |named: Named| {
        let root = named.segments.first()?.as_str();
        let (_, homes) = DRIVERS.iter().find(|(crates, _)| crates.contains(&root))?;
        let home = homes.iter().any(|home| file.starts_with(home));
        (!home).then(|| format!("{file}:{}: `{root}` may be named in {} only", named.line, homes.join(", ")))
    };
    names(file, source).into_iter().filter_map(refuse).collect()
}

/// Code that asks the machine for the time instead of the Clock port.
pub(crate) fn hidden_clocks(file: &str, source: &str) -> Vec<String> {
    let refuse = |named: Named| {
        let [.., kind, method] = named.segments.as_slice() else { return None };
        let asks = CLOCKS.contains(&(kind, method)) && !named.segments.starts_with(&["tokio".into(), "time".into()]);
        (asks && file != CLOCK_HOME).then(|| format!("{file}:{}: ask the Clock port for the time", named.line))
    };
    names(file, source).into_iter().filter_map(refuse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_names_one_above_it_is_found() {
        let found =
            misplaced_imports("src/service/get.rs", "use crate::domain::id;\nuse crate::{adapters::system, envelope};");
        assert_eq!(found, ["src/service/get.rs:2: `service` may not name `adapters::system`"]);
    }

    #[test]
    fn an_inline_path_a_chain_of_supers_and_a_glob_are_found_too() {
        for source in ["fn f() { crate::service::g(); }", "use super::super::service::g;", "use crate::*;"] {
            assert_eq!(misplaced_imports("src/domain/id.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn transport_reaches_the_guard_and_nothing_behind_it() {
        let file = "src/transport/grpc/mod.rs";
        assert!(
            misplaced_imports(file, "use crate::access::Guard;\nuse crate::pb::vault_v1::GetTokenRequest;").is_empty()
        );
        assert_eq!(misplaced_imports(file, "use crate::service::Vault;").len(), 1);
        assert_eq!(misplaced_imports(file, "use crate::pb::store_v1;").len(), 1);
    }

    #[test]
    fn a_module_without_a_row_is_found() {
        assert_eq!(misplaced_imports("src/attic/mod.rs", "").len(), 1);
    }

    #[test]
    fn who_composes_may_name_anything() {
        assert!(misplaced_imports("src/app/mod.rs", "use crate::adapters::store;").is_empty());
    }

    #[test]
    fn a_driver_outside_its_room_is_found() {
        let source = "use redis::aio::ConnectionManager;";
        assert!(strayed_drivers("src/adapters/store/redis/script.rs", source).is_empty());
        assert_eq!(strayed_drivers("src/service/get.rs", source).len(), 1);
        assert_eq!(strayed_drivers("src/access/guard.rs", "fn f() -> tonic::Status {}").len(), 1);
        assert_eq!(strayed_drivers("src/app/mod.rs", "use aws_config as config;").len(), 1);
    }

    #[test]
    fn a_module_of_ours_named_like_a_driver_is_not_the_driver() {
        assert!(
            strayed_drivers("src/app/mod.rs", "use crate::adapters::store::redis;\nfn f() { redis::open(); }")
                .is_empty()
        );
        assert!(strayed_drivers("src/app/mod.rs", "use crate::adapters::store::{redis::RedisStore};").is_empty());
    }

    #[test]
    fn a_hidden_clock_is_found_under_any_name() {
        for source in [
            "fn f() { std::time::SystemTime::now(); }",
            "use std::time::Instant;\nfn f() { Instant::now(); }",
            "use std::time::SystemTime as S;\nconst F: fn() -> S = S::now;",
            "fn f() { time::OffsetDateTime::now_utc(); }",
        ] {
            assert_eq!(hidden_clocks("src/service/get.rs", source).len(), 1, "{source}");
            assert!(hidden_clocks(CLOCK_HOME, source).is_empty(), "{source}");
        }
    }

    #[test]
    fn a_clock_that_tests_can_stop_is_no_hidden_clock() {
        assert!(hidden_clocks("src/app/mod.rs", "use tokio::time::Instant;\nfn f() { Instant::now(); }").is_empty());
        assert!(
            hidden_clocks("src/app/mod.rs", "#[cfg(test)]\nmod tests { fn f() { std::time::Instant::now(); } }")
                .is_empty()
        );
    }
}
