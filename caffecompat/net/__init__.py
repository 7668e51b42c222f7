"""From a prototxt to a net that computes: state filtering, the typed graph, the module, weights in and out."""

from caffecompat.net.net import Net
from caffecompat.net.params import LearnableParam
from caffecompat.net.problems import NetError
from caffecompat.net.weights import LoadReport, WeightsMismatch

__all__ = ["LearnableParam", "LoadReport", "Net", "NetError", "WeightsMismatch"]
