"""The store that the dataflows write, in ClickHouse or its embedded engine."""
