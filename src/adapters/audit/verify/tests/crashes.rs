//! What a killed process leaves of its trail, and how the next one goes on.

use std::fs::File;
use std::io::Write as _;

use super::*;

#[tokio::test]
async fn half_a_line_is_taken_away_and_told_of() {
    let trail = Trail::written().await;
    File::options().append(true).open(trail.path()).unwrap().write_all(b"{\"v\":1,\"seq\":").unwrap();
    trail.run(500..505).await;
    assert_eq!(trail.verdict(), Verdict::Whole);
    let opened = trail.lines().into_iter().rfind(|line| reason_of(line) == OPENED).unwrap();
    assert!(opened.contains(r#""torn":"{\"v\":1,\"seq\":""#), "{opened}");
}

#[tokio::test]
async fn a_process_killed_while_it_closes_a_segment_leaves_a_trail() {
    let trail = Trail::written().await;
    let place = Place::of(&trail.path());
    let active = fs::read(&place.active).unwrap();
    // The next segment is there, and the old one not yet renamed.
    fs::write(place.next(), &active).unwrap();
    trail.run(600..605).await;
    assert_eq!(trail.verdict(), Verdict::Whole);
    // The old one is renamed, the next one not.
    trail.unpack();
    fs::rename(&place.active, place.next()).unwrap();
    trail.run(605..610).await;
    assert_eq!(trail.verdict(), Verdict::Whole);
    // The active one is closed, and there is no next.
    trail.unpack();
    let first = seq_of(&lines_of(&place.active)[0]);
    fs::rename(&place.active, place.closed(first)).unwrap();
    trail.run(610..615).await;
    assert_eq!(trail.verdict(), Verdict::Whole);
}

#[tokio::test]
async fn an_operation_whose_end_nobody_knows_is_said_to_be_so() {
    let trail = Trail::new();
    let log = trail.open();
    for (id, reason) in [("a", "begun"), ("b", "begun"), ("a", "")] {
        log.append(AuditEntry { request_id: id.parse().unwrap(), reason, ..entry(0) }).await.unwrap();
    }
    // Killed: what it wrote is there, and nothing was closed.
    let (place, text) = (Place::of(&trail.path()), fs::read_to_string(trail.path()).unwrap());
    let latest = fs::read_to_string(place.latest()).ok();
    drop(log);
    fs::write(trail.path(), text).unwrap();
    match latest {
        Some(latest) => fs::write(place.latest(), latest).unwrap(),
        None => fs::remove_file(place.latest()).unwrap(),
    }
    assert!(matches!(trail.verdict(), Verdict::Incomplete(_)));
    trail.run(0..1).await;
    let unknown: Vec<String> = trail.lines().into_iter().filter(|line| line.contains("\"unknown\"")).collect();
    assert!(unknown.len() == 1 && unknown[0].contains(r#""request_id":"b","engine":"action""#), "{unknown:?}");
    assert_eq!(trail.verdict(), Verdict::Whole);
}

#[tokio::test]
async fn two_that_write_to_one_place_write_two_trails() {
    let trail = Trail::new();
    let (one, other) = (trail.open(), trail.open());
    one.append(entry(1)).await.unwrap();
    other.append(entry(2)).await.unwrap();
    drop((one, other));
    let knowing = Verification { keys: vec![keys(1).public().clone()], ..Verification::default() };
    let reports = verify_trail(&trail.path(), &knowing, &mut |_, _| ()).unwrap();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|report| report.verdict == Verdict::Whole));
    assert_ne!(reports[0].instance, reports[1].instance);
}
