-- What was metered by which rule, and in how many shards: what a reader must know beside the rows.

-- The rule of each generation of a meter, as the canonical JSON text of what decides who counts.
CREATE TABLE IF NOT EXISTS meter_definitions
(
    tenant_id String,
    environment_id String,
    meter_id String,
    generation Int32,
    definition String
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, meter_id, generation)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The number of shards of a flow, fixed for the life of its state.
CREATE TABLE IF NOT EXISTS layouts
(
    flow String,
    shards Int32
)
ENGINE = ReplacingMergeTree
ORDER BY flow
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
