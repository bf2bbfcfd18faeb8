//! Making the table, and what is asked of it before the vault relies on it.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::{Instant, sleep};

use super::fault::DynamoFault;
use super::item::{EXPIRES, Item, PK, SK};
use super::table::{Change, Condition, Span, Table, Verdict};

/// How often the table is asked for before the start is given up.
const ATTEMPTS: u32 = 3;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a new table may take to be ready. Some seconds are usual.
const CREATION_LIMIT: Duration = Duration::from_mins(2);

/// A name that is never written.
const PROBE: &str = "#probe";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting cannot work.
    #[error("the dynamodb setting `{field}` {fault}")]
    Settings {
        /// Its name.
        field: &'static str,
        /// What would be right.
        fault: &'static str,
    },
    /// Nobody says in which region the table is.
    #[error("no AWS region is set: set `store.dynamodb.region` or `AWS_REGION`")]
    NoRegion,
    /// There is no such table.
    #[error("there is no table `{table}` in this region and account: run `vault-engine migrate`")]
    Missing {
        /// Its name.
        table: String,
    },
    /// The table was made for something else.
    #[error(
        "the table `{table}` is not a vault's (its key is not `pk`, `sk`, both strings): set `store.dynamodb.table` to \
         another name"
    )]
    Foreign {
        /// Its name.
        table: String,
    },
    /// The table is being made, or deleted.
    #[error("the table `{table}` is not ready (it is `{status}`): try again when it is `ACTIVE`")]
    NotReady {
        /// Its name.
        table: String,
        /// What it is.
        status: String,
    },
    /// DynamoDB does not answer.
    #[error("dynamodb cannot be reached ({attempts} attempts)")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt failed.
        #[source]
        source: DynamoFault,
    },
    /// DynamoDB is there and does not let the vault work.
    #[error("dynamodb does not let the vault work with the table `{table}`")]
    Refused {
        /// Its name.
        table: String,
        /// What it said.
        #[source]
        source: DynamoFault,
    },
}

// === impl ConnectError ===

impl ConnectError {
    /// What a fault after so many attempts means: what passes by itself is no refusal. Having nothing to sign with may
    /// pass, and most often is a mistake.
    fn of(table: &Table, attempts: u32, source: DynamoFault) -> Self {
        if source.passes() && !matches!(source, DynamoFault::Unsigned(_)) {
            Self::Unreachable { attempts, source }
        } else {
            Self::Refused { table: table.name.clone(), source }
        }
    }
}

/// Something an operator should know about the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// What the indices no longer need stays.
    NoTimeToLive,
    /// The vault may not ask.
    Unchecked,
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTimeToLive => f.write_str(
                "the dynamodb table has no time to live on `expires`, so the log of changes grows for ever: run \
                 `vault-engine migrate`",
            ),
            Self::Unchecked => f.write_str(
                "dynamodb does not let this vault see the table's time to live: make sure yourself that it is on, for \
                 `expires`",
            ),
        }
    }
}

/// Waits, within bounds, until DynamoDB answers, and refuses a table that must not be relied on.
pub(super) async fn inspect(table: &Table) -> Result<Vec<Note>, ConnectError> {
    let description = knock(table).await?.ok_or_else(|| ConnectError::Missing { table: table.name.clone() })?;
    check(table, &description)?;
    try_requests(table).await.map_err(|source| ConnectError::of(table, 1, source))?;
    Ok(match has_time_to_live(table).await {
        Ok(true) => Vec::new(),
        Ok(false) => vec![Note::NoTimeToLive],
        Err(_) => vec![Note::Unchecked],
    })
}

