"""Composition: the roles of the program put together of their parts, started, watched and stopped."""
