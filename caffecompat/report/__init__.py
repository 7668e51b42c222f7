"""Pictures for people: overlays, curves, sheets."""
