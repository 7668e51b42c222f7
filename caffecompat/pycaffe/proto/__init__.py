"""Home of ``caffe_pb2``, as in pycaffe: ``from caffe.proto import caffe_pb2``."""

from caffecompat.pycaffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
