"""Passes that several targets share."""
