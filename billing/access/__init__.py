"""Access: API keys, their roles and what they open."""
