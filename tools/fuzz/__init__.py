"""Damaging files in a way that can be repeated, and looking at what the readers make of them.

mutators.py damages bytes without knowing what they are; formats.py knows enough of a format to damage what lies below
its checksums and lengths; seeds.py makes small sound files; readers.py reads them as users' commands do; run.py
counts what comes of it.
"""
