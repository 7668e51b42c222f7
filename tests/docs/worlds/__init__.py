"""What lies in a page's folder before its first block: small generated data under the names that the page uses.

A module a world, whose ``write`` writes its files into the current folder.
"""
