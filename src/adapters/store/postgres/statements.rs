//! Every statement of the store. Each is one round trip and a transaction of its own.

/// `$1` drawer, `$2` field.
pub(super) const GET: &str = "SELECT frame FROM vault_record WHERE drawer = $1 AND field = $2";

/// `$1` drawer.
pub(super) const LIST: &str = "SELECT field, frame FROM vault_record WHERE drawer = $1";

/// What a write does besides writing: it takes the next number of its partition and logs the change under it. The row
/// with the number stays locked until the commit, and is locked after the record, so numbers become visible in their
/// order, those of one record in the order of its versions, and nobody waits for each other in a circle.
///
/// `$1` drawer, `$2` field, `$3` partition, `$4` frame, `$5` whether to log. Answers how many records were written.
macro_rules! logged {
    ($write:literal) => {
        concat!(
            "WITH written AS (",
            $write,
            " RETURNING vault_record.drawer, vault_record.field, vault_record.partition, vault_record.version, \
                        vault_record.state
            ), numbered AS (
                UPDATE vault_partition SET last = vault_partition.last + 1 FROM written
                WHERE vault_partition.partition = written.partition AND $5
                RETURNING written.*, vault_partition.last
            ), logged AS (
                INSERT INTO vault_change (partition, number, drawer, field, version, state)
                SELECT partition, last, drawer, field, version, state FROM numbered
            )
            SELECT count(*) FROM written"
        )
    };
}

/// Writes where nothing is.
pub(super) const CREATE: &str = logged!(
    "INSERT INTO vault_record (drawer, field, partition, frame) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
);

/// Writes over version `$6`. What no vault wrote has no version.
pub(super) const REPLACE: &str =
    logged!("UPDATE vault_record SET frame = $4 WHERE drawer = $1 AND field = $2 AND partition = $3 AND version = $6");

/// Writes where nothing is, or over an older version. Versions are compared as they stand in the frames: big end first,
/// without a sign.
pub(super) const RESTORE: &str = logged!(
    "INSERT INTO vault_record (drawer, field, partition, frame) VALUES ($1, $2, $3, $4)
     ON CONFLICT (drawer, field) DO UPDATE SET frame = excluded.frame
     WHERE vault_record.version IS NOT NULL
       AND substring(vault_record.frame FROM 2 FOR 8) < substring(excluded.frame FROM 2 FOR 8)"
);

/// `$1` partition, `$2` seconds, `$3` limit.
pub(super) const DUE: &str = "\
SELECT drawer, field, due_at FROM vault_record
WHERE partition = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3";

/// The last number of a partition, the first that is remembered, which life of the database this is, and beside them, in
/// as many rows, the changes after a place. Keys are logged for listeners only.
///
/// `$1` partition, `$2` number, `$3` limit.
pub(super) const CHANGES: &str = "\
SELECT part.last,
       (SELECT min(first.number) FROM vault_change AS first WHERE first.partition = part.partition) AS first,
       (SELECT system_identifier FROM pg_control_system()) AS system,
       pg_walfile_name(pg_current_wal_insert_lsn()) AS wal_file, part.tableoid::bigint AS number_table,
       change.number, change.drawer, change.field, change.version, change.state
FROM vault_partition AS part LEFT JOIN LATERAL (
    SELECT * FROM vault_change AS log
    WHERE log.partition = part.partition AND log.number > $2 AND log.state > 0 ORDER BY log.number LIMIT $3
) AS change ON true
WHERE part.partition = $1 ORDER BY change.number";

/// Whole drawers after `$1` and before `$2`: as many as have `$3` records, give or take the last.
pub(super) const SCAN: &str = "\
SELECT drawer, field, frame FROM vault_record
WHERE drawer > $1 AND drawer < $2 AND drawer <= (
    SELECT max(page.drawer) FROM (
        SELECT drawer FROM vault_record WHERE drawer > $1 AND drawer < $2 ORDER BY drawer LIMIT $3
    ) AS page
)
ORDER BY drawer, field";

/// The last number of each partition.
pub(super) const LAST: &str = "SELECT partition, last FROM vault_partition";

/// Of the partitions `$1` in which something was written after the numbers `$2`: the last number, and what was written,
/// the next 1,000 of each.
pub(super) const NEWS: &str = "\
SELECT part.partition, part.last, change.number, change.drawer
FROM unnest($1::smallint[], $2::bigint[]) AS seen (partition, number)
JOIN vault_partition AS part ON part.partition = seen.partition AND part.last <> seen.number
LEFT JOIN LATERAL (
    SELECT log.number, log.drawer FROM vault_change AS log
    WHERE log.partition = seen.partition AND log.number > seen.number ORDER BY log.number LIMIT 1000
) AS change ON true
ORDER BY part.partition, change.number";

/// Tells every instance that there is news. A notification holds up every other commit with one until it is committed
/// itself, so none is sent with a write, and none waits for the disk: losing one costs a moment.
pub(super) const RING: &str =
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify('vault_changed', '')::text";

/// The channel of [`RING`].
pub(super) const CHANNEL: &str = "vault_changed";

/// Forgets changes of partition `$1` that are older than a day, at most `$2`: only ever the first of those there are.
/// They are kept an hour longer, for clocks that are set.
pub(super) const TRIM: &str = "\
WITH oldest AS (
    SELECT number, written_at FROM vault_change WHERE partition = $1 ORDER BY number LIMIT $2
), bound AS (
    SELECT coalesce(min(number) FILTER (WHERE written_at >= now() - interval '25 hours'), max(number) + 1) AS number
    FROM oldest
), trimmed AS (
    DELETE FROM vault_change USING bound
    WHERE vault_change.partition = $1 AND vault_change.number < bound.number RETURNING 1
)
SELECT count(*) FROM trimmed";

/// What holds for a session from its beginning, and whether the server is a standby.
///
/// `$1` milliseconds.
pub(super) const SESSION: &str = "\
SELECT pg_is_in_recovery() AS standby,
       set_config('statement_timeout', $1, false),
       set_config('lock_timeout', $1, false),
       set_config('idle_in_transaction_session_timeout', $1, false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('tcp_keepalives_idle', '15', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false)";

/// What is to be known about the server before it is relied on.
pub(super) const SERVER: &str = "\
SELECT current_setting('server_version_num')::int AS number, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit";

/// The last migration that was applied.
pub(super) const SCHEMA: &str = "SELECT max(version) FROM vault_migration WHERE success";

/// Whether [`SCHEMA`] can be asked.
pub(super) const HAS_SCHEMA: &str = "SELECT to_regclass('vault_migration') IS NOT NULL";

/// The table of [`SCHEMA`].
pub(super) const MIGRATION_TABLE: &str = "vault_migration";

/// The rights the user lacks, in words. Of a table that is not there yet, none.
pub(super) const MISSING_RIGHTS: &str = "\
SELECT string_agg(need.operation || ' on ' || need.relation, ', ')
FROM (VALUES ('vault_migration', 'SELECT'), ('vault_record', 'SELECT'), ('vault_record', 'INSERT'), ('vault_record', 'UPDATE'),
             ('vault_partition', 'SELECT'), ('vault_partition', 'UPDATE'),
             ('vault_change', 'SELECT'), ('vault_change', 'INSERT'), ('vault_change', 'DELETE')
     ) AS need (relation, operation)
WHERE NOT has_table_privilege(to_regclass(need.relation), need.operation)";
