"""The tests of a solver: its test nets over test_iter batches each, which several processes share out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from caffecompat import glog
from caffecompat.data import Source
from caffecompat.data.share import ALL, Share
from caffecompat.forks import Fork
from caffecompat.layers.detection_scores import COCO
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer
from caffecompat.schema import pb
from caffecompat.solver.averages import WeightAverages
from caffecompat.solver.exchange import own_slots
from caffecompat.solver.memory_advice import explaining_memory
from caffecompat.solver.nets import update_fork
from caffecompat.solver.outputs import make_tally
from caffecompat.solver.passes import Tops
from caffecompat.solver.ranks import Ranks

__all__ = ["TestBatches", "Tests", "run_test"]


class Tests:
    """The test nets of a training.

    Args:
        param: the SolverParameter.
        net: the train net.
        nets: the test nets, before their first batches.
        ranks: the processes that train together.
        averages: of the weights; where there are any, they are what is tested.
    """

    __test__ = False  # pytest takes it for a test

    def __init__(
        self, param: pb.SolverParameter, net: Net, nets: Sequence[Net], ranks: Ranks, averages: WeightAverages
    ) -> None:
        self._param, self._net, self._nets, self._ranks, self._averages = param, net, nets, ranks, averages
        self._batches = [TestBatches(param, each, ranks) for each in nets]

    def are_due(self, iteration: int) -> bool:
        """Whether test_interval and test_initialization ask for tests before the update of an iteration."""
        interval = self._param.test_interval
        if not interval or iteration % interval or not self._nets:
            return False
        # No schema default: Jacinto's differs, and ignores the field; everyone else's is true.
        first = self._param.test_initialization if self._param.HasField("test_initialization") else True
        return iteration > 0 or first

    def run(self, index: int, iteration: int, interrupted: Callable[[], bool]) -> dict[str, list[float]] | None:
        """Scores of test net `index` by output blob; None where it was interrupted.

        Args:
            iteration: the updates done so far.
            interrupted: asked before each round of batches whether to stop.
        """
        glog.info(f"Iteration {iteration}, Testing net (#{index})", "solver.cpp:347")
        net, batches, count = self._nets[index], self._batches[index], self._param.test_iter[index]
        fork = update_fork(self._param, self._net)
        with explaining_memory(self._param, net), self._averages.in_the_net():
            if self._ranks.size == 1 or batches.shared:
                self._ranks.spread([slot.tensor() for slot in own_slots(self._net) if not slot.learned])
                return run_test(self._param, net, batches.next(count, interrupted), fork)
            scores = None
            if self._ranks.is_first:  # nor can the others take part in what signals ask for
                scores = run_test(self._param, net, batches.next(count, lambda: False), fork)
            found: dict[str, list[float]] | None = self._ranks.same(scores)
            return found


@torch.no_grad()
def run_test(
    param: pb.SolverParameter, net: Net, batches: Iterator[tuple[Tops, float]], fork: Fork
) -> dict[str, list[float]] | None:
    """Compute and log a test net's scores over the batches; None when interrupted.

    Args:
        param: the SolverParameter, whose eval_type says what the scores are.
        batches: the net's tops, and its loss, of each; see `TestBatches`.
        fork: the fork whose rules of scoring hold.
    """
    tally = make_tally(param, net, fork)
    losses: list[float] = []
    try:
        for tops, loss in batches:
            losses.append(loss)
            tally.add(tops)
    except Interrupted:
        glog.info("Test interrupted.", "solver.cpp:397")
        return None
    if param.test_compute_loss and losses:
        glog.info(f"Test loss: {glog.number(sum(losses) / len(losses))}", "solver.cpp:403")
    tally.log()
    return tally.values()


class Interrupted(Exception):
    """A stop was asked for in the middle of a test."""


class TestBatches:
    """The batches of a test net, of which each process computes its own; all of them get the tops of all, in order.

    A net whose layers remember something from batch to batch or write files, or whose data comes from a user's code,
    is computed by the first process alone, as in Caffe; so is one that COCO's score is asked of, which looks at the
    layers.

    Args:
        net: the test net, before its first batch.
    """

    __test__ = False  # pytest takes it for a test

    def __init__(self, param: pb.SolverParameter, net: Net, ranks: Ranks) -> None:
        self._net, self._ranks = net, ranks
        self._losses = param.test_compute_loss
        self.shared = ranks.size > 1 and param.ap_version != COCO and not any(map(_goes_on, net.layers))
        self._share = Share(ranks.rank, ranks.size) if self.shared else ALL
        self._done = 0  # batches since the net was made
        for layer in net.layers if self.shared else ():
            if isinstance(layer.source, Source):
                layer.source.share_batches(self._share)

    def next(self, count: int, interrupted: Callable[[], bool]) -> Iterator[tuple[Tops, float]]:
        """Tops and loss of each of the next `count` batches.

        Args:
            interrupted: asked before each round of batches whether to stop.

        Raises:
            Interrupted: it said so.
        """
        for first in range(0, count, self._share.size):
            if interrupted():
                raise Interrupted
            own = [batch for _ in range(min(self._share.size, count - first)) for batch in self._compute()]
            yield from (batch for each in (self._ranks.all(own) if self.shared else [own]) for batch in each)

    def _compute(self) -> list[tuple[Tops, float]]:
        """The next batch, if it is this process's."""
        owned = self._share.owns(self._done)
        self._done += 1
        if not owned:
            self._net.skip_batch()
            return []
        tops = self._net()
        loss = float(self._net.loss(tops)) if self._losses else 0.0
        shown = {name: tops[name] for name in self._net.outputs}
        return [({name: top.cpu() for name, top in shown.items()} if self.shared else shown, loss)]


def _goes_on(layer: NetLayer) -> bool:
    """Whether what a layer computes depends on the batches before, or it has an effect outside the net."""
    module = layer.module
    if module is None:
        return layer.source is None
    normalizes = isinstance(module, BatchNorm) and not module.uses_batch_statistics
    return isinstance(module, PythonLayer) or module.writes_files or (bool(module.remembers) and not normalizes)
