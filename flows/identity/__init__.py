"""The identity index: the first log position of every event id, exact and durable."""
