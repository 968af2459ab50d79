"""Pages for users, and what writes them."""
