"""How a solver's nets are computed, where that changes the time and the memory but not what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net

__all__ = ["Execution"]


@dataclass(frozen=True)
class Execution:
    """The way to compute.

    Attributes:
        compiled: by what torch.compile makes of the nets (``--compile``); see :meth:`caffecompat.Net.compile_code`.
        cuda_graphs: compiled, and the kernels of a GPU replayed as one (``--cuda-graphs``).
        checkpoint_activations: the train net holds fewer blobs for its backward pass, and computes the others again
            (``--checkpoint-activations``); see :meth:`caffecompat.Net.checkpoint_activations`.
    """

    compiled: bool = False
    cuda_graphs: bool = False
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint_activations and (self.compiled or self.cuda_graphs):
            raise CaffeCompatError("activations are checkpointed or the net is compiled, not both")

    def apply(self, net: Net, test_nets: Sequence[Net]) -> None:
        """Let nets, which are on their device, compute so from now on."""
        if not (self.compiled or self.cuda_graphs or self.checkpoint_activations):
            return
        if net.quantization is not None:  # whose fixed-point forms are found and applied between layers
            glog.warning("a net with TI's fixed point is neither compiled nor checkpointed")
        elif self.checkpoint_activations:
            net.checkpoint_activations()
        else:
            for each in (net, *test_nets):
                each.compile_code(cuda_graphs=self.cuda_graphs)
