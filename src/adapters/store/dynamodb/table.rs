//! The table: the few requests the store makes of it, each bounded in time, each with a plain answer.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, DeleteRequest, Put, ReturnConsumedCapacity, TransactWriteItem,
    WriteRequest,
};
use futures_util::future::try_join_all;

use super::fault::DynamoFault;
use super::item::{Item, SK};

/// How many deletions fit in one request.
const BATCH: usize = 25;

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

/// One thing that a request changes.
#[derive(Debug)]
pub(super) enum Change {
    /// Puts an item, over whatever is there.
    Put(Item),
    /// Puts an item under a condition.
    PutIf(Item, Condition),
    /// Deletes what is there, if anything is.
    Delete(Item),
}

/// What a change wants to find.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition {
    /// Nothing.
    Absent,
    /// An item in which this attribute is this number.
    Has(&'static str, u64),
    /// What there cannot be.
    Impossible,
}

/// What became of changes, of which either all happened or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of them happened.
    Done,
    /// A condition does not hold.
    Refused,
    /// Somebody else was changing the same just then. Nothing is known about the condition.
    Clash,
}

/// Items of one partition key.
#[derive(Debug, Clone, Default)]
pub(super) struct Span<'a> {
    /// The partition key.
    pub(super) pk: &'a str,
    /// The first and the last sort key, if not all.
    pub(super) between: Option<(&'a str, &'a str)>,
    /// The sort key to go on after.
    pub(super) after: Option<&'a str>,
    /// From the last to the first.
    pub(super) backward: bool,
}

// === impl Table ===

