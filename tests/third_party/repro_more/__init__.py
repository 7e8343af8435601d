"""Somebody else's extensions, a file each: what docs/extending.md shows."""
