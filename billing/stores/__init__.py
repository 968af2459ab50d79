"""The SQL store: typed models, migrations and stores, one code path for SQLite and PostgreSQL."""
