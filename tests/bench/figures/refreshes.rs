//! Expired tokens asked for all at once, at a platform that takes its time: what the slowest caller waits for is the
//! platform, however many callers there are.

use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::json;

use crate::contest::median;
use crate::effort::Effort;
use crate::engine::{self, Engine};
use crate::platforms;
use crate::provider::{Answer, Provider};
use crate::report::{Bound, Target};
use crate::say;
use crate::traffic::{Connection, LONG_AGO};
use crate::vault::{NearCache, Store, Vault};

/// How many callers come at once.
const CROWDS: [usize; 4] = [1, 10, 100, MOST];
const MOST: usize = 1_000;

/// Refreshes of one platform that an instance has under way at once; the others wait for their turn.
const AT_ONCE: usize = 64;

/// gRPC connections the callers share.
const CHANNELS: usize = 8;

/// What the callers of a crowd ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    OneToken,
    TokensOfOneUser,
    UsersOfOnePlatform,
}

/// A crowd, and what became of it.
struct Outcome {
    shape: Shape,
    callers: usize,
    latency: Duration,
    median: f64,
    slowest: f64,
    /// Requests the platform got: the most in any round.
    refreshes: usize,
}

/// What the crowds come to.
struct World {
    engines: Vec<Engine>,
    provider: Provider,
    /// So that every crowd asks for tokens of its own.
    crowds: usize,
}

pub(super) fn measure(effort: &Effort) -> Result<Vec<Target>, Box<dyn Error>> {
    engine::runtime()?.block_on(async {
        let provider = Provider::start().await;
        let vault = Vault::start_with(Store::Redis, NearCache::AsItShips, |folder| {
            // Tokens stored as expired are due: nobody but the crowd is to ask for them.
            let background = "refresh: { background: { enabled: false } }\n";
            Ok(platforms::write(&folder.join("profiles"), MOST, &provider.url(""))? + background)
        })?;
        let engines = (0..CHANNELS).map(|_| vault.engine()).collect::<Result<_, _>>()?;
        let mut world = World { engines, provider, crowds: 0 };
        say(format!(
            "{:<38} {:>9} {:>10} {:>9} {:>9}",
            "expired tokens, asked for at once", "platform", "refreshes", "p50", "slowest"
        ));
        let mut outcomes = Vec::new();
        for (shape, latencies) in Shape::all(effort) {
            for latency in latencies {
                for callers in CROWDS {
                    let outcome = world.crowds(shape, callers, *latency, effort.crowds).await?;
                    outcome.print();
                    outcomes.push(outcome);
                }
            }
        }
        say("");
        targets(&outcomes, effort.latencies)
    })
}

fn targets(outcomes: &[Outcome], [short, long]: [Duration; 2]) -> Result<Vec<Target>, Box<dyn Error>> {
    let of = |shape, callers, latency| {
        let same = |one: &&Outcome| (one.shape, one.callers, one.latency) == (shape, callers, latency);
        outcomes.iter().find(same).ok_or("a crowd did not come")
    };
    let slowest = |shape, callers, latency| of(shape, callers, latency).map(|outcome| outcome.slowest);
    // How much longer the slowest waits for each second the platform takes longer.
    let slope = |shape| {
        let longer = slowest(shape, MOST, long)? - slowest(shape, MOST, short)?;
        Ok::<_, &str>(longer / long.saturating_sub(short).as_secs_f64())
    };
    // What the vault adds for each caller more, in milliseconds.
    let each = |shape| {
        let more = slowest(shape, MOST, long)? - slowest(shape, 1, long)?;
        Ok::<_, &str>(more / f64::from(u32::try_from(MOST - 1).unwrap_or(u32::MAX)) * 1e3)
    };
    let refreshes = u32::try_from(of(Shape::OneToken, MOST, long)?.refreshes)?;
    let waves = f64::from(u32::try_from(MOST.div_ceil(AT_ONCE))?) * short.as_secs_f64();
    let most = |what: &str, most, measured| Target::new(what, Bound::AtMost(most, ""), measured);
    let below = |what: &str, most, measured| Target::new(what, Bound::Below(most, "ms"), measured);
    Ok(vec![
        most("1,000 callers of one expired token: refreshes", 1.0, f64::from(refreshes)),
        most("1,000 callers of one expired token: longer per provider latency", 1.1, slope(Shape::OneToken)?),
        most("1,000 expired tokens of one user: longer per provider latency", 1.1, slope(Shape::TokensOfOneUser)?),
        below("what each caller more of one expired token adds", 0.25, each(Shape::OneToken)?),
        below("what each expired token more of one user adds", 1.0, each(Shape::TokensOfOneUser)?),
        most(
            "1,000 users of one platform, 64 at once: slowest to 16 latencies",
            1.25,
            slowest(Shape::UsersOfOnePlatform, MOST, short)? / waves,
        ),
    ])
}

