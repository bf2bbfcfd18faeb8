//! `vault-engine kms`: the keys of tenants, from the first to the day they are destroyed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::progress::Progress;
use super::{ConfigArg, Failure, INCOMPLETE, output, serve, status};
use crate::adapters::system::SystemRandom;
use crate::app::{Foundation, OperatorTrail};
use crate::config::Config;
use crate::domain::audit::{AuditAction, AuditResult, Subject};
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, Random as _};
use crate::domain::time::Timestamp;
use crate::envelope::{KeyLifeError, KeyLimits, KeyState, KeyringView, RewrapView};
use crate::lifecycle::Lifecycle;
use crate::service::bulk::{Pages, Rewrap, RewrapEnd};

/// Keys of tenants.
///
/// A tenant's key seals its users' keys, and those seal tokens. To replace it: `rotate`, then `rewrap` until it says that
/// nothing is left, then, if you like, `destroy`. Everything can be stopped and run again, and vaults go on serving; only the
/// embedded store belongs to one process, so stop the vault for it.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show generations, and how far a rewrap is
    Status(OfTenants),
    /// Make a new generation: it opens at once, and seals once every instance has it
    Rotate {
        #[command(flatten)]
        tenant: OfTenant,
        /// When it begins to seal; instances that run look for new keys every 15 minutes
        #[arg(long = "in", value_name = "SECONDS", default_value_t = 1_200, conflicts_with = "now")]
        seconds: u32,
        /// It begins to seal at once: for a key that is known to somebody
        #[arg(long)]
        now: bool,
    },
    /// Seal every user's key under the newest generation, and retire the others
    #[command(after_help = REWRAP)]
    Rewrap {
        #[command(flatten)]
        tenant: OfTenant,
        /// Keys sealed in a second, at most
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        per_second: u32,
        /// Only count what is under which generation
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask a rewrap that runs elsewhere for a pause; it stops within seconds
    Pause(OfTenant),
    /// Take that back
    Resume(OfTenant),
    /// Destroy a retired generation, in two steps a week apart: run it once, and again when the week is over
    Destroy {
        #[command(flatten)]
        tenant: OfTenant,
        /// Which
        #[arg(long)]
        generation: u32,
        /// How long the week is
        #[arg(long, value_name = "SECONDS", default_value_t = 604_800)]
        after: u32,
    },
    /// Have the key service wrap the keys of all tenants anew, under the key it is configured with
    #[command(after_help = REENCRYPT)]
    Reencrypt(OfTenants),
}

const REWRAP: &str = "\
A key that an instance still holds seals for four hours at most, so generations are retired by a run that begins after \
that: it walks twice through all users and finds nothing to do. Exit status: 0 when earlier generations are retired, \
3 when something is left, 1 when it could not go on.";

const REENCRYPT: &str = "\
To replace a key of the key service without a gap: name the new one in `kms.aws.other_key_ids` everywhere; then swap the two \
everywhere; then run this; then take the old one out.";

#[derive(Debug, clap::Args)]
pub(super) struct OfTenant {
    #[command(flatten)]
    config: ConfigArg,
    /// Whose key
    #[arg(long, default_value = "default")]
    tenant: TenantId,
}

#[derive(Debug, clap::Args)]
pub(super) struct OfTenants {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this one's; all by default
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// A vault whose keys are worked on.
struct Site {
    config: Config,
    foundation: Foundation,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Status(args) => show(&args).await,
        Command::Rotate { tenant, seconds, now } => rotate(&tenant, if now { 0 } else { seconds }).await,
        Command::Rewrap { tenant, dry_run: true, .. } => count(&tenant).await,
        Command::Rewrap { tenant, per_second, dry_run: false } => rewrap(&tenant, per_second).await,
        Command::Pause(tenant) => pause(&tenant, true).await,
        Command::Resume(tenant) => pause(&tenant, false).await,
        Command::Destroy { tenant, generation, after } => destroy(&tenant, generation, after).await,
        Command::Reencrypt(args) => reencrypt(&args).await,
    }
}

