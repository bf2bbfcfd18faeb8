//! Answers that no platform would give, made of answers platforms do: whatever they are, the refresh comes to a verdict.

use vault_engine::domain::ports::Exchange;

use crate::mutation::Mutation;
use crate::provider::Answer;
use crate::world::World;

#[tokio::test]
async fn whatever_a_platform_answers_there_is_a_verdict() {
    let world = World::new().await;
    let seeds = [
        r#"{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":3600,"scope":"read write"}"#,
        r#"{"error":"invalid_grant","error_description":"Token has been revoked.","error_uri":"https://a.example/"}"#,
        r#"{"ok":true,"authed_user":{"access_token":"x","expires_in":"43200"},"team":[1,2.5,null,{"a":false}]}"#,
        "access_token=a&refresh_token=r&expires_in=3600&token_type=bearer",
    ];
    let words = ["null", "-1", "1e400", "[[[[", "\\ud800", "\u{feff}", "\"error\":", "99999999999999999999"];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    let mut mutation = Mutation::of(seeds, &words);
    let (mut granted, mut refused) = (0_u64, 0_u64);
    while let Some(body) = mutation.next() {
        let status = [200, 400, 401, 500][body.len() % 4];
        let kind = ["application/json", "application/x-www-form-urlencoded", "text/html"][body.len() % 3];
        world.provider.will(Answer::bytes(status, &body).header("content-type", kind));
        match world.refresh().await {
            Exchange::Granted(_) => granted += 1,
            _ => refused += 1,
        }
    }
    println!("{}: {granted} granted, {refused} not", mutation.about());
    assert!(granted > 0 && refused > 0, "{granted} granted, {refused} not");
}
