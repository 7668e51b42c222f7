"""Bytes on disk: one module a format, reader and writer side by side."""
