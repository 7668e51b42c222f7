"""From accumulated gradients to new weights: clipping, averaging, regularization, the rule, the subtraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.net.params import LearnableParam
from caffecompat.schema import pb
from caffecompat.solver import jacinto
from caffecompat.solver.updates import Numbers, update_rule

__all__ = ["Updater"]


# Their schema gives rms_decay no default, which is 0.
_NO_RMS_DECAY = (Fork.XILINX, Fork.JACINTO16, Fork.JACINTO15, Fork.PSPNET, Fork.DEEPLAB, Fork.HED, Fork.RCF)


_MOST_NORMS = 1000  # that wait to be looked at


class Updater:
    """Applies Caffe's update to a net's learnable parameters and owns their history.

    The order is BVLC's ``SGDSolver::ApplyUpdate``: clip the summed gradients,
    divide by iter_size, add weight decay (coupled, for every rule), compute the
    step, subtract it. Parameters are grouped by (lr_mult, decay_mult), so that a
    group is a handful of fused calls. Blobs with lr_mult 0 are left alone.

    Args:
        param: the SolverParameter.
        params: the net's learnable parameters, in net order.

    Attributes:
        fork: the fork whose defaults and floors hold.
    """

    def __init__(self, param: pb.SolverParameter, params: Sequence[LearnableParam]) -> None:
        self.param = param
        self.fork = Fork.BVLC
        self.rule = update_rule(param)
        self._params = list(params)
        self._history = [[torch.zeros_like(p.blob) for p in self._params] for _ in range(self.rule.slots)]
        self._groups: dict[tuple[float, float], list[int]] = {}
        for position, p in enumerate(self._params):
            if p.lr_mult != 0:
                self._groups.setdefault((p.lr_mult, p.decay_mult), []).append(position)
        if param.weight_decay and param.regularization_type not in ("L1", "L2", "L2_unitary"):
            raise CaffeCompatError(f"regularization_type {param.regularization_type!r} is neither L1 nor L2")
        # The last steps by position, kept where somebody reads them (snapshot_diff, debug_info, pycaffe).
        self.keep_steps = bool(param.snapshot_diff)
        self.steps: dict[int, Tensor] = {}
        # The sum of squares of the gradients that the last update took, where a loss scale goes by it.
        self.measures = False
        # Norms of gradients that are to be clipped, as long as nobody has looked at them.
        self._norms: list[Tensor] = []
        self._waits = all(p.blob.device.type == "cpu" for p in self._params)
        self.squares = 0.0

    @torch.no_grad()
    def apply(self, rate: float, iteration: int, passes: int) -> None:
        """One update: consumes the ``grad`` of every parameter.

        Args:
            rate: the policy's rate, before lr_mult.
            iteration: updates done so far (Adam counts from it).
            passes: iter_size, whose passes the gradients are the sum of.
        """
        self.steps.clear()
        self._clip()
        squares: list[Tensor] = []
        numbers, decay = self.numbers(iteration, rate), jacinto.weight_decay(self.param, iteration)
        for (lr_mult, decay_mult), positions in self._groups.items():
            weights = [self._params[i].blob.detach() for i in positions]
            grads = [self._gradient(i) for i in positions]
            if passes != 1:
                torch._foreach_div_(grads, float(passes))
            if self.measures:
                squares += torch._foreach_norm(grads)
            rates = self._layer_rates(rate, weights, grads)
            self._regularize(weights, grads, decay * decay_mult)
            if rates is not None:
                torch._foreach_mul_(grads, rates)
            slots = [[slot[i] for i in positions] for slot in self._history]
            steps = self.rule.step(numbers, 1.0 if rates else rate * lr_mult, iteration, grads, slots)
            torch._foreach_sub_(weights, steps)
            if self.keep_steps:
                self.steps.update(zip(positions, steps, strict=True))
        if squares:
            self.squares = float(torch.stack(squares).double().square().nan_to_num(0.0).sum())

    def _layer_rates(self, rate: float, weights: list[Tensor], grads: list[Tensor]) -> list[Tensor] | None:
        """A rate a blob in the place of rate * lr_mult, where the solver asks for such."""
        if self.param.larc:
            return jacinto.larc_rates(self.param, rate, weights, grads)
        return jacinto.auto_rates(self.param, rate, weights, grads) if self.param.local_lr_auto else None

    def numbers(self, iteration: int, rate: float) -> Numbers:
        """Momenta and delta of an iteration, with the fork's defaults and floors."""
        param = self.param
        if param.HasField("rms_decay"):
            rms_decay = param.rms_decay
        else:  # the schema has no default because the forks differ
            rms_decay = 0.0 if self.fork in _NO_RMS_DECAY else 0.99
        return Numbers(
            momentum=jacinto.momentum(param, iteration, rate),
            momentum2=param.momentum2,
            delta=max(param.delta, self.rule.least_delta) if self.fork.is_nvcaffe else param.delta,
            rms_decay=rms_decay,
        )

    def _gradient(self, position: int) -> Tensor:
        blob = self._params[position].blob
        if blob.grad is None:  # not reached by the loss: Caffe still decays it
            blob.grad = torch.zeros_like(blob)
        return blob.grad

    def _clip(self) -> None:
        limit = self.param.clip_gradients
        grads = [p.blob.grad for p in self._params if p.blob.grad is not None]
        if limit < 0 or not grads:
            return
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))).double()
        self._norms.append(norm)
        if self._waits:
            if float(norm) > limit:
                torch._foreach_mul_(grads, limit / float(norm))
        else:
            torch._foreach_mul_(grads, torch.where(norm > limit, limit / norm, 1.0))
        if self._waits or len(self._norms) == _MOST_NORMS:
            self.log_clipped()

    def log_clipped(self) -> None:
        """Log the clippings since the last call, which on a GPU have to be waited for."""
        limit = self.param.clip_gradients
        for norm in torch.stack(self._norms).tolist() if self._norms else []:
            if norm > limit:
                scale = limit / norm
                numbers = f"(L2 norm {glog.number(norm)} > {glog.number(limit)}) by scale factor {glog.number(scale)}"
                glog.info(f"Gradient clipping: scaling down gradients {numbers}", "sgd_solver.cpp:96")
        self._norms.clear()

    def _regularize(self, weights: list[Tensor], grads: list[Tensor], decay: float) -> None:
        if not decay:
            return
        if self.param.regularization_type != "L1":
            torch._foreach_add_(grads, weights, alpha=decay)
        else:
            torch._foreach_add_(grads, torch._foreach_sign(weights), alpha=decay)

    def history(self) -> list[np.ndarray]:
        """All first slots in net order, then all second slots: the order of the solverstate."""
        return [blob.detach().cpu().numpy() for slot in self._history for blob in slot]

    @torch.no_grad()
    def load_history(self, blobs: Sequence[np.ndarray]) -> None:
        """Put back what :meth:`history` gave.

        Raises:
            CaffeCompatError: the file belongs to another solver type or another net.
        """
        want = [blob for slot in self._history for blob in slot]
        if len(blobs) != len(want):
            raise CaffeCompatError(
                f"the solver state holds {len(blobs)} history blobs, type {self.rule.name!r} has {len(want)} for this "
                "net; it was written by another solver type or for another net"
            )
        wrong = [
            f"  history {i} ({p.layer}, blob {p.index}): stored {tuple(blob.shape)}, expected {tuple(target.shape)}"
            for i, (blob, target) in enumerate(zip(blobs, want, strict=True))
            for p in [self._params[i % len(self._params)]]
            if blob.size != target.numel()
        ]
        if wrong:
            raise CaffeCompatError("the solver state does not fit this net:\n" + "\n".join(wrong))
        for blob, target in zip(blobs, want, strict=True):
            target.copy_(torch.from_numpy(np.array(blob, dtype=np.float32)).reshape(target.shape))
