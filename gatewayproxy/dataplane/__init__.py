"""Sockets, protocols, upstreams: the machine that runs one routing table."""
