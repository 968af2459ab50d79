"""What lies where in the data folder of an instance."""

# The embedded log of events.
LOG_FILE = "events.log"
# The embedded ClickHouse engine.
STORE_FOLDER = "store"
# SQLite, where no database is set.
SQL_FILE = "tally.db"
# Held by the process that works in the folder.
LOCK_FILE = "lock"
