"""What a run's numbers may depend on."""

from __future__ import annotations

import platform

__all__ = ["versions"]


def versions() -> str:
    """The versions of this package, of what computes, and of the machine's system, in a line."""
    import numpy
    import torch

    from caffecompat import __version__

    return (
        f"caffecompat {__version__}, torch {torch.__version__}, numpy {numpy.__version__}, Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    )
