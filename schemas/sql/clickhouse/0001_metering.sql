-- Raw events, usage and what became of each record (metering.md 11).
-- Each table is replacing: the row with the greatest version of equal key is the one that readers see, so
-- a repeated write changes nothing. Parts are on the disk before an insert is acknowledged. The table with
-- a row for each event merges ten parts at a time, which costs half of what the default of five does.

-- Accepted copies only. The position is part of the key, so that a copy which is withdrawn never hides the
-- one that took its place. A rebuild reads single minutes of many customers, hence the small granules.
CREATE TABLE IF NOT EXISTS events
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    event_name LowCardinality(String),
    external_customer_id String,
    timestamp DateTime64(6, 'UTC'),
    event_digest FixedString(16) CODEC(NONE),
    event_id String CODEC(ZSTD(1)),
    customer_id String,
    source LowCardinality(String),
    timestamp_given Bool,
    ingested_at DateTime64(6, 'UTC'),
    properties String CODEC(ZSTD(1)),
    log_partition Int32,
    log_offset Int64,
    received_at Nullable(DateTime64(6, 'UTC')),
    -- The first copy is looked up by its digest alone when a later one says something else.
    INDEX event_digests event_digest TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, event_name, external_customer_id, timestamp, event_digest, log_partition, log_offset)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_bytes_for_wide_part = 268435456, merge_selector_base = 10;

-- Copies that were taken for the first until a lower position of the same id came (ENGINE trap 3).
CREATE TABLE IF NOT EXISTS withdrawn
(
    log_partition Int32,
    log_offset Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (log_partition, log_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How often a cell changed otherwise than by growing: ranks above the count in the version of its rows.
CREATE TABLE IF NOT EXISTS corrections
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    aggregation_type LowCardinality(String),
    meter_id LowCardinality(String),
    external_customer_id String,
    `group` String,
    window_start DateTime64(6, 'UTC'),
    correction UInt64
)
ENGINE = ReplacingMergeTree(correction)
ORDER BY (tenant_id, environment_id, meter_id, external_customer_id, window_start, `group`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Cumulative rows; the version is the number of events that a row contains, generation counts re-meterings.
CREATE TABLE IF NOT EXISTS usage
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id LowCardinality(String),
    generation Int32,
    external_customer_id String,
    window_start DateTime64(6, 'UTC'),
    `group` String,
    version UInt64,
    counted Int64,
    sum Nullable(Decimal(76, 18)),
    moment Nullable(Decimal(76, 18)),
    maximum Nullable(Decimal(38, 18)),
    minimum Nullable(Decimal(38, 18)),
    latest_at Nullable(DateTime64(6, 'UTC')),
    latest_id Nullable(String),
    latest_value Nullable(Decimal(38, 18))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant_id, environment_id, meter_id, generation, external_customer_id, window_start, `group`)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_bytes_for_wide_part = 268435456;

CREATE TABLE IF NOT EXISTS usage_members
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id LowCardinality(String),
    generation Int32,
    external_customer_id String,
    window_start DateTime64(6, 'UTC'),
    `group` String,
    member FixedString(16) CODEC(NONE)
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, meter_id, generation, external_customer_id, window_start, `group`, member)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_bytes_for_wide_part = 268435456;

-- Which generation readers see; a meter without a row is of generation 1.
CREATE TABLE IF NOT EXISTS meter_generations
(
    tenant_id String,
    environment_id String,
    meter_id String,
    generation Int32,
    state LowCardinality(String),
    revision UInt64
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (tenant_id, environment_id, meter_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- All copies but plain accepted ones; `content` is what a conflicting copy said.
CREATE TABLE IF NOT EXISTS verdicts
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    event_id String,
    log_partition Int32,
    log_offset Int64,
    verdict LowCardinality(String),
    first_partition Nullable(Int32),
    first_offset Nullable(Int64),
    received_at Nullable(DateTime64(6, 'UTC')),
    content Nullable(String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, event_id, log_partition, log_offset, verdict)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Accepted and matched events that do not count for one meter.
CREATE TABLE IF NOT EXISTS skips
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id LowCardinality(String),
    generation Int32,
    event_id String,
    reason LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, meter_id, generation, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Malformed records, with their bytes as they came.
CREATE TABLE IF NOT EXISTS dead_letters
(
    door LowCardinality(String),
    log_partition Int32,
    log_offset Int64,
    reason LowCardinality(String),
    value Nullable(String) CODEC(ZSTD(1)),
    key Nullable(String),
    received_at Nullable(DateTime64(6, 'UTC'))
)
ENGINE = ReplacingMergeTree
ORDER BY (door, log_partition, log_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How far each shard of a flow has published: its last intent and its last finished flush.
-- The three arrays run in step: an entry is the greatest offset merged of one partition and identify shard.
CREATE TABLE IF NOT EXISTS flushes
(
    flow String,
    shard Int32,
    kind LowCardinality(String),
    sequence UInt64,
    partitions Array(Int32),
    identify_shards Array(Int32),
    offsets Array(Int64)
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY (flow, shard, kind)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
