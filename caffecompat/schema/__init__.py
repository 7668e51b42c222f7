"""Reading and writing Caffe's messages: the merged schema, prototxt text, upgrades of old formats."""

from caffecompat.schema import pb

__all__ = ["pb"]
