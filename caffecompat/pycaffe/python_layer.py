"""``caffe.Layer``: what the classes of Python layers derive from."""

from caffecompat.layers.python_layer import PythonLayerBase as Layer

__all__ = ["Layer"]
