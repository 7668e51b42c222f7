"""From a solver's file, and what its user asks for besides, to nets that can be trained."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from caffecompat import data, glog
from caffecompat.data.share import Share, share_records
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.layers.fixed import count_positions
from caffecompat.net import Net
from caffecompat.net.precision import precision_text
from caffecompat.schema import pb, write_text
from caffecompat.solver.epochs import MOST_ITERATIONS, count_all_records, need_epochs
from caffecompat.solver.exchange import own_slots
from caffecompat.solver.nets import NetReader, make_test_nets, make_train_net, shown_fork
from caffecompat.solver.overrides import LayerSettings, apply_to_solver
from caffecompat.solver.ranks import Ranks
from caffecompat.solver.retention import BestScore
from caffecompat.solver.settings import check_settings, setting_place
from caffecompat.solver.snapshot_files import check_writable, wants_snapshots

__all__ = ["Preparation", "begin_together", "device_of"]


@dataclass(frozen=True)
class Preparation:
    """What a solver does before it trains: `settle_param`, then `make_nets`.

    Attributes:
        param: the SolverParameter, which both change.
        path: the file it was read from; None without one.
        changed: the ``NAME=VALUE`` settings of its own fields.
        layer_settings: those of layers, and what else is asked of the nets.
        epochs: how often to go through the training data; None where max_iter says how long to train.
        cards: how many batches iter_size is multiplied by.
        ranks: the processes that train together.
    """

    param: pb.SolverParameter
    path: str | None
    changed: Sequence[str]
    layer_settings: LayerSettings
    epochs: float | None
    cards: int
    ranks: Ranks

    def settle_param(self) -> None:
        """Apply the settings, check what can be known before the nets are, and seed.

        Raises:
            CaffeCompatError: the solver cannot be followed, or its snapshots cannot be written.
        """
        apply_to_solver(self.param, self.changed, self.path)
        if self.epochs is not None:
            self.param.max_iter = MOST_ITERATIONS
        check_settings(self.param, self.path, self.changed)
        if self.epochs is not None:
            self.param.ClearField("max_iter")  # it is not known before the data is there
        glog.info(f"Initializing solver from parameters: \n{write_text(self.param).rstrip()}", "solver.cpp:45")
        if wants_snapshots(self.param) and self.ranks.is_first:
            check_writable(self.param)
        share_records(Share(self.ranks.rank, self.ranks.size))
        seed = self.param.random_seed
        if seed < 0 and self.ranks.size > 1:  # all must shuffle alike
            seed = self.ranks.same(secrets.randbits(31))
        if seed >= 0:
            torch.manual_seed(seed)
            data.seed(seed)

    def make_nets(self, device: torch.device, *, strict: bool, fork: ForkName | None) -> tuple[Net, list[Net]]:
        """The train net, then the test nets, which share its parameters; all on the device.

        Args:
            strict, fork: as for :class:`NetReader`.

        Raises:
            CaffeCompatError: the files do not describe the nets, or a setting is of nothing in them.
        """
        settings = self.layer_settings
        reader = NetReader(self.path, strict, fork, shown_fork(self.param, self.path))
        net = make_train_net(self.param, settings, reader).to(device)
        count_positions(net)
        count_all_records(net, self.ranks)
        types = precision_text(net.layers, device)
        if types:
            glog.info(types)
        self._settle_iterations(net)
        reader = NetReader(self.path, strict, fork, net.fork_choice)
        test_nets = [each.to(device) for each in make_test_nets(self.param, settings, reader)]
        settings.check_all_used()
        settings.learning.check_all_used(net.layers)
        for each in test_nets:
            each.share_from(net)
            each.check_files()
        best = BestScore.read(self.param.snapshot_best)
        problem = best.unknown_output(test_nets) if best else ""
        if problem:
            raise CaffeCompatError(f"{setting_place('snapshot_best', self.path, self.changed)}: {problem}")
        return net, test_nets

    def _settle_iterations(self, net: Net) -> None:
        """Find iter_size and, from the size of the training data, max_iter."""
        self.param.iter_size *= self.cards
        if self.cards > 1:
            glog.info(
                f"{self.cards} GPUs named: computing their {self.cards} batches an iteration on {net.device} "
                f"(iter_size x {self.cards})"
            )
        if self.epochs is not None:
            self.param.max_iter = need_epochs(net, self.param.iter_size * self.ranks.size).iterations(self.epochs)
            check_settings(self.param, self.path, self.changed)


def begin_together(nets: Sequence[Net], ranks: Ranks, batches: int) -> None:
    """Let all processes begin with the first one's weights, and draw other random numbers in their layers.

    Args:
        nets: the train net, then the test nets.
        batches: of an iteration, those of all processes.
    """
    if ranks.size == 1:
        return
    glog.info(f"{ranks.size} processes train: {batches} batches an iteration")
    ranks.spread([slot.tensor() for net in nets for slot in own_slots(net)])
    if ranks.rank:
        torch.manual_seed(torch.initial_seed() + (ranks.rank << 32))
    for layer in nets[0].layers:
        if layer.module is not None and layer.module.writes_files:
            glog.info(f"{layer.name} ({layer.type}) writes the blobs of the first process's batches alone")
            layer.module.writes_files = ranks.is_first


def device_of(param: pb.SolverParameter) -> torch.device:
    """Where solver_mode and device_id say to compute, as far as torch can."""
    if param.solver_mode == pb.SolverParameter.GPU and torch.cuda.is_available():
        return torch.device("cuda", param.device_id)
    return torch.device("cpu")
