"""Tools over the compiled table. No sockets."""
