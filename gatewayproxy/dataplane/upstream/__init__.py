"""Upstream side: pools, connecting, name resolution, state kept across reloads."""
