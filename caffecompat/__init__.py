"""Caffe's files and nets on PyTorch: read them, train them under Caffe's rules, write them back."""

__version__ = "0.1.0"
