"""The routing table and the questions one may ask it. Pure."""
