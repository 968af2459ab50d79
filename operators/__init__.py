"""The verbs on columns: Arrow in, Arrow out. No clock, no socket, no disk, no Bytewax."""
