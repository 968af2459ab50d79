"""The command line: what a person types, turned into calls; it decides nothing itself."""