async fn show(args: &OfTenants) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for tenant in site.tenants(args).await? {
        let Some(keyring) = site.foundation.tenant_keys.keyring(&tenant).await? else { continue };
        let KeyringView { keys, rewrap, .. } = keyring;
        rows.extend(keys.iter().map(|key| {
            let created = status::date(key.created_at.unix_seconds());
            vec![tenant.to_string(), key.generation.to_string(), state(key.state), created]
        }));
        notes.extend(rewrap.map(|rewrap| format!("{tenant}: {}", progress(&rewrap))));
    }
    output::table(&["TENANT", "GENERATION", "STATE", "CREATED"], &rows);
    notes.iter().for_each(output::note);
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: &OfTenant, seconds: u32) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let from = site.foundation.clock.now() + Duration::from_secs(u64::from(seconds));
    let made = site.foundation.tenant_keys.rotate(&args.tenant, from);
    let generation = site.written(args, AuditAction::RotateKey, made).await?;
    let when = if seconds == 0 { "now on".to_owned() } else { status::date(from.unix_seconds()) };
    output::say(format!("{}: generation {generation} seals from {when}; then `kms rewrap`", args.tenant));
    Ok(ExitCode::SUCCESS)
}

async fn count(args: &OfTenant) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let mut progress = Progress::of("count", None);
    let counts: BTreeMap<u32, u64> = site.walk(1).count(&args.tenant, |seen| progress.at(seen, 0)).await?;
    drop(progress);
    let rows: Vec<_> = counts.iter().map(|(generation, keys)| vec![generation.to_string(), keys.to_string()]).collect();
    output::table(&["GENERATION", "USER KEYS"], &rows);
    Ok(ExitCode::SUCCESS)
}

async fn rewrap(args: &OfTenant, per_second: u32) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let mut shown = Progress::of("rewrap", None);
    let walk = site.walk(per_second);
    let mut last = None;
    let mut tell = |view: &RewrapView| {
        shown.tell(|seconds| line(view, seconds));
        last = Some(*view);
    };
    let broken = |address: &Address, error: &VaultError| {
        output::note(format!("{} does not open: {error}", name(address)));
    };
    let run = async {
        match walk.run(&args.tenant, &mut tell, broken).await {
            // Somebody is at it, or has been killed.
            Err(KeyLifeError::Busy(seconds)) => {
                output::note(format!("another process is at it, or was: waiting {seconds} s to see"));
                tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs() + 1)).await;
                walk.run(&args.tenant, &mut tell, broken).await
            }
            ended => ended,
        }
    };
    let ended = site.written(args, AuditAction::Rewrap, run).await;
    drop(shown);
    if let Some(view) = last {
        output::note(format!("{}: {} user keys sealed anew in all", args.tenant, view.rewrapped_in_all));
    }
    match ended? {
        RewrapEnd::Done => {
            output::say("nothing is left under an earlier generation: those are retired");
            return Ok(ExitCode::SUCCESS);
        }
        RewrapEnd::Settles(at) => output::say(format!(
            "nothing is left; a vault may hold an earlier key until {}: run this again after that to retire it",
            status::date(at.unix_seconds())
        )),
        RewrapEnd::Failed(keys) => {
            output::say(format!("{keys} user keys do not open: nothing is retired; see `verify-store --decrypt`"));
        }
    }
    Ok(ExitCode::from(INCOMPLETE))
}

async fn pause(args: &OfTenant, paused: bool) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let view = site.foundation.tenant_keys.pause(&args.tenant, paused).await.map_err(told)?;
    output::say(format!("{}: {}", args.tenant, progress(&view)));
    Ok(ExitCode::SUCCESS)
}

