"""The bodies of the HTTP API: what requests may say and what answers say, as api-fields.md has it."""
