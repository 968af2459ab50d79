"""Webhooks as rules: who gets a message, what is in it, how it is signed, and when it is tried again."""
