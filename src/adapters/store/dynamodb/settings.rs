//! What an operator says about the DynamoDB to use, and the client that is built from it.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::startup::ConnectError;

/// Which table, where, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamoSettings {
    /// The name of the table. Nothing else may live in it.
    pub table: String,
    /// The region; `None` asks the environment, the profile and the instance, in AWS's usual order.
    pub region: Option<String>,
    /// Another endpoint than the region's own, such as a VPC endpoint.
    pub endpoint: Option<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one request may take, connecting included.
    pub request_timeout: Duration,
    /// How long one call of the store may take, which is one request to read and up to three to write.
    pub operation_timeout: Duration,
}

/// The SDK pins a client's defaults to a date; a newer one is taken on purpose and not by an update.
pub(super) fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

// === impl DynamoSettings ===

impl Default for DynamoSettings {
    fn default() -> Self {
        Self {
            table: "vault-engine".to_owned(),
            region: None,
            endpoint: None,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(3),
        }
    }
}

impl DynamoSettings {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), ConnectError> {
        let fault = |field, fault| Err(ConnectError::Settings { field, fault });
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(3..=255).contains(&self.table.len()) || !self.table.bytes().all(in_name) {
            return fault("table", "must be 3 to 255 of A-Z a-z 0-9 . _ -");
        }
        let limits = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("operation_timeout", self.operation_timeout),
        ];
        for (field, limit) in limits {
            if limit.is_zero() || limit > Duration::from_mins(1) {
                return fault(field, "must be more than nothing and at most one minute");
            }
        }
        Ok(())
    }

    /// The client. Finds region and credentials; asks nothing of DynamoDB yet.
    pub(super) async fn client(&self, loader: ConfigLoader) -> Result<Client, ConnectError> {
        // The SDK's own client obeys `HTTP(S)_PROXY`, and then whoever sets a variable stands between us and DynamoDB.
        // One that is built by hand has no proxy.
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.request_timeout)
            .operation_attempt_timeout(self.request_timeout)
            .operation_timeout(self.request_timeout)
            .build();
        // A conditional write whose answer was lost, tried again by the SDK, would find itself and look like a conflict.
        // Whoever tries again has to know that it does.
        let mut loader = loader.http_client(http).timeout_config(timeouts).retry_config(RetryConfig::disabled());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(ConnectError::NoRegion);
        }
        Ok(Client::new(&config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_its_name() {
        assert!(DynamoSettings::default().check().is_ok());
        let broken = [
            ("table", DynamoSettings { table: "ab".to_owned(), ..DynamoSettings::default() }),
            ("table", DynamoSettings { table: "a/b/c".to_owned(), ..DynamoSettings::default() }),
            ("request_timeout", DynamoSettings { request_timeout: Duration::ZERO, ..DynamoSettings::default() }),
            (
                "operation_timeout",
                DynamoSettings { operation_timeout: Duration::from_secs(61), ..DynamoSettings::default() },
            ),
        ];
        for (field, settings) in broken {
            assert!(settings.check().is_err_and(|error| error.to_string().contains(field)), "{field}");
        }
    }
}