async fn destroy(args: &OfTenant, generation: u32, after: u32) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    let keys = &site.foundation.tenant_keys;
    let view = keys.keyring(&args.tenant).await?.ok_or_else(|| KeyLifeError::NoKeys(args.tenant.clone()))?;
    let condemned = view.keys.iter().find(|key| key.generation == generation).map(|key| key.state);
    // Before each of the two steps: what is still under it would be lost.
    let counts = site.walk(1).count(&args.tenant, |_| ()).await?;
    if let Some(left) = counts.get(&generation) {
        return Err(format!("{left} user keys are under generation {generation}: `kms rewrap` first").into());
    }
    if let Some(KeyState::Condemned(_)) = condemned {
        site.written(args, AuditAction::DestroyKey, keys.destroy(&args.tenant, generation)).await?;
        output::say(format!("{}: generation {generation} is destroyed", args.tenant));
    } else {
        let from = site.foundation.clock.now() + Duration::from_secs(u64::from(after));
        site.written(args, AuditAction::DestroyKey, keys.condemn(&args.tenant, generation, from)).await?;
        let from = status::date(from.unix_seconds());
        output::say(format!(
            "{}: generation {generation} can be destroyed from {from} on: run this again",
            args.tenant
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn reencrypt(args: &OfTenants) -> Result<ExitCode, Failure> {
    let site = Site::open(&args.config).await?;
    for tenant in site.tenants(args).await? {
        let of = OfTenant { config: ConfigArg { config: args.config.config.clone() }, tenant };
        let keys = site.foundation.tenant_keys.reencrypt(&of.tenant);
        let keys = site.written(&of, AuditAction::ReencryptKeys, keys).await?;
        output::say(format!("{}: {keys} keys wrapped anew", of.tenant));
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Site ===

impl Site {
    async fn open(args: &ConfigArg) -> Result<Self, Failure> {
        let config = serve::load(args.config.as_deref(), std::iter::empty())?;
        let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
        Ok(Self { config, foundation })
    }

    async fn tenants(&self, args: &OfTenants) -> Result<Vec<TenantId>, Failure> {
        if let Some(tenant) = &args.tenant {
            return Ok(vec![tenant.clone()]);
        }
        let (mut pages, mut tenants) = (Pages::of(Arc::clone(&self.foundation.index)), Vec::new());
        while let Some(page) = pages.next().await? {
            tenants.extend(page.into_iter().filter_map(|item| match item.address {
                Address::TenantKeyring { tenant } => Some(tenant),
                _ => None,
            }));
        }
        tenants.sort_unstable();
        Ok(tenants)
    }

    fn walk(&self, per_second: u32) -> Rewrap {
        let mut worker = [0; 8];
        SystemRandom.fill(&mut worker);
        Rewrap {
            index: Arc::clone(&self.foundation.index),
            tenant_keys: Arc::clone(&self.foundation.tenant_keys),
            user_keys: Arc::new(self.foundation.user_keys(&self.config.environment, KeyLimits::default())),
            worker: u64::from_be_bytes(worker),
            per_second,
        }
    }

    /// Does something, and writes down that it is done and what came of it: without a line nothing is.
    async fn written<T>(
        &self,
        args: &OfTenant,
        action: AuditAction,
        work: impl Future<Output = Result<T, KeyLifeError>>,
    ) -> Result<T, Failure> {
        let trail = OperatorTrail::open(&self.config, "kms")?;
        let subject = || Subject { tenant: Some(args.tenant.clone()), ..Subject::default() };
        trail.write_about(action, subject(), (AuditResult::Ok, "begun"), None).await?;
        let done = work.await;
        let result = if done.is_ok() { (AuditResult::Ok, "") } else { (AuditResult::Failed, "incomplete") };
        trail.write_about(action, subject(), result, None).await?;
        done.map_err(told)
    }
}

/// With dates that people read.
fn told(error: KeyLifeError) -> Failure {
    match error {
        KeyLifeError::UnderWay(generation, from) => {
            let from = status::date(from.unix_seconds());
            format!("generation {generation} was made before and does not seal yet: it will from {from} on").into()
        }
        KeyLifeError::TooEarly(generation, from) => {
            format!("generation {generation} may be destroyed from {} on", status::date(from.unix_seconds())).into()
        }
        error => error.into(),
    }
}

fn state(state: KeyState) -> String {
    let at = |what: &str, time: Timestamp| format!("{what} {}", status::date(time.unix_seconds()));
    match state {
        KeyState::Pending(from) => at("seals from", from),
        KeyState::Active => "active".to_owned(),
        KeyState::DecryptOnly => "decrypt only".to_owned(),
        KeyState::Retired => "retired".to_owned(),
        KeyState::Condemned(from) => at("to be destroyed, not before", from),
    }
}

fn progress(view: &RewrapView) -> String {
    let paused = if view.paused { ", paused" } else { "" };
    let of = view.users.map_or_else(String::new, |users| format!(" of {users}"));
    format!(
        "rewrap to generation {}, walk {}: {}{of} users seen, {} keys sealed anew, {} do not open{paused}",
        view.to, view.scan, view.seen, view.rewrapped_in_all, view.failed
    )
}

/// How far it is, and when this walk will be over.
fn line(view: &RewrapView, seconds: u64) -> String {
    let left = view.users.map(|users| users.saturating_sub(view.seen) * seconds.max(1) / view.seen.max(1));
    let left = left.map_or_else(String::new, |left| format!(", about {left} s left"));
    progress(view) + &left
}

fn name(address: &Address) -> String {
    match address {
        Address::UserKey { tenant, user, generation } => format!("key {generation} of {tenant}/{user}"),
        _ => "a key".to_owned(),
    }
}
