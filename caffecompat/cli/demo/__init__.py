"""The parts of ``caffecompat demo``."""
