"""Bytes to heads and frames: pure kernels."""
