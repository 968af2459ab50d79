"""Pricing: from a quantity to a charge, with the explanation of how it came about."""
