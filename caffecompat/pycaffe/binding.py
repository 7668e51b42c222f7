"""Making ``import caffe`` mean caffecompat's pycaffe."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

from caffecompat.errors import CaffeCompatError
from caffecompat.glog import configure_logging
from caffecompat.threads import configure_threads

__all__ = ["install"]

_PACKAGE = "caffecompat.pycaffe"


def install() -> ModuleType:
    """Bind ``caffe``, ``caffe.io``, ``caffe.proto.caffe_pb2`` and the rest, for this process only; again is harmless.

    A real Caffe may be installed: it is neither imported nor changed, and its modules stay out of the way. Threads and
    the log are set up as for the command line (`caffecompat.configure_threads`, `caffecompat.configure_logging`), for
    Caffe too rules the process that imports it.

    Returns:
        The module that ``import caffe`` now gives.

    Raises:
        CaffeCompatError: another ``caffe`` has been imported already; its objects are about and would not fit.
    """
    face = importlib.import_module(_PACKAGE)
    present = sys.modules.get("caffe")
    if present is not None and present is not face:
        raise CaffeCompatError(
            f"another caffe has been imported already ({getattr(present, '__file__', None) or 'of unknown origin'}); "
            "restart Python (the notebook's kernel) and call caffecompat.pycaffe.install() before 'import caffe'"
        )
    configure_logging()
    configure_threads()  # before modules below load torch
    for name in ("caffe", "caffe.pycaffe", "caffe._caffe"):  # what BVLC's two modules define is all here
        sys.modules[name] = face
    for found in pkgutil.walk_packages(face.__path__, f"{_PACKAGE}."):
        # Under both names the same module: loaded twice, its classes would be strangers to each other.
        sys.modules[f"caffe{found.name.removeprefix(_PACKAGE)}"] = importlib.import_module(found.name)
    return face
