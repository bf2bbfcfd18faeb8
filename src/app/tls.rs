//! The files TLS is made of: read at the start, and again whenever they change. Connections that are open stay; a change
//! for the worse is refused and told of, and what was good before goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::config::{ClientCertificates, TlsConfig};
use crate::document::{Readers, read_text};
use crate::domain::ports::{Clock, Tasks as _};
use crate::domain::time::Timestamp;
use crate::lifecycle::Lifecycle;
use crate::transport::{Asked, CurrentTls, Tls, TlsError, TlsMaterial, Validity};

/// The files, as they were when they were last good.
pub struct TlsFiles {
    config: TlsConfig,
    current: CurrentTls,
    /// What was read last, good or not.
    seen: [u8; 32],
    said_at: Option<Instant>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read, or should not be.
    #[error("`{field}` names `{path}`, which {problem}{}", mend(.hint))]
    File {
        /// The key of the configuration that names it.
        field: String,
        /// Where it is.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        hint: String,
    },
    /// What the files hold cannot be used.
    #[error(transparent)]
    Content(#[from] TlsError),
    /// The certificate is no good any more.
    #[error("`tls.cert_file` holds a certificate that expired on {0}")]
    Expired(String),
}

/// The most one file may have: more than a hundred authorities.
const MAX_BYTES: usize = 512 * 1_024;

/// How often it is said that a certificate is about to expire.
const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

// === impl TlsFiles ===

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When one of them is not what it should be.
    pub fn open(config: &TlsConfig) -> Result<Self, TlsFilesError> {
        let (material, seen) = read(config)?;
        let current = CurrentTls::new(Tls::of(&material)?);
        Ok(Self { config: config.clone(), current, seen, said_at: None })
    }

    /// What connections begin with, now and after every change.
    #[must_use]
    pub fn current(&self) -> CurrentTls {
        self.current.clone()
    }

    /// Looks at the files from time to time until the process is asked to stop.
    pub fn keep_fresh(mut self, clock: Arc<dyn Clock>, lifecycle: &Lifecycle) {
        let stop = lifecycle.clone();
        let watching = async move {
            let mut looks = interval(self.config.reload);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                self.warn_of_the_end(clock.now());
                self.look(clock.now());
            }
        };
        let until_stopped = async move {
            tokio::select! {
                () = watching => {}
                () = stop.drained() => {}
            }
        };
        lifecycle.spawn("tls files", Box::pin(until_stopped));
    }

    fn look(&mut self, now: Timestamp) {
        let outcome = match read(&self.config) {
            Ok((_, seen)) if seen == self.seen => return,
            Ok((material, seen)) => {
                self.seen = seen;
                Tls::of(&material).map_err(TlsFilesError::from)
            }
            Err(error) => {
                // Told once, and again when it is another.
                let seen = Sha256::digest(error.to_string()).into();
                if seen == self.seen {
                    return;
                }
                self.seen = seen;
                Err(error)
            }
        };
        let checked = outcome.and_then(|tls| {
            let until = tls.validity.until;
            if until <= now { Err(TlsFilesError::Expired(date(until))) } else { Ok(tls) }
        });
        match checked {
            Ok(tls) => {
                let until = date(tls.validity.until);
                self.said_at = None;
                self.current.replace(tls);
                tracing::info!(until, "certificates were read again: new connections begin with them");
            }
            Err(error) => tracing::error!(
                alarm = "certificate_refused",
                error = &error as &dyn std::error::Error,
                "certificates changed and cannot be used: those from before stay"
            ),
        }
    }

    fn warn_of_the_end(&mut self, now: Timestamp) {
        let Validity { from, until } = self.current.validity();
        let left = until.since(now);
        if left > worth_a_word(until.since(from)) {
            return;
        }
        let every = if left > DAILY { DAILY } else { HOURLY };
        if self.said_at.is_some_and(|said_at| said_at.elapsed() < every) {
            return;
        }
        self.said_at = Some(Instant::now());
        let (days_left, until) = (left.as_secs() / 86_400, date(until));
        if left.is_zero() {
            tracing::error!(
                alarm = "certificate_expiry",
                days_left,
                until,
                "the certificate of the server has expired"
            );
        } else {
            tracing::warn!(
                alarm = "certificate_expiry",
                days_left,
                until,
                "the certificate of the server expires soon"
            );
        }
    }
}

/// How long before its end a certificate that is good for so long should have been replaced: a quarter of its life, and
/// never more than 30 days.
fn worth_a_word(life: Duration) -> Duration {
    (life / 4).min(Duration::from_hours(30 * 24))
}

/// A moment, as people write it.
#[must_use]
pub fn date(at: Timestamp) -> String {
    let date = OffsetDateTime::from_unix_timestamp(at.unix_seconds()).ok().and_then(|date| date.format(&Rfc3339).ok());
    date.unwrap_or_else(|| at.to_string())
}

fn read(config: &TlsConfig) -> Result<(TlsMaterial, [u8; 32]), TlsFilesError> {
    let public = |field: &str, path: &Path| text(field, path, Readers::Anybody);
    let domains = config.trust_domains.iter().map(|(domain, path)| {
        let text = public(&format!("tls.trust_domains.{domain}"), path)?;
        Ok((domain.clone(), text))
    });
    let material = TlsMaterial {
        chain: public("tls.cert_file", &config.cert_file)?,
        key: Zeroizing::new(text("tls.key_file", &config.key_file, Readers::OwnerAndGroup)?),
        asked: match config.client_certificates {
            ClientCertificates::None => Asked::No,
            ClientCertificates::Optional => Asked::Politely,
            ClientCertificates::Required => Asked::Firmly,
        },
        authorities: config.client_ca_file.as_deref().map(|path| public("tls.client_ca_file", path)).transpose()?,
        trust_domains: domains.collect::<Result<BTreeMap<_, _>, TlsFilesError>>()?,
    };
    let seen = digest(&material);
    Ok((material, seen))
}

/// What is compared to see a change: contents, because a file that is swapped behind a link keeps its time.
fn digest(material: &TlsMaterial) -> [u8; 32] {
    let mut digest = Sha256::new();
    let others = material.authorities.iter().chain(material.trust_domains.values());
    for text in [&material.chain, &*material.key].into_iter().chain(others) {
        digest.update(Sha256::digest(text));
    }
    digest.finalize().into()
}

fn text(field: &str, path: &Path, readers: Readers) -> Result<String, TlsFilesError> {
    read_text(path, MAX_BYTES, readers).map_err(|mismatch| TlsFilesError::File {
        field: field.to_owned(),
        path: path.display().to_string(),
        problem: mismatch.problem,
        hint: mismatch.hint,
    })
}

fn mend(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(": {hint}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lived_certificates_are_worth_a_word_late_and_long_lived_ones_a_month_before() {
        let [hour, quarter, years] = [1, 90 * 24, 5 * 365 * 24].map(|hours| worth_a_word(Duration::from_hours(hours)));
        assert_eq!(hour, Duration::from_mins(15));
        assert_eq!(quarter, Duration::from_hours(90 * 6));
        assert_eq!(years, Duration::from_hours(30 * 24));
    }
}
