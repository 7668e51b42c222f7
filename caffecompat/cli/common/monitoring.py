"""``train --tensorboard`` and ``--profile``."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import add_switch
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    from torch import Tensor

    from caffecompat.report.layer_profile import LayerProfiler
    from caffecompat.report.tensorboard import TensorBoardLog
    from caffecompat.solver import Solver

__all__ = ["monitored", "monitoring_flags"]

_PICTURES = 4
_SHARE = 50  # predictions take no more than this part of the time
_WARM = 3  # iterations before those that are profiled
_MOST = 1000  # whose trace a viewer may still open


def monitoring_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--tensorboard", metavar="DIR",
                        help="write losses, learning rates and scores there for TensorBoard, and what the net makes of "
                        "the first pictures of its test data")  # fmt: skip
    add_switch(parser, "tensorboard-histograms", "with --tensorboard: also the weights and gradients at each display")
    parser.add_argument("--profile", type=_iterations, default=0, metavar="N",
                        help=f"after {_WARM} iterations look at N with torch's profiler: a table by layer, and "
                        "PREFIX_profile.json for chrome://tracing or Perfetto")  # fmt: skip


def _iterations(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MOST}, it is {text}")
    return int(text)


@contextmanager
def monitored(solver: Solver, args: argparse.Namespace) -> Iterator[None]:
    """Do what the flags ask for while the solver trains; of several processes the first one does."""
    with contextlib.ExitStack() as stack:
        if args.profile and solver.ranks.is_first:
            profiling = _Profiling(solver, args.profile)
            stack.callback(profiling.end)
            solver.observers.append(profiling)
        board = None
        if args.tensorboard and solver.ranks.is_first:
            from caffecompat.report.tensorboard import TensorBoardLog

            log = stack.enter_context(contextlib.closing(TensorBoardLog(args.tensorboard, solver.iter)))
            board = _Board(log, histograms=args.tensorboard_histograms)
            solver.monitors.append(board)
        yield
        if board is not None:
            board.predict(solver)


class _Board:
    """A monitor of a solver: writes for TensorBoard."""

    def __init__(self, log: TensorBoardLog, *, histograms: bool) -> None:
        self._log, self._histograms = log, histograms
        self._begun = time.perf_counter()
        self._spent = 0.0
        self._predicts = True

    def displayed(self, solver: Solver, iteration: int, tops: Mapping[str, Tensor]) -> None:
        values = {"train/smoothed loss": solver.smoothed_loss, "learning rate": solver.rate}
        for name in solver.net.outputs:
            values |= _named(f"train/{name}", tops[name].detach().flatten().tolist())
        self._log.scalars(iteration, values)
        if self._histograms:
            self._log.histograms(iteration, {f"weights/{name}": each for name, each in solver.net.named_parameters()})
            gradients = {f"gradients/{name}": each.grad for name, each in solver.net.named_parameters()}
            self._log.histograms(iteration, {name: each for name, each in gradients.items() if each is not None})
        self._log.flush()

    def tested(self, solver: Solver, index: int, scores: Mapping[str, Sequence[float]]) -> None:
        group = "test" if len(solver.test_nets) == 1 else f"test net {index}"
        values: dict[str, float] = {}
        for name, numbers in scores.items():
            values |= _named(f"{group}/{name}", numbers)
        self._log.scalars(solver.iter, values)
        if index == 0 and self._spent * _SHARE <= time.perf_counter() - self._begun:
            self.predict(solver)
        self._log.flush()

    def predict(self, solver: Solver) -> None:
        """Add pictures of what the net makes of the first records that it tests."""
        if not solver.test_nets or not self._predicts:
            return
        from caffecompat.report.palette import load_palette
        from caffecompat.report.predictions import predict
        from caffecompat.schema import NetDocument

        start, net = time.perf_counter(), solver.test_nets[0]
        document = NetDocument.from_message(net.message, like=net.fork_choice, relative_to=net.relative_to)
        try:
            with tempfile.TemporaryDirectory() as folder, solver.averages.in_the_net():
                weights = os.path.join(folder, "now.caffemodel")
                net.save(weights)
                self._log.predictions(solver.iter, predict(document, weights, _PICTURES, load_palette(None)))
        except CaffeCompatError as problem:
            self._predicts = False
            glog.warning(f"no predictions for TensorBoard: {' '.join(str(problem).split())}")
        self._spent += time.perf_counter() - start


def _named(tag: str, numbers: Sequence[float]) -> dict[str, float]:
    """The numbers of a blob: with their places, where it has several."""
    return {tag: numbers[0]} if len(numbers) == 1 else {f"{tag} {at}": number for at, number in enumerate(numbers)}


class _Profiling:
    """An observer of a solver: profiles some iterations, once."""

    def __init__(self, solver: Solver, count: int) -> None:
        self._solver, self._count = solver, count
        self._seen = 0
        self._profiler: LayerProfiler | None = None

    def __call__(self, solver: Solver) -> None:
        self._seen += 1
        if self._seen == _WARM:
            from caffecompat.report.layer_profile import LayerProfiler

            self._profiler = LayerProfiler(solver.net)
            self._profiler.start()
            self._start = time.perf_counter()
        elif self._seen == _WARM + self._count:
            self.end()

    def end(self) -> None:
        """Show what was seen; where training ended before it began, that."""
        profiler, self._profiler = self._profiler, None
        done = min(self._seen - _WARM, self._count)
        if profiler is not None and done > 0:
            from caffecompat.report.layer_profile import layer_table

            param = self._solver.param
            passes = done * param.iter_size
            milliseconds = 1000 * (time.perf_counter() - self._start) / passes
            trace = f"{param.snapshot_prefix or 'caffecompat'}_profile.json"
            print(layer_table(profiler.stop(passes, trace), milliseconds), flush=True)
            glog.info(f"Profiled {done} iterations; the trace is {trace}")
        elif self._seen <= _WARM:
            glog.warning(f"--profile: the first {_WARM} iterations are not profiled, and {self._seen} were done")
