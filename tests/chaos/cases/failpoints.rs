//! An instance is ended at every place where a refresh has taken a step that cannot be taken back, and started again: the
//! grant is alive. The places are those of the source, so that none can be forgotten.
//!
//! One grant is lost, because nobody has its answer: where the platform rotates, and the instance ends between the arrival
//! of the answer and the file it is kept in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Setting;
use crate::caller::Caller;
use crate::judge;
use crate::report::Report;
use crate::world::{World, dead};

/// Claims run out soon, and nobody is waited for who is not coming: whoever was ended is started again before anybody asks.
const SETTINGS: &str = "refresh: { lease_seconds: 5 }\noutbox: { handover_seconds: 0 }\n";

/// Where an answer has arrived that is nowhere yet.
const UNPROTECTED: &str = "answered";

/// Where an answer is on disk that the store does not have.
const LEFT_BEHIND: &str = "kept";

/// The instance that is ended.
const DOOMED: usize = 0;

pub(super) async fn run(setting: Setting) -> Report {
    let (rotating, lenient) = (judge::strict().await, judge::lenient().await);
    let mut world = World::begin(setting.kind, &[rotating.platform(), lenient.platform()], SETTINGS).await;
    let places = places();
    let mut report = Report::default();
    let (mut reached, mut ends) = (BTreeSet::new(), 0);
    let mut all_users = Vec::new();
    for judge in [&rotating, &lenient] {
        let platform = judge.platform().id;
        let mut users = Vec::new();
        for (user, refresh_token) in judge.grants(places.len() * 2).await {
            at(&world, &platform).store_expired(&user, &refresh_token).await;
            users.push(user);
        }
        for (place, users) in places.iter().zip(users.chunks(2)) {
            setting.tell(&format!("{platform}: {place}"));
            let ended = ends_refreshing(&mut world, &platform, place, &users[0]).await
                || !reached.contains(place) && ends_replaying(&mut world, &platform, place, &users[1]).await;
            if ended {
                ends += 1;
                reached.insert(place.clone());
            }
        }
        start_anew(&mut world, "").await;
        all_users.push((platform, users));
    }

    let forgotten: Vec<_> = places.difference(&reached).collect();
    report.must(forgotten.is_empty(), || format!("no refresh comes by {forgotten:?}"));
    let unprotected = places.iter().position(|place| place == UNPROTECTED);
    report.must(unprotected.is_some(), || format!("there is no failpoint `{UNPROTECTED}` any more"));
    let (mut alive, mut of) = (0, 0);
    for (platform, users) in &all_users {
        let callers: Vec<Caller> = world.callers().iter().map(|caller| caller.on(platform)).collect();
        let dead = dead(&callers, users).await;
        let excused = unprotected.filter(|_| *platform == rotating.platform().id).map(|n| users[n * 2].clone());
        report.must(dead.iter().map(|lost| &lost.user).eq(&excused), || {
            format!("{platform}: {dead:?} are lost, and not {excused:?}")
        });
        (alive, of) = (alive + users.len() - dead.len(), of + users.len());
        report.excused.push((excused.iter().count(), "not written"));
    }
    let seen = rotating.seen().await;
    report.must((seen.refused, seen.revoked) == (1, 1), || format!("the judge that rotates saw {seen:?}"));
    report.refreshes = Some(seen.granted + seen.refused + lenient.seen().await.granted);
    report.calls = of * 2;
    report.alive = Some((alive, of));
    report.done = format!("{} instances; ended {ends} times at {}", world.instances.len(), join(&places));
    report
}

/// Refreshes the token of a user at an instance that ends at a place; whether it has ended there.
async fn ends_refreshing(world: &mut World, platform: &str, place: &str, user: &str) -> bool {
    start_anew(world, place).await;
    let served = at(world, platform).get(user).await.is_ok();
    if !served {
        assert_eq!(world.instances[DOOMED].vault.ended().await, None, "`{place}`: a signal ends it");
    }
    !served
}

/// Starts an instance that ends at a place, on an answer that waits to be stored; whether it has ended there.
async fn ends_replaying(world: &mut World, platform: &str, place: &str, user: &str) -> bool {
    ends_refreshing(world, platform, LEFT_BEHIND, user).await
        && !world.try_restart(DOOMED, &[("VAULT_FAILPOINT", place)]).await
}

/// Starts the instance again, to end at this place, if it comes by.
async fn start_anew(world: &mut World, place: &str) {
    if world.instances[DOOMED].vault.is_running() {
        world.kill(DOOMED).await;
    }
    world.restart(DOOMED, &[("VAULT_FAILPOINT", place)]).await;
}

fn at(world: &World, platform: &str) -> Caller {
    world.instances[DOOMED].caller.on(platform)
}

/// Every place where the vault can be made to end, as its source names them.
fn places() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/refresher");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let sources: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let calls = sources.iter().flat_map(|source| source.split("failpoint::reach(\"").skip(1));
    calls.map(|call| call.split_once('"').unwrap().0.to_owned()).collect()
}

fn join(places: &BTreeSet<String>) -> String {
    places.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
