//! `vault-engine status --watch`: every change, for as long as somebody looks.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status};

use super::Args;
use crate::cli::client::{Client, explain};
use crate::cli::{Failure, output};
use crate::pb::vault_v1::watch_status_response::Event;
use crate::pb::vault_v1::{ConnectionStatus, WatchStatusRequest, WatchStatusResponse};

/// How often in a row a stream is taken up again that breaks off at once.
const ATTEMPTS: u32 = 10;

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut connection = args.client.connect().await?;
    let mut message = WatchStatusRequest {
        tenant: args.client.tenant.clone(),
        user_ids: args.user_id.into_iter().collect(),
        platforms: args.platforms,
        resume_token: String::new(),
    };
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut attempts = 0;
    loop {
        let before = message.resume_token.clone();
        let ended = match until {
            None => follow(&mut connection, &mut message, args.json).await,
            Some(until) => match timeout_at(until, follow(&mut connection, &mut message, args.json)).await {
                Ok(ended) => ended,
                Err(_) => return Ok(ExitCode::SUCCESS),
            },
        };
        attempts = if message.resume_token == before { attempts + 1 } else { 0 };
        match ended {
            // The end of a connection, or of an instance: another one goes on where this one stopped.
            Err(Broken::Off(status)) if attempts < ATTEMPTS && may_go_on(&status) => {
                output::note(format!("{}, going on", status.message()));
                sleep(Duration::from_secs(1)).await;
            }
            Ok(()) if attempts < ATTEMPTS => {}
            Ok(()) => return Err("the vault ends the stream at once, again and again".into()),
            Err(Broken::Off(status)) => return Err(explain(&status)),
            Err(Broken::Output(failure)) => return Err(failure),
        }
    }
}

/// Why a stream is not followed any more.
enum Broken {
    Off(Status),
    Output(Failure),
}

async fn follow(connection: &mut Client, message: &mut WatchStatusRequest, json: bool) -> Result<(), Broken> {
    let request = connection.request(message.clone());
    let mut messages = connection.vault.watch_status(request).await.map_err(Broken::Off)?.into_inner();
    while let Some(told) = messages.message().await.map_err(Broken::Off)? {
        message.resume_token.clone_from(&told.resume_token);
        if json {
            output::say(serde_json::to_string(&told).map_err(|error| Broken::Output(error.into()))?);
        } else {
            show(&told);
        }
    }
    Ok(())
}

fn may_go_on(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::Unknown | Code::Cancelled)
}

fn show(told: &WatchStatusResponse) {
    match &told.event {
        Some(Event::SnapshotStart(start)) if start.reset => {
            output::say(output::dim("-- everything from the beginning"));
        }
        Some(Event::Connection(connection)) => output::say(line(connection)),
        Some(Event::SnapshotEnd(_)) => output::say(output::dim("-- that was all; what changes follows")),
        Some(Event::SnapshotStart(_) | Event::Heartbeat(_)) | None => {}
    }
}

/// One connection in one line, its columns wide enough for most.
fn line(connection: &ConnectionStatus) -> String {
    let row = connection.status.as_ref().map(super::row).unwrap_or_default();
    let mut columns = [16, 10, 20, 22, 36, 0].into_iter();
    let cells = row.iter().map(|cell| format!("{cell:<width$}", width = columns.next().unwrap_or_default()));
    let cells: Vec<String> = cells.collect();
    format!("{:<24}  v{:<5} {}", connection.user_id, connection.version, cells.join(" ")).trim_end().to_owned()
}
