//! A folder with the configuration of one vault over a store in a file, and a look into that store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::domain::ports::{Address, Index, Item, Scope, Store};

use crate::process::{CommandLine, Ended, vault_engine};

/// Folders of vaults that have the same keys.
pub(crate) struct Site {
    folder: TempDir,
}

// === impl Site ===

impl Site {
    /// With one vault, called `a`.
    pub(crate) fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.add("a", "dev");
        site
    }

    /// Another vault with the same keys.
    pub(crate) fn add(&self, name: &str, environment: &str) {
        let data = self.path(name);
        let text = format!(
            "environment: {environment}\nlisten: 127.0.0.1:0\ndata_dir: {}\nkms: {{ local: {{ key_file: {} }} }}\n",
            data.display(),
            self.path("kms.key").display(),
        );
        fs::write(self.config(name), text).unwrap();
    }

    /// Another one, that keeps records as `store` says.
    #[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
    pub(crate) fn add_over(&self, name: &str, store: &str) {
        self.add(name, "dev");
        let text = fs::read_to_string(self.config(name)).unwrap();
        fs::write(self.config(name), format!("{text}store: {{ {store} }}\n")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.yaml"))
    }

    /// `vault-engine`, in the folder of the site.
    pub(crate) fn command(&self, line: &str) -> CommandLine {
        vault_engine(line.split(' ')).current_dir(self.folder.path())
    }

    pub(crate) async fn run(&self, line: &str) -> Ended {
        self.command(line).run().await
    }

    /// Imports so many users into `a`.
    pub(crate) async fn import(&self, users: usize) {
        self.write_lines("tokens.jsonl", users);
        let ended = self.run("import --config a.yaml --file tokens.jsonl").await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// Makes an export of `a`.
    pub(crate) async fn export(&self, name: &str) {
        let ended = self.run(&format!("export --config a.yaml --sealed --out {name}")).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// Writes a file of tokens to import: the connections of so many users.
    pub(crate) fn write_lines(&self, name: &str, users: usize) {
        let lines: Vec<String> = (0..users).map(|number| line(number).to_string()).collect();
        fs::write(self.path(name), lines.join("\n")).unwrap();
    }

    /// Opens the store of a vault that is not running.
    pub(crate) fn store(&self, name: &str) -> Arc<EmbeddedStore> {
        open(&self.path(name).join("vault.redb"))
    }

    /// Everything in the store of a vault that is not running.
    pub(crate) async fn everything(&self, name: &str) -> Vec<Item> {
        everything(&self.store(name)).await
    }

    /// The lines of the audit trail of a vault that were written about this.
    pub(crate) fn audited(&self, name: &str, action: &str) -> Vec<Value> {
        let trail = fs::read_to_string(self.path(name).join("audit.jsonl")).unwrap();
        let lines = trail.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["action"] == action).collect()
    }
}

/// What a user of these tests has.
pub(crate) fn line(number: usize) -> Value {
    json!({
        "user_id": format!("user-{number}"), "platform": "gmail", "access_token": format!("canary-access-{number}"),
        "refresh_token": format!("canary-refresh-{number}"), "expires_at": 1_900_000_000, "scopes": ["email"]
    })
}

pub(crate) fn open(path: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(path).unwrap())
}

pub(crate) async fn everything(store: &EmbeddedStore) -> Vec<Item> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(&Scope::All, after.as_ref(), 1_000).await.unwrap();
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
}

/// The versions of the connections in a store.
pub(crate) fn versions(items: &[Item]) -> Vec<u64> {
    let connections = items.iter().filter(|item| matches!(item.address, Address::Connection(_)));
    connections.map(|item| item.stored.version.0).collect()
}

/// Whether the store has an epoch.
pub(crate) async fn has_epoch(store: &EmbeddedStore) -> bool {
    store.get(&Address::Epoch).await.unwrap().is_some()
}
