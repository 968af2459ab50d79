"""Alerts: the levels of watched numbers, and what is told when they change."""
