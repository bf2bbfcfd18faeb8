//! What a vault takes before anybody asks: memory, bytes in the store, and the cryptography of one call.

use std::error::Error;

use crate::crypto;
use crate::effort::Effort;
use crate::report::{Bound, Target};
use crate::traffic::{self, Connection};
use crate::vault::{NearCache, Store, Vault};

#[expect(clippy::cast_precision_loss, reason = "bytes that a float holds exactly")]
pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    let idle = Vault::start(Store::Embedded, NearCache::AsItShips)?.server.resident()?;
    let vault = Vault::start(Store::Redis, NearCache::AsItShips)?;
    vault.store_fresh(traffic::one_each().take(1))?;
    let overhead = vault.record_bytes()? - Connection::payload_bytes();
    let (authentication, opening) = crypto::per_call(effort.primitive_calls)?;
    let crypto = (authentication + opening).as_secs_f64() * 1e6;
    let below = |what, most, unit, measured| Target::new(what, Bound::Below(most, unit), measured);
    Ok(vec![
        below("cryptography and authentication of one GetToken, CPU", 15.0, "us", crypto),
        below("resident memory of a vault that has just started", 60.0, "MiB", idle as f64 / 1_048_576.0),
        below("bytes of a stored record beyond its tokens and scopes", 160.0, "B", overhead as f64),
    ])
}
