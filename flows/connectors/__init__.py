"""What the dataflows read from and write to: Kafka, files, the ClickHouse store."""
