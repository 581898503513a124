"""Protocols: one exchange's life, and how its bytes are framed."""
