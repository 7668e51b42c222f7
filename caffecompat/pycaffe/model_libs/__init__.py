"""``caffe.model_libs`` of the SSD fork: functions that add the layers of well-known networks to a `NetSpec`.

SSD's scripts (``ssd_pascal.py``, ``score_ssd_pascal.py``, ...) say ``from caffe.model_libs import *`` and take from it
``L``, ``P``, ``caffe_pb2`` and ``os`` besides the functions. Names of functions and arguments are the fork's
(python/caffe/model_libs.py of weiliu89/caffe), and so are the names and the order of the layers they make.

>>> from caffecompat.pycaffe import NetSpec, layers as L
>>> from caffecompat.pycaffe.model_libs import CreateMultiBoxHead, VGGNetBody
>>> net = NetSpec()
>>> net.data = L.Input(shape=dict(dim=[1, 3, 300, 300]))
>>> _ = VGGNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
>>> heads = CreateMultiBoxHead(net, num_classes=21, from_layers=["conv4_3", "fc7"], normalizations=[20, -1],
...     use_batchnorm=False, min_sizes=[30.0, 60.0], max_sizes=[60.0, 111.0], aspect_ratios=[[2], [2, 3]],
...     kernel_size=3, pad=1)
>>> net.keys()[-3:]
['mbox_loc', 'mbox_conf', 'mbox_priorbox']
"""

import os

from caffecompat import pycaffe as caffe
from caffecompat.pycaffe.model_libs.blocks import (
    ConvBNLayer,
    InceptionTower,
    ResBody,
    UnpackVariable,
    check_if_exist,
    make_if_not_exist,
)
from caffecompat.pycaffe.model_libs.inception import InceptionV3Body
from caffecompat.pycaffe.model_libs.multibox import CreateAnnotatedDataLayer, CreateMultiBoxHead
from caffecompat.pycaffe.model_libs.resnet import ResNet101Body, ResNet152Body
from caffecompat.pycaffe.model_libs.vgg import VGGNetBody, ZFNetBody
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.pycaffe.proto import caffe_pb2

__all__ = [
    "ConvBNLayer",
    "CreateAnnotatedDataLayer",
    "CreateMultiBoxHead",
    "InceptionTower",
    "InceptionV3Body",
    "L",
    "P",
    "ResBody",
    "ResNet101Body",
    "ResNet152Body",
    "UnpackVariable",
    "VGGNetBody",
    "ZFNetBody",
    "caffe",
    "caffe_pb2",
    "check_if_exist",
    "make_if_not_exist",
    "os",
]
