"""Subscriptions: how they begin, change and end."""
