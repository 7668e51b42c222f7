"""What pycaffe had until 2014, and how the same is written since."""

from __future__ import annotations

__all__ = ["MODULE", "NET", "TWO_ARGUMENTS", "missing"]

_PHASE = "the phase is given when the net is made: caffe.Net(model, weights, caffe.%s)"
_TRANSFORMER = (
    "pictures are prepared by transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape}) "
    "and its method %s"
)

MODULE = {
    "set_phase_test": _PHASE % "TEST",
    "set_phase_train": _PHASE % "TRAIN",
}
"""Functions of the module ``caffe``."""

NET = {
    **MODULE,
    "set_mode_cpu": "the mode holds for all nets: caffe.set_mode_cpu(), before the net is made",
    "set_mode_gpu": "the mode holds for all nets: caffe.set_mode_gpu(), before the net is made",
    "set_device": "the device holds for all nets: caffe.set_device(id), before the net is made",
    **{
        name: _TRANSFORMER % name
        for name in ("set_mean", "set_raw_scale", "set_input_scale", "set_channel_swap", "preprocess", "deprocess")
    },
}
"""Methods of a net."""

TWO_ARGUMENTS = "Net(model, weights) is pycaffe's form of 2014; since then: caffe.Net(model, weights, caffe.TEST)"


def missing(owner: str, name: str, older: dict[str, str]) -> AttributeError:
    """The error for a name that `owner` does not have; with today's form where it had it until 2014."""
    hint = f"; it is of pycaffe's API of 2014, since then {older[name]}" if name in older else ""
    return AttributeError(f"{owner} has no attribute {name!r}{hint}")
