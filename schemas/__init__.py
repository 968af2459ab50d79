"""The nouns: every shape that data takes, in Python, Arrow, Kafka and SQL. Imports nothing of ours."""
