"""The metering dataflow: records in, raw events and cumulative usage out.

read → shard by id → identify → store raw → match and aggregate → merge → store usage
"""
