"""The nouns: every shape data takes, in Python, Arrow, Kafka, SQL. Imports nothing of ours."""