impl Table {
    /// The item, or these of its attributes.
    pub(super) async fn get(&self, pk: &str, sk: &str, only: Option<&str>) -> Result<Option<Item>, DynamoFault> {
        let key = Item::at(pk, sk).into_attributes();
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key)).consistent_read(true);
        // What an answer without an item means has to be known: only DynamoDB says what it cost.
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = request.set_projection_expression(only.map(str::to_owned)).send().await?;
        if answer.item.is_none() && answer.consumed_capacity.is_none() {
            return Err(DynamoFault::Unexpected);
        }
        Ok(answer.item.map(Item::from))
    }

    /// The first items of a span, in order, and the sort key after which there may be more.
    pub(super) async fn query(
        &self,
        span: &Span<'_>,
        limit: Option<usize>,
    ) -> Result<(Vec<Item>, Option<String>), DynamoFault> {
        let mut request = self.client.query().table_name(&self.name).consistent_read(true);
        request = request.scan_index_forward(!span.backward).expression_attribute_values(":pk", text(span.pk));
        request = match span.between {
            None => request.key_condition_expression("pk = :pk"),
            Some((first, last)) => request
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":first", text(first))
                .expression_attribute_values(":last", text(last)),
        };
        if let Some(after) = span.after {
            request = request.set_exclusive_start_key(Some(Item::at(span.pk, after).into_attributes()));
        }
        let limit = limit.map(|limit| i32::try_from(limit.clamp(1, 10_000)).unwrap_or(1));
        let answer = request.set_limit(limit).send().await?;
        let next = match answer.last_evaluated_key {
            None => None,
            Some(key) => Some(Item::from(key).text(SK).map(str::to_owned).ok_or(DynamoFault::Unexpected)?),
        };
        let items = answer.items.ok_or(DynamoFault::Unexpected)?;
        Ok((items.into_iter().map(Item::from).collect(), next))
    }

    /// Makes all of these changes, or none. One is a plain write, which costs half.
    pub(super) async fn commit(&self, mut changes: Vec<Change>) -> Result<Verdict, DynamoFault> {
        match (changes.pop(), changes.is_empty()) {
            (Some(Change::Put(item)), true) => self.put(item, None).await,
            (Some(Change::PutIf(item, condition)), true) => self.put(item, Some(condition)).await,
            (last, _) => {
                changes.extend(last);
                self.transact(changes).await
            }
        }
    }

    /// Deletes these, each by itself. Whatever could not be deleted in one go stays.
    pub(super) async fn delete_all(&self, keys: Vec<Item>) -> Result<(), DynamoFault> {
        let mut requests = Vec::new();
        for some in keys.chunks(BATCH) {
            let mut batch = Vec::with_capacity(some.len());
            for key in some {
                let request = DeleteRequest::builder().set_key(Some(key.key().into_attributes())).build();
                let request = request.map_err(|_| DynamoFault::Unexpected)?;
                batch.push(WriteRequest::builder().delete_request(request).build());
            }
            requests.push(self.client.batch_write_item().request_items(&self.name, batch).send());
        }
        try_join_all(requests).await?;
        Ok(())
    }

    async fn put(&self, item: Item, condition: Option<Condition>) -> Result<Verdict, DynamoFault> {
        let mut request = self.client.put_item().table_name(&self.name).set_item(Some(item.into_attributes()));
        if let Some(condition) = condition {
            request = request.condition_expression(condition.expression());
            if let Condition::Has(name, number) = condition {
                request = request
                    .expression_attribute_names("#name", name)
                    .expression_attribute_values(":number", self::number(number));
            }
        }
        match request.send().await {
            Ok(_) => Ok(Verdict::Done),
            Err(SdkError::ServiceError(failure)) if failure.err().is_conditional_check_failed_exception() => {
                Ok(Verdict::Refused)
            }
            Err(SdkError::ServiceError(failure))
                if matches!(failure.err(), PutItemError::TransactionConflictException(_)) =>
            {
                Ok(Verdict::Clash)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<Verdict, DynamoFault> {
        let changes = changes.into_iter().map(|change| self.action(change)).collect::<Result<_, DynamoFault>>()?;
        // The SDK gives every request a token, by which DynamoDB knows one that it has seen.
        match self.client.transact_write_items().set_transact_items(Some(changes)).send().await {
            Ok(_) => Ok(Verdict::Done),
            Err(SdkError::ServiceError(failure)) => match failure.err() {
                TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                    why_cancelled(cancelled.cancellation_reasons())
                }
                _ => Err(SdkError::ServiceError(failure).into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn action(&self, change: Change) -> Result<TransactWriteItem, DynamoFault> {
        let put = |item: Item| Put::builder().table_name(&self.name).set_item(Some(item.into_attributes()));
        let action = TransactWriteItem::builder();
        let action = match change {
            Change::Put(item) => action.put(put(item).build().map_err(|_| DynamoFault::Unexpected)?),
            Change::PutIf(item, condition) => {
                let mut put = put(item).condition_expression(condition.expression());
                if let Condition::Has(name, number) = condition {
                    put = put
                        .expression_attribute_names("#name", name)
                        .expression_attribute_values(":number", self::number(number));
                }
                action.put(put.build().map_err(|_| DynamoFault::Unexpected)?)
            }
            Change::Delete(item) => {
                let delete = Delete::builder().table_name(&self.name).set_key(Some(item.key().into_attributes()));
                action.delete(delete.build().map_err(|_| DynamoFault::Unexpected)?)
            }
        };
        Ok(action.build())
    }
}

// === impl Condition ===

impl Condition {
    fn expression(self) -> &'static str {
        match self {
            Self::Absent => "attribute_not_exists(pk)",
            Self::Has(..) => "#name = :number",
            Self::Impossible => "attribute_exists(pk) AND attribute_not_exists(pk)",
        }
    }
}

/// A condition that failed is an answer; that somebody else was at the same items, or that DynamoDB had too much to do,
/// is none.
fn why_cancelled(reasons: &[CancellationReason]) -> Result<Verdict, DynamoFault> {
    let mut codes = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None");
    if codes.clone().any(|code| code == "ConditionalCheckFailed") {
        return Ok(Verdict::Refused);
    }
    if codes.clone().any(|code| code == "TransactionConflict") {
        return Ok(Verdict::Clash);
    }
    Err(DynamoFault::answered(codes.next(), 400))
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancelled(codes: &[&str]) -> Result<Verdict, DynamoFault> {
        let reasons: Vec<_> = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
        why_cancelled(&reasons)
    }

    #[test]
    fn only_a_failed_condition_is_a_refusal() {
        assert_eq!(cancelled(&["ConditionalCheckFailed", "None"]).unwrap(), Verdict::Refused);
        assert_eq!(cancelled(&["TransactionConflict", "ConditionalCheckFailed"]).unwrap(), Verdict::Refused);
        assert_eq!(cancelled(&["None", "TransactionConflict"]).unwrap(), Verdict::Clash);
        for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
            assert!(cancelled(&["None", code]).is_err_and(|fault| fault.passes()), "{code}");
        }
        for codes in [&["ValidationError"][..], &["None"], &[]] {
            assert!(cancelled(codes).is_err_and(|fault| !fault.passes()), "{codes:?}");
        }
    }
}
