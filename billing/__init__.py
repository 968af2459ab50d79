"""The commercial rules as pure functions; the use cases and stores stand around them."""
