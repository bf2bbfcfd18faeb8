-- Records, what can be found by their hints, and what has changed.
--
-- `frame` is the whole record, as every store keeps it. The columns after it are read out of the frame by the server
-- itself, so they cannot disagree with it; they are null where no vault wrote the frame. Names are compared byte by
-- byte, whatever the language of the database.
CREATE TABLE vault_record (
    drawer    text COLLATE "C" NOT NULL,
    field     text COLLATE "C" NOT NULL,
    partition smallint NOT NULL,
    frame     bytea NOT NULL,
    version   bigint GENERATED ALWAYS AS (
        CASE WHEN octet_length(frame) >= 20 AND substring(frame FOR 1) = '\x02' AND substring(frame FROM 10 FOR 1) <= '\x03'
              AND substring(frame FROM 2 FOR 8) <> '\x0000000000000000'
             THEN ('x' || encode(substring(frame FROM 2 FOR 8), 'hex'))::bit(64)::bigint END
    ) STORED,
    state     smallint GENERATED ALWAYS AS (
        CASE WHEN octet_length(frame) >= 20 AND substring(frame FOR 1) = '\x02' AND substring(frame FROM 10 FOR 1) <= '\x03'
              AND substring(frame FROM 2 FOR 8) <> '\x0000000000000000'
             THEN get_byte(substring(frame FROM 10 FOR 1) || '\x00', 0)::smallint END
    ) STORED,
    due_at    bigint GENERATED ALWAYS AS (
        CASE WHEN octet_length(frame) >= 20 AND substring(frame FOR 1) = '\x02' AND substring(frame FROM 10 FOR 1) <= '\x03'
              AND substring(frame FROM 2 FOR 8) <> '\x0000000000000000'
             THEN nullif(('x000000' || encode(substring(frame FROM 16 FOR 5), 'hex'))::bit(64)::bigint, 0) END
    ) STORED,
    PRIMARY KEY (drawer, field)
);

-- Sealed bytes do not compress.
ALTER TABLE vault_record ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE INDEX vault_record_due ON vault_record (partition, due_at) WHERE due_at IS NOT NULL;

-- The number of the last change of each partition. Whoever logs a change holds its row until the commit, so numbers
-- become visible in their order and without gaps. Written often and small: room to be rewritten in place.
CREATE TABLE vault_partition (
    partition smallint PRIMARY KEY,
    last      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO vault_partition (partition) SELECT generate_series(0, 15);

CREATE TABLE vault_change (
    partition  smallint NOT NULL,
    number     bigint NOT NULL,
    drawer     text COLLATE "C" NOT NULL,
    field      text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    state      smallint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (partition, number)
);
