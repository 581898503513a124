"""Text in, routing table and status out. Pure."""
