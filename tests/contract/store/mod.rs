//! What `domain::ports::Store` promises, as a list of named promises that is expanded for every store and decorator.

mod backends;
#[cfg(feature = "dynamodb")]
#[path = "../../support/detour.rs"]
mod detour;
#[cfg(feature = "dynamodb")]
mod dynamodb_changes;
#[cfg(feature = "dynamodb")]
#[path = "../../support/dynamodb.rs"]
mod dynamodb_server;
#[cfg(feature = "dynamodb")]
mod dynamodb_start;
#[cfg(feature = "dynamodb")]
mod dynamodb_traps;
#[path = "../../support/eventually.rs"]
#[expect(clippy::panic, reason = "a wait that fails, fails the test")]
mod eventually;
mod indices;
mod model;
#[cfg(feature = "postgres")]
#[path = "../../support/postgres.rs"]
mod postgres_server;
#[cfg(feature = "postgres")]
mod postgres_start;
#[cfg(feature = "postgres")]
mod postgres_traps;
mod promises;
#[cfg(feature = "redis")]
mod redis_cluster;
#[cfg(feature = "redis")]
mod redis_ear;
#[cfg(feature = "redis")]
mod redis_index;
#[cfg(feature = "redis")]
mod redis_load;
#[cfg(feature = "redis")]
mod redis_sentinel;
#[cfg(feature = "redis")]
#[path = "../../support/redis.rs"]
mod redis_server;
#[cfg(feature = "redis")]
#[path = "../../support/redis_shapes.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_shapes;
#[cfg(feature = "redis")]
mod redis_start;
#[cfg(feature = "redis")]
mod redis_tls;
#[cfg(feature = "redis")]
mod redis_traps;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[path = "../../support/relay.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod relay;

macro_rules! each_promise {
    ($backend:ty: $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::promises::$promise(<$backend as super::backends::Backend>::start().await).await;
            }
        )+

        #[test]
        fn it_agrees_with_a_simple_model_on_any_sequence_of_calls() {
            super::model::agrees::<$backend>();
        }
    };
}

macro_rules! each_promise_of_an_index {
    ($backend:ty: $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::indices::$promise(<$backend as super::backends::Backend>::start().await).await;
            }
        )+
    };
}

macro_rules! the_promises_of_a_store_are_kept_by {
    ($($(#[$attribute:meta])* $name:ident: $backend:ty),+ $(,)?) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::backends::*;

                each_promise! { $backend:
                    what_was_never_put_is_not_there,
                    get_returns_what_the_last_put_wrote,
                    get_is_never_older_than_what_any_instance_has_seen,
                    absent_succeeds_only_where_nothing_is,
                    a_version_succeeds_only_where_exactly_it_is,
                    each_write_adds_exactly_one_to_the_version,
                    a_conflict_changes_nothing,
                    of_many_concurrent_creations_exactly_one_succeeds,
                    of_many_concurrent_replacements_exactly_one_succeeds,
                    putting_the_same_again_tells_that_it_happened,
                    a_dropped_put_affects_no_other_answer,
                    values_come_back_byte_for_byte,
                    a_value_beyond_the_bound_is_refused_and_nothing_is_written,
                    a_list_is_everything_of_one_user,
                    a_list_has_nothing_of_anybody_else,
                    a_list_of_nobody_is_empty,
                    no_two_addresses_share_a_place,
                    what_no_vault_wrote_is_corrupt,
                    what_no_vault_wrote_is_never_overwritten,
                    a_restored_value_has_the_version_it_had,
                    a_restore_never_goes_over_the_same_or_a_later_version,
                }

                each_promise_of_an_index! { $backend:
                    what_is_due_is_found_the_earliest_first,
                    a_record_is_due_once_and_when_it_was_last_said,
                    what_is_due_is_found_in_its_own_partition_only,
                    changes_come_in_order_and_none_is_left_out,
                    changes_of_concurrent_writers_are_all_there,
                    no_place_means_the_end,
                    a_place_in_another_store_means_nothing,
                    a_refused_write_changes_no_index,
                    a_scan_finds_everything_once_and_no_lease,
                    a_scan_of_a_tenant_finds_nothing_of_anybody_else,
                    a_user_is_never_on_two_pages,
                    hints_come_back_as_they_were_put,
                    a_listener_hears_of_every_write,
                }
            }
        )+
    };
}

the_promises_of_a_store_are_kept_by! {
    embedded_store: Embedded,
    retrying_embedded_store: Retrying<Embedded>,
    #[cfg(feature = "dynamodb")]
    dynamodb_local_store: DynamoLocal,
    #[cfg(feature = "dynamodb")]
    retrying_dynamodb_local_store: Retrying<DynamoLocal>,
    #[cfg(feature = "dynamodb")]
    ministack_store: Ministack,
    #[cfg(feature = "postgres")]
    postgres_store: Postgres,
    #[cfg(feature = "postgres")]
    retrying_postgres_store: Retrying<Postgres>,
    #[cfg(feature = "redis")]
    redis_store: PlainRedis,
    #[cfg(feature = "redis")]
    redis_store_over_tls_with_few_rights: SecuredRedis,
    #[cfg(feature = "redis")]
    retrying_redis_store: Retrying<PlainRedis>,
    #[cfg(feature = "redis")]
    redis_sentinel_store: SentinelRedis,
    #[cfg(feature = "redis")]
    redis_cluster_store: ClusterRedis,
}
