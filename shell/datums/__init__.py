"""Rows to datums: rendered, encoded, cut, in batches, and as the SDK's objects."""
