//! What one `GetToken` costs in cryptography and authentication alone, measured inside this process.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use vault_engine::access::{EngineKey, Pepper};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::connection::{Connection, Entry, Generation, Grant, OriginFingerprint};
use vault_engine::domain::id::{ConnectionKey, Environment};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::context::Context;
use vault_engine::envelope::{decode, encode, seal};
use zeroize::Zeroizing;

use crate::{engine, traffic};

const ROUNDS: usize = 9;

/// Processor time of reading and verifying an engine's key, and of opening and reading a record.
pub(crate) fn per_call(calls: u32) -> Result<(Duration, Duration), Box<dyn Error>> {
    let pepper = Pepper::new(Zeroizing::new([7; 32]));
    let key = EngineKey::make(&SystemRandom);
    let (text, verifier) = (key.expose(), key.verifier(&pepper, engine::NAME));
    let authentication = median(|| {
        for _ in 0..calls {
            let presented: EngineKey = black_box(text.as_str()).parse()?;
            let made = presented.verifier(&pepper, engine::NAME);
            black_box(made.verifier.ct_eq(&verifier.verifier));
        }
        Ok(())
    })?;
    let environment: Environment = "dev".parse()?;
    let user_key = [9; 32];
    let connection = traffic::Connection::of_user(0);
    let place = ConnectionKey {
        tenant: "default".parse()?,
        user: connection.user.parse()?,
        platform: connection.platform.parse()?,
    };
    let context = Context::token(&environment, &place);
    let sealed = seal::seal(&SystemRandom, &user_key, 1, 1, &context, &encode(&entry(&connection)?));
    let opening = median(|| {
        for _ in 0..calls {
            let context = Context::token(&environment, black_box(&place));
            let opened = seal::open(&user_key, 1, &context, black_box(&sealed))?;
            black_box(decode(&opened.plaintext)?);
        }
        Ok(())
    })?;
    Ok((authentication / calls, opening / calls))
}

fn entry(connection: &traffic::Connection) -> Result<Entry, Box<dyn Error>> {
    let (access, refresh) = connection.tokens();
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    let grant = Grant {
        access: AccessToken::new(access).ok_or("an empty token")?,
        refresh: RefreshToken::new(refresh),
        previous_refresh: None,
        expires_at: Some(now),
        issued_at: now,
        scopes: connection.answer().scopes,
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(1),
    };
    Ok(Entry::Live(Box::new(Connection::stored(grant, Generation(1), now))))
}

/// The median of several runs, in processor time of this thread: what else runs on the core does not count.
pub(crate) fn median(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before = on_core()?;
        run()?;
        times.push(on_core()?.saturating_sub(before));
    }
    times.sort_unstable();
    times.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".into())
}

fn on_core() -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
