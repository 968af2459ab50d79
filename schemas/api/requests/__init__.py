"""Requests of the HTTP API; those that catalog files share are in the modules of their nouns."""
