"""What a display shows of an iteration: the smoothed loss, the speed, the outputs of the train net."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.net import Net
from caffecompat.resumable import State
from caffecompat.schema import pb
from caffecompat.solver.divergence import DivergenceWatch
from caffecompat.solver.epochs import count_epochs
from caffecompat.solver.outputs import log_outputs
from caffecompat.solver.speed import Speed

__all__ = ["Display"]


class Display:
    """The losses of the last iterations and the time since the last display.

    Args:
        param: the SolverParameter: its `display`, and `average_loss`, the iterations whose mean the smoothed loss is.
        net: the train net.
        divergence: is shown the loss of each display.
        skips: updates with gradients that are not finite are skipped, so that a loss which is not finite says nothing
            of those to come: it is left out of the mean as long as there are others, and no sign of divergence.
        processes: how many train; the losses are the mean of theirs.

    Attributes:
        losses: of the last iterations, the newest last.
        speed: since the last display.
    """

    def __init__(
        self, param: pb.SolverParameter, net: Net, divergence: DivergenceWatch, skips: bool, processes: int = 1
    ) -> None:
        self._param, self._net, self._divergence, self._skips = param, net, divergence, skips
        self._processes = processes
        self.speed = Speed(net, param.iter_size * processes)
        self.losses: deque[Tensor] = deque(maxlen=max(1, param.average_loss))
        self._goes_on = False  # whether the losses are those of what is being done
        self._resumed = False
        self._last = (time.perf_counter(), 0)  # when, and at which iteration

    def begin(self, iteration: int) -> None:
        """Forget the losses so far, unless a run goes on with them; the clock starts at `iteration`."""
        if not self._resumed:
            self.losses.clear()
        self._goes_on, self._resumed = True, False
        self._last = (time.perf_counter(), iteration)
        self.speed.begin(iteration)

    def end(self) -> None:
        """What follows begins with no losses."""
        self._goes_on = False

    def state(self) -> State:
        """The losses of the last iterations, if those to come are to be averaged with them."""
        return {"losses": list(self.losses) if self._goes_on else []}

    def restore(self, state: State) -> list[str]:
        """Go on with these losses."""
        self.losses.clear()
        self.losses.extend(torch.tensor(loss, dtype=torch.float64) for loss in state["losses"])
        self._resumed = bool(self.losses)
        return []

    def is_due(self, iteration: int) -> bool:
        """Whether `iteration` is displayed."""
        return self._param.display != 0 and iteration % self._param.display == 0  # -5 is as 5 (BVLC)

    @property
    def smoothed_loss(self) -> float:
        """Mean of the losses; 0 without any."""
        return self.mean(self.losses)

    def mean(self, values: Collection[Tensor]) -> float:
        """Mean of such losses, as the smoothed loss is one; a GPU is waited for once."""
        if not values:
            return 0.0
        device = self._net.device
        losses: list[float] = torch.stack([value.to(device, torch.float64) for value in values]).tolist()
        if self._skips:
            losses = [loss for loss in losses if math.isfinite(loss)] or losses
        return sum(losses) / len(losses)

    def log(self, iteration: int, tops: Mapping[str, Tensor]) -> None:
        """Print Caffe's lines of one iteration: speed, smoothed loss, and each output of the train net.

        Three of ours follow: whose mean the loss is, where several processes train, the epoch, where it is known, and
        the speed in images.
        """
        now, (then, since) = time.perf_counter(), self._last
        elapsed, done = now - then, iteration - since
        speed = done / elapsed if elapsed else 0.0
        self._last = (now, iteration)
        glog.info(
            f"Iteration {iteration} "
            f"({glog.number(speed)} iter/s, {glog.number(elapsed)}s/{self._param.display} iters), "
            f"loss = {glog.number(self.smoothed_loss)}",
            "solver.cpp:239",
        )
        if not self._skips:
            self._divergence.at_display(iteration, self.smoothed_loss)
        log_outputs("Train", self._net, {name: tops[name] for name in self._net.outputs}, "solver.cpp:258")
        if self._processes > 1:
            glog.info(f"    (loss is the mean of {self._processes} processes, the outputs are the first one's)")
        epochs = count_epochs(self._net, self._param.iter_size * self._processes)
        if epochs is not None:
            whole = f" of {epochs.after(self._param.max_iter):.4g}" if self._param.max_iter else ""
            glog.info(f"    Epoch {epochs.after(iteration):.4g}{whole}")
        speed_in_images = self.speed.describe(iteration)
        if speed_in_images:
            glog.info(f"    {speed_in_images}")
        self.speed.begin(iteration)