/// Makes the table where there is none, and lets it throw away what has expired. What is there already is left as it is.
pub(super) async fn make(table: &Table) -> Result<(), ConnectError> {
    let refused = |source| ConnectError::Refused { table: table.name.clone(), source };
    if knock(table).await?.is_none() {
        create(table).await.map_err(refused)?;
    }
    let deadline = Instant::now() + CREATION_LIMIT;
    loop {
        let checked = match knock(table).await? {
            Some(description) => check(table, &description),
            // It was made a moment ago, and not everybody at DynamoDB knows.
            None => Err(ConnectError::NotReady { table: table.name.clone(), status: "UNKNOWN".to_owned() }),
        };
        match checked {
            Err(ConnectError::NotReady { .. }) if Instant::now() < deadline => sleep(PAUSE).await,
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    if !has_time_to_live(table).await.map_err(refused)? {
        let specification = TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true).build();
        let specification = specification.map_err(|_| refused(DynamoFault::Unexpected))?;
        let request = table.client.update_time_to_live().table_name(&table.name);
        let answer = request.time_to_live_specification(specification).send().await;
        // DynamoDB refuses to turn on what somebody else turned on meanwhile.
        if let Err(error) = answer
            && !has_time_to_live(table).await.map_err(refused)?
        {
            return Err(refused(error.into()));
        }
    }
    Ok(())
}

async fn create(table: &Table) -> Result<(), DynamoFault> {
    let mut request = table.client.create_table().table_name(&table.name).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [(PK, KeyType::Hash), (SK, KeyType::Range)] {
        let attribute =
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        let element = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        request = request
            .attribute_definitions(attribute.map_err(|_| DynamoFault::Unexpected)?)
            .key_schema(element.map_err(|_| DynamoFault::Unexpected)?);
    }
    match request.deletion_protection_enabled(true).send().await {
        Ok(_) => Ok(()),
        // Somebody else is making it.
        Err(SdkError::ServiceError(failure)) if failure.err().is_resource_in_use_exception() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What DynamoDB says about the table; `None` if there is none.
async fn knock(table: &Table) -> Result<Option<TableDescription>, ConnectError> {
    let mut attempts = 1;
    loop {
        let fault = match table.client.describe_table().table_name(&table.name).send().await {
            Ok(answer) => match answer.table {
                Some(description) => return Ok(Some(description)),
                None => DynamoFault::Unexpected,
            },
            Err(SdkError::ServiceError(failure)) if failure.err().is_resource_not_found_exception() => return Ok(None),
            Err(error) => error.into(),
        };
        match ConnectError::of(table, attempts, fault) {
            ConnectError::Unreachable { .. } if attempts < ATTEMPTS => {
                attempts += 1;
                sleep(PAUSE).await;
            }
            error => return Err(error),
        }
    }
}

fn check(table: &Table, description: &TableDescription) -> Result<(), ConnectError> {
    let keys: Vec<_> =
        description.key_schema().iter().map(|key| (key.attribute_name(), key.key_type().clone())).collect();
    let strings = [PK, SK].iter().all(|name| {
        let mut attributes = description.attribute_definitions().iter();
        attributes.any(|found| found.attribute_name() == *name && *found.attribute_type() == ScalarAttributeType::S)
    });
    if keys != [(PK, KeyType::Hash), (SK, KeyType::Range)] || !strings {
        return Err(ConnectError::Foreign { table: table.name.clone() });
    }
    match description.table_status() {
        // Updating goes on beside the work.
        Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
        status => Err(ConnectError::NotReady {
            table: table.name.clone(),
            status: status.map_or("UNKNOWN", TableStatus::as_str).to_owned(),
        }),
    }
}

async fn has_time_to_live(table: &Table) -> Result<bool, DynamoFault> {
    let answer = table.client.describe_time_to_live().table_name(&table.name).send().await?;
    let Some(found) = answer.time_to_live_description else { return Ok(false) };
    let on = matches!(found.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
    Ok(on && found.attribute_name() == Some(EXPIRES))
}

/// Takes the requests the store makes past the rights of these credentials, changing nothing: a vault that may not write
/// would find out with the first token it cannot keep.
async fn try_requests(table: &Table) -> Result<(), DynamoFault> {
    let probe = || Item::at(PROBE, PROBE);
    table.get(PROBE, PROBE, None).await?;
    table.query(&Span { pk: PROBE, ..Span::default() }, Some(1)).await?;
    table.delete_all(vec![probe()]).await?;
    let impossible = vec![Change::Delete(Item::at(PROBE, PK)), Change::PutIf(probe(), Condition::Impossible)];
    match table.commit(impossible).await? {
        Verdict::Refused | Verdict::Clash => Ok(()),
        Verdict::Done => Err(DynamoFault::Unexpected),
    }
}
