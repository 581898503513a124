"""TLS of both sides: an established connection as a transport, certificates into contexts."""
