"""Process life: supervisor, workers, sources, admin."""
