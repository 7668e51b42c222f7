"""The face of ``import caffe``: nets, blobs and solvers under pycaffe's names.

>>> import caffecompat.pycaffe as caffe
>>> net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)  # doctest: +SKIP
>>> net.blobs["data"].data[...] = image  # doctest: +SKIP
>>> net.forward()["prob"]  # doctest: +SKIP
"""

from caffecompat.pycaffe.mode import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from caffecompat.pycaffe.net import Blob, Layer, Net, layer_type_list
from caffecompat.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

TRAIN = 0
TEST = 1

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
    "layer_type_list",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
]
