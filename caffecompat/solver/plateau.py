"""``lr_policy: "plateau"``: the least smoothed loss so far, looked at no earlier than a step may depend on it."""

from __future__ import annotations

from torch import Tensor

from caffecompat.schema import pb
from caffecompat.solver.display import Display
from caffecompat.solver.lr_policy import RateState

__all__ = ["LeastLoss"]

_MOST_UNSEEN = 1000


class LeastLoss:
    """Keeps `minimum_loss` and `iter_last_event` of a rate's state, as SSD's Caffe does at every iteration.

    A new least loss only puts off the next step. So the losses of a GPU, for which one would have to wait, are left
    there until the iteration at which the rate steps if there was none.

    Args:
        waits: look at each loss at once.
    """

    def __init__(self, param: pb.SolverParameter, state: RateState, display: Display, waits: bool) -> None:
        self._param, self._state, self._display, self._waits = param, state, display, waits
        self._unseen: list[tuple[int, list[Tensor]]] = []

    def note(self, iteration: int) -> None:
        """Take in the smoothed loss of an iteration, before its rate is asked for."""
        if self._param.lr_policy != "plateau":
            return
        self._unseen.append((iteration, list(self._display.losses)))
        windows, step = self._param.plateau_winsize, self._state.current_step
        may_step = step < len(windows) and iteration >= self._state.iter_last_event + windows[step]
        if self._waits or may_step or len(self._unseen) == _MOST_UNSEEN:
            self.settle()

    def settle(self) -> None:
        """Look at the losses that nobody has looked at."""
        for iteration, losses in self._unseen:
            loss = self._display.mean(losses)
            if loss < self._state.minimum_loss:
                self._state.minimum_loss, self._state.iter_last_event = loss, iteration
        self._unseen.clear()
