"""Process life: the supervisor, its workers and its compiler, signals, files, the admin server."""