// === impl Shape ===

impl Shape {
    /// All of them, and how long the platform takes meanwhile.
    fn all(effort: &Effort) -> [(Self, &[Duration]); 3] {
        let [short, _] = &effort.latencies;
        [
            (Self::OneToken, &effort.latencies),
            (Self::TokensOfOneUser, &effort.latencies),
            (Self::UsersOfOnePlatform, std::slice::from_ref(short)),
        ]
    }

    /// What is asked for by a caller of a crowd.
    fn connection(self, crowd: usize, caller: usize) -> Connection {
        let (user, platform) = match self {
            Self::OneToken => (0, 0),
            Self::TokensOfOneUser => (0, caller),
            Self::UsersOfOnePlatform => (caller, 0),
        };
        Connection::of_user(crowd * MOST + user).to(platforms::name(platform))
    }

    /// How many different tokens a crowd asks for.
    const fn tokens(self, callers: usize) -> usize {
        match self {
            Self::OneToken => 1,
            Self::TokensOfOneUser | Self::UsersOfOnePlatform => callers,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::OneToken => "callers of one token",
            Self::TokensOfOneUser => "tokens of one user",
            Self::UsersOfOnePlatform => "users of one platform",
        }
    }
}

// === impl World ===

impl World {
    /// Some crowds, one after the other; the medians of what they saw.
    async fn crowds(
        &mut self,
        shape: Shape,
        callers: usize,
        latency: Duration,
        rounds: usize,
    ) -> Result<Outcome, Box<dyn Error>> {
        let (mut medians, mut slowest, mut refreshes) = (Vec::new(), Vec::new(), 0);
        self.provider.otherwise(move |_| granted().after(latency));
        for _ in 0..rounds {
            let before = self.provider.requests().len();
            let waited = self.crowd(shape, callers).await?;
            refreshes = refreshes.max(self.provider.requests().len() - before);
            medians.push(median(waited.iter().copied()));
            slowest.push(waited.iter().copied().fold(0.0, f64::max));
        }
        let (median, slowest) = (median(medians.into_iter()), median(slowest.into_iter()));
        Ok(Outcome { shape, callers, latency, median, slowest, refreshes })
    }

    /// How long each caller of one crowd waits, in seconds.
    async fn crowd(&mut self, shape: Shape, callers: usize) -> Result<Vec<f64>, Box<dyn Error>> {
        let crowd = self.crowds;
        self.crowds += 1;
        let first = self.engines.first().ok_or("nobody calls")?;
        let tokens = (0..shape.tokens(callers)).map(|caller| shape.connection(crowd, caller));
        first.store_all(tokens, LONG_AGO).await?;
        let calls = self.engines.iter().cycle().zip(0..callers).map(|(engine, caller)| async move {
            let began = Instant::now();
            let connection = shape.connection(crowd, caller);
            let answer = engine.get_token(&connection).await?;
            if answer.access_token != NEW_TOKEN {
                return Err(Box::<dyn Error>::from("a caller was not handed the new token"));
            }
            Ok(began.elapsed().as_secs_f64())
        });
        try_join_all(calls).await
    }
}

// === impl Outcome ===

impl Outcome {
    fn print(&self) {
        let millis = |seconds: f64| format!("{:.0} ms", seconds * 1e3);
        let (callers, shape) = (self.callers, self.shape.words());
        say(format!(
            "  {callers:>5} {shape:<30} {:>9} {:>10} {:>9} {:>9}",
            millis(self.latency.as_secs_f64()),
            self.refreshes,
            millis(self.median),
            millis(self.slowest),
        ));
    }
}

const NEW_TOKEN: &str = "new-access-token";

/// New tokens, for whoever asks.
fn granted() -> Answer {
    let body = json!({
        "access_token": NEW_TOKEN,
        "refresh_token": "new-refresh-token",
        "token_type": "Bearer",
        "expires_in": 3600,
    });
    Answer::json(200, &body)
}
