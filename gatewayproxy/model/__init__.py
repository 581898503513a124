"""The shared words: frozen data, no behaviour."""
