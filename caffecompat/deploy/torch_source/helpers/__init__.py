"""What exported files hold as it is here, in files named like those of the layers.

Classes and functions that use torch, each other, and `caffecompat.layers.functional`; nothing else of this package.
"""
