"""Periods: the grid, the billing periods on it, and which service periods an invoice charges."""
