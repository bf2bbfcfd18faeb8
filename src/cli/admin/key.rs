//! `vault-engine admin key`

use std::process::ExitCode;

use super::{Asking, engine_name, short};
use crate::cli::client::explain;
use crate::cli::status::date;
use crate::cli::{Failure, output};
use crate::pb::vault_v1::{CreateKeyRequest, Key, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Make a key: printed on standard output this once, and never again
    Create {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
        /// How long it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=365))]
        days: u16,
    },
    /// List the keys of an engine, without their secrets
    List {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
    },
    /// Make a key in the place of another, which goes on working for a while
    Rotate {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
        /// The public part of the key to be replaced, as `list` shows it
        key: String,
        /// How long the old key goes on working
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=168))]
        overlap_hours: u16,
        /// How long the new key is valid
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=365))]
        days: u16,
    },
    /// End a key now: refused everywhere within 5 seconds, its streams are cut
    Revoke {
        #[command(flatten)]
        asking: Asking,
        /// TENANT/ENGINE
        engine: String,
        /// The public part of the key, as `list` shows it
        key: String,
    },
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create { asking, engine, days } => {
            let mut client = asking.client.connect().await?;
            let parent = engine_name(&engine)?;
            let request = client.request(CreateKeyRequest { parent, ttl_seconds: seconds(days) });
            let made = client.admin.create_key(request).await.map_err(|status| explain(&status))?.into_inner();
            hand_over(&engine, made.key.as_ref(), &made.secret);
        }
        Command::List { asking, engine } => {
            let mut client = asking.client.connect().await?;
            let request = client.request(ListKeysRequest { parent: engine_name(&engine)? });
            let listed = client.admin.list_keys(request).await.map_err(|status| explain(&status))?.into_inner();
            show(&listed.keys, asking.json)?;
        }
        Command::Rotate { asking, engine, key, overlap_hours, days } => {
            let mut client = asking.client.connect().await?;
            let name = format!("{}/keys/{key}", engine_name(&engine)?);
            let overlap_seconds = Some(i64::from(overlap_hours) * 3_600);
            let request = client.request(RotateKeyRequest { name, overlap_seconds, ttl_seconds: seconds(days) });
            let made = client.admin.rotate_key(request).await.map_err(|status| explain(&status))?.into_inner();
            hand_over(&engine, made.key.as_ref(), &made.secret);
            if let Some(old) = made.replaced {
                output::note(format!("The old one goes on working until {}.", date(old.expires_at)));
            }
        }
        Command::Revoke { asking, engine, key } => {
            let mut client = asking.client.connect().await?;
            let request = client.request(RevokeKeyRequest { name: format!("{}/keys/{key}", engine_name(&engine)?) });
            let revoked = client.admin.revoke_key(request).await.map_err(|status| explain(&status))?.into_inner();
            show(&[revoked], asking.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The key on standard output, and everything about it beside.
fn hand_over(engine: &str, key: Option<&Key>, secret: &str) {
    let until = key.map(|key| format!(", valid until {}", date(key.expires_at))).unwrap_or_default();
    output::note(format!("The key of `{engine}`, shown this once{until}. Give it to the engine as `x-engine-key`:"));
    output::say(secret);
}

fn seconds(days: u16) -> i64 {
    i64::from(days) * 86_400
}

fn show(keys: &[Key], json: bool) -> Result<(), Failure> {
    if json {
        for key in keys {
            output::say(serde_json::to_string(key)?);
        }
        return Ok(());
    }
    let when = |at: i64| if at == 0 { String::new() } else { date(at) };
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let id = short(&key.name).rsplit('/').next().unwrap_or_default().to_owned();
            let last_used = if key.last_used_at == 0 { "never".to_owned() } else { date(key.last_used_at) };
            vec![id, key.state.clone(), date(key.created_at), date(key.expires_at), when(key.revoked_at), last_used]
        })
        .collect();
    output::table(&["KEY", "STATE", "CREATED", "EXPIRES", "REVOKED", "LAST USED"], &rows);
    Ok(())
}
