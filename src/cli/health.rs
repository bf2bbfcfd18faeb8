//! `vault-engine health`: whether a running vault serves, for whoever supervises it and cannot speak gRPC over TLS.

use std::process::ExitCode;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{ServerArgs, explain};
use super::{Failure, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut health = HealthClient::new(args.server.channel().await?);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await;
    let status = answer.map_err(|status| explain(&status))?.into_inner().status();
    output::say(status.as_str_name());
    Ok(if status == ServingStatus::Serving { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
