//! `vault-engine admin engine`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Asking, engine_name, short};
use crate::cli::client::{Client, explain};
use crate::cli::{Failure, output};
use crate::pb::vault_v1::{
    CreateEngineRequest, DeleteEngineRequest, Engine, GetEngineRequest, Limits, ListEnginesRequest, Policy, Rule,
    UpdateEngineRequest,
};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Make an engine; it can call as soon as it has a key
    Create {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
        /// Its name for people
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        policy: PolicyArgs,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List the engines of a tenant
    List {
        #[command(flatten)]
        asking: Asking,
        /// The tenant; `system` for the engines of the installation
        #[arg(value_name = "TENANT")]
        home: String,
    },
    /// Show an engine with all its rules
    Show {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
    },
    /// Give an engine another policy or other limits: what is given replaces what there was
    Update {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
        #[command(flatten)]
        policy: PolicyArgs,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Switch an engine off: its calls are refused and its streams cut within 5 seconds
    Disable {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
    },
    /// Switch an engine on again
    Enable {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
    },
    /// Remove an engine and its keys for good
    Delete {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
    },
}

const ACTIONS: &str = "What it may do: get, status, store, delete, list, watch, admin_read, admin_tenants, admin_engines, \
                       admin_keys; * is everything; may be given several times";
const POLICY: &str =
    r#"A policy as JSON: {"rules":[{"effect":"allow","actions":["get"],"platforms":["*"],"users":["*"]}]}"#;

/// What the engine may do: one rule by flags, or any policy in a file.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PolicyArgs {
    #[arg(long = "allow", value_name = "ACTION", conflicts_with = "policy", help = ACTIONS)]
    actions: Vec<String>,
    /// Only at this platform; may be given several times; all by default
    #[arg(long = "platform", value_name = "ID", requires = "actions")]
    platforms: Vec<String>,
    /// Only for this user; may be given several times; all by default
    #[arg(long = "user", value_name = "ID", requires = "actions")]
    users: Vec<String>,
    /// Only tokens with no other scopes; may be given several times; any by default
    #[arg(long = "scope", value_name = "SCOPE", requires = "actions")]
    scopes: Vec<String>,
    /// For engines of `system`: a tenant it acts for, or `*` for all; may be given several times
    #[arg(long = "for-tenant", value_name = "ID", requires = "actions")]
    tenants: Vec<String>,
    #[arg(long, value_name = "FILE", help = POLICY)]
    policy: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LimitArgs {
    /// Calls per second, on each instance; 0: no limit
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Calls at once after a pause
    #[arg(long, value_name = "CALLS", requires = "rate")]
    burst: Option<u32>,
    /// Users whose tokens it may ask for within any hour, on each instance; 0: no limit
    #[arg(long, value_name = "USERS")]
    max_users_per_hour: Option<u32>,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create { asking, engine, name, policy, limits } => {
            let policy = policy.read()?.ok_or("say what the engine may do: --allow get, or --policy FILE")?;
            let full = engine_name(&engine)?;
            let (parent, engine_id) = full.split_once("/engines/").unwrap_or_default();
            let given = Engine {
                display_name: name,
                policy: Some(policy),
                limits: Some(limits.over(Limits::default())),
                ..Engine::default()
            };
            let (parent, engine_id) = (parent.to_owned(), engine_id.to_owned());
            let mut client = asking.client.connect().await?;
            let request = client.request(CreateEngineRequest { parent, engine_id, engine: Some(given) });
            let made = client.admin.create_engine(request).await.map_err(|status| explain(&status))?;
            show(&[made.into_inner()], asking.json)?;
            output::note(format!("It has no key yet: `vault-engine admin key create {engine}`"));
            Ok(ExitCode::SUCCESS)
        }
        Command::List { asking, home } => list(&asking, &home).await,
        Command::Show { asking, engine } => {
            let mut client = asking.client.connect().await?;
            let found = find(&mut client, &engine).await?;
            output::say(if asking.json {
                serde_json::to_string(&found)?
            } else {
                serde_json::to_string_pretty(&found)?
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Update { asking, engine, policy, limits } => update(&asking, &engine, &policy, &limits).await,
        Command::Disable { asking, engine } => switch(&asking, &engine, true).await,
        Command::Enable { asking, engine } => switch(&asking, &engine, false).await,
        Command::Delete { asking, engine } => {
            let mut client = asking.client.connect().await?;
            let name = engine_name(&engine)?;
            let request = client.request(DeleteEngineRequest { name, etag: String::new() });
            client.admin.delete_engine(request).await.map_err(|status| explain(&status))?;
            output::note(format!("`{engine}` and its keys are gone"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn find(client: &mut Client, engine: &str) -> Result<Engine, Failure> {
    let request = client.request(GetEngineRequest { name: engine_name(engine)? });
    Ok(client.admin.get_engine(request).await.map_err(|status| explain(&status))?.into_inner())
}

async fn list(asking: &Asking, tenant: &str) -> Result<ExitCode, Failure> {
    let mut client = asking.client.connect().await?;
    let (mut engines, mut page_token) = (Vec::new(), String::new());
    loop {
        let parent = format!("tenants/{tenant}");
        let request = client.request(ListEnginesRequest { parent, page_size: 1_000, page_token });
        let page = client.admin.list_engines(request).await.map_err(|status| explain(&status))?.into_inner();
        engines.extend(page.engines);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return show(&engines, asking.json);
        }
    }
}

async fn update(asking: &Asking, engine: &str, policy: &PolicyArgs, limits: &LimitArgs) -> Result<ExitCode, Failure> {
    let policy = policy.read()?;
    let mut paths = Vec::new();
    if policy.is_some() {
        paths.push("policy".to_owned());
    }
    if limits.are_given() {
        paths.push("limits".to_owned());
    }
    if paths.is_empty() {
        return Err("nothing is to be changed: give --allow or --policy, or limits".into());
    }
    let mut client = asking.client.connect().await?;
    // What was seen is what is changed: whoever was faster is not overwritten.
    let seen = find(&mut client, engine).await?;
    let limits = Some(limits.over(seen.limits.unwrap_or_default()));
    let wanted = Engine { name: seen.name, etag: seen.etag, policy, limits, ..Engine::default() };
    change(&mut client, wanted, paths, asking.json).await
}

async fn switch(asking: &Asking, engine: &str, disabled: bool) -> Result<ExitCode, Failure> {
    let mut client = asking.client.connect().await?;
    let wanted = Engine { name: engine_name(engine)?, disabled, ..Engine::default() };
    change(&mut client, wanted, vec!["disabled".to_owned()], asking.json).await
}

async fn change(client: &mut Client, engine: Engine, paths: Vec<String>, json: bool) -> Result<ExitCode, Failure> {
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = client.request(UpdateEngineRequest { engine: Some(engine), update_mask });
    let changed = client.admin.update_engine(request).await.map_err(|status| explain(&status))?;
    show(&[changed.into_inner()], json)
}

// === impl PolicyArgs ===

impl PolicyArgs {
    fn read(&self) -> Result<Option<Policy>, Failure> {
        if let Some(file) = &self.policy {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?;
            let policy =
                serde_json::from_str(&text).map_err(|error| format!("`{}` is no policy: {error}", file.display()))?;
            return Ok(Some(policy));
        }
        if self.actions.is_empty() {
            return Ok(None);
        }
        let or_all = |names: &[String]| if names.is_empty() { vec!["*".to_owned()] } else { names.to_vec() };
        let rule = Rule {
            effect: "allow".to_owned(),
            actions: self.actions.clone(),
            platforms: or_all(&self.platforms),
            users: or_all(&self.users),
            scopes_at_most: self.scopes.clone(),
        };
        Ok(Some(Policy { tenants: self.tenants.clone(), rules: vec![rule] }))
    }
}

// === impl LimitArgs ===

impl LimitArgs {
    const fn are_given(&self) -> bool {
        self.rate.is_some() || self.max_users_per_hour.is_some()
    }

    fn over(&self, limits: Limits) -> Limits {
        let (rate_per_second, rate_burst) = match self.rate {
            Some(0) => (0, 0),
            Some(rate) => (rate, self.burst.unwrap_or(0)),
            None => (limits.rate_per_second, limits.rate_burst),
        };
        let users = self.max_users_per_hour.unwrap_or(limits.max_distinct_users_per_hour);
        Limits { rate_per_second, rate_burst, max_distinct_users_per_hour: users }
    }
}

fn show(engines: &[Engine], json: bool) -> Result<ExitCode, Failure> {
    if json {
        for engine in engines {
            output::say(serde_json::to_string(engine)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = engines.iter().map(row).collect();
    output::table(&["ENGINE", "STATE", "KEYS", "MAY", "LIMITS", "NAME"], &rows);
    Ok(ExitCode::SUCCESS)
}

fn row(engine: &Engine) -> Vec<String> {
    let state = if engine.disabled { "disabled" } else { "enabled" };
    let rules = engine.policy.iter().flat_map(|policy| &policy.rules).map(in_words);
    let may: Vec<String> = rules.collect();
    vec![
        short(&engine.name),
        state.to_owned(),
        engine.active_keys.to_string(),
        may.join("; "),
        engine.limits.as_ref().map(limits_in_words).unwrap_or_default(),
        engine.display_name.clone(),
    ]
}

fn in_words(rule: &Rule) -> String {
    let narrowed = |word: &str, names: &[String]| match names {
        [all] if all == "*" => None,
        [one] => Some(format!("{word} {one}")),
        several => Some(format!("{word} {} of them", several.len())),
    };
    let denies = (rule.effect == "deny").then(|| "not".to_owned());
    let scopes = rule.scopes_at_most.len();
    let scopes = (scopes > 0).then(|| format!("with at most {scopes} scopes"));
    let parts =
        [denies, Some(rule.actions.join(" ")), narrowed("at", &rule.platforms), narrowed("for", &rule.users), scopes];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn limits_in_words(limits: &Limits) -> String {
    let rate = (limits.rate_per_second > 0).then(|| format!("{}/s", limits.rate_per_second));
    let users =
        (limits.max_distinct_users_per_hour > 0).then(|| format!("{} users/h", limits.max_distinct_users_per_hour));
    [rate, users].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
