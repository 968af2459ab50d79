"""The outbox job: what was committed leaves for topics and webhook endpoints, at least once, in order."""
