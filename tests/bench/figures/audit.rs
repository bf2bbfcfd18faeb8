//! What the audit trail costs: waiting for the disk, and verifying what was written.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use vault_engine::adapters::audit::{
    AuditLog, Settings, Target as Sink, TrailKeys, Verdict, Verification, verify_trail,
};
use vault_engine::adapters::system::{SystemClock, SystemRandom};
use vault_engine::domain::audit::{AuditAction, AuditEntry, AuditResult, Fingerprint, Subject};
use vault_engine::domain::id::Environment;
use vault_engine::domain::method::Method;
use vault_engine::domain::ports::AuditSink as _;
use vault_engine::domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::contest::{self, Contestant, median};
use crate::effort::{Effort, TARGET_LEVEL};
use crate::report::{Bound, Target};
use crate::vault::{NearCache, Store, Vault};
use crate::{say, traffic};

const OS: &str = "vault, lines with the OS";
const DISK: &str = "vault, lines on disk";

/// Lines that are written to be verified, for each call of a primitive.
const LINES: u32 = 25;
/// How often they are verified.
const ROUNDS: usize = 5;
/// Lines on their way at once.
const BATCH: u32 = 500;

pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    let vault = |durability: &str| {
        let line = format!("audit: {{ durability: {durability} }}\n");
        let vault = Vault::start_with(Store::Embedded, NearCache::AsItShips, |_| Ok(line))?;
        vault.store_fresh(traffic::one_each())?;
        Ok::<_, Box<dyn Error>>(vault)
    };
    let (os, disk) = (vault("os")?, vault("disk")?);
    let contestant = |name, vault: &'_ Vault, compared_with| {
        let load = vault.get_token(traffic::one_each());
        (name, load, compared_with)
    };
    let [one, other] = [contestant(OS, &os, &[][..]), contestant(DISK, &disk, &[OS][..])];
    let contestants = [
        Contestant { name: one.0, server: &os.server, load: one.1, compared_with: one.2 },
        Contestant { name: other.0, server: &disk.server, load: other.1, compared_with: other.2 },
    ];
    let levels = contest::hold(&contestants, &[1, TARGET_LEVEL], effort)?;
    let level = levels.last().ok_or("the level was not measured")?;
    let durable = level.ratio(DISK, OS)?.per_second;
    let verified = lines_per_second(effort.primitive_calls * LINES)?;
    say(format!("audit lines verified per second: {verified:.0}\n"));
    Ok(vec![
        Target::new("GetToken, audited on disk, to audited with the OS, calls/s", Bound::AtLeast(0.5), durable),
        Target::new("audit lines verified, hundred thousands per second", Bound::AtLeast(2.0), verified / 1e5),
    ])
}

/// Writes a trail, and verifies it some times.
fn lines_per_second(lines: u32) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write(&path, lines))?;
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let reports = verify_trail(&path, &Verification::default(), &mut |_, _| ())?;
        let report = reports.first().ok_or("no trail")?;
        if report.verdict != Verdict::Whole {
            return Err(format!("{:?}", report.verdict).into());
        }
        rates.push(f64::from(u32::try_from(report.lines)?) / began.elapsed().as_secs_f64());
    }
    Ok(median(rates.into_iter()))
}

async fn write(path: &Path, lines: u32) -> Result<(), Box<dyn Error>> {
    let environment: Environment = "dev".parse()?;
    let key = |byte| Zeroizing::new([byte; 32]);
    let keys = TrailKeys::new(&environment, &key(1), &key(2));
    let settings = Settings::new(Sink::File(path.to_owned()), environment);
    let log = AuditLog::open(&settings, Some(keys), Arc::new(SystemClock), &SystemRandom)?;
    for _ in 0..lines / BATCH {
        let written =
            join_all((0..BATCH).map(|_| async { log.append(entry()?).await.map_err(Box::<dyn Error>::from) }));
        written.await.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    Ok(())
}

/// What is written about a token that is handed out.
fn entry() -> Result<AuditEntry, Box<dyn Error>> {
    Ok(AuditEntry {
        at: Timestamp::EPOCH,
        request_id: "0123456789abcdef0123456789abcdef".parse()?,
        engine: Some("action".parse()?),
        key_id: Some("0123456789AB".to_owned()),
        peer: Some("127.0.0.1:43210".into()),
        spiffe_id: None,
        action: AuditAction::Call(Method::GetToken),
        subject: Subject {
            tenant: Some("default".parse()?),
            user: Some("user-4711".parse()?),
            platform: Some("google".parse()?),
            target: None,
        },
        result: AuditResult::Ok,
        reason: "",
        latency: Duration::from_micros(120),
        record_version: Some(3),
        items: None,
        token_fp: Some(Fingerprint([7; 16])),
    })
}
