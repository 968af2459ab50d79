"""The demo: a made-up company, its usage, and what the product makes of it."""
