"""The training loop: Caffe's ``Solver``, read from top to bottom.

Rules and order are BVLC's ``solver.cpp`` and ``sgd_solver.cpp``; the ``where`` of each log line names the place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from caffecompat import glog
from caffecompat.arguments import expect_message
from caffecompat.errors import exit_with
from caffecompat.forks import Fork, ForkName
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.learning import Learning
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.resumable import Resumable
from caffecompat.schema import pb, read_solver
from caffecompat.solver.averages import WeightAverages
from caffecompat.solver.debug import DebugInfo
from caffecompat.solver.display import Display
from caffecompat.solver.divergence import DivergenceWatch
from caffecompat.solver.epochs import Epochs, count_epochs, last_epoch_points
from caffecompat.solver.exchange import Exchange, synchronize_norms
from caffecompat.solver.execution import Execution
from caffecompat.solver.loss_scale import make_loss_scale
from caffecompat.solver.lr_policy import RateState, learning_rate
from caffecompat.solver.memory_advice import explaining_memory, free_memory
from caffecompat.solver.monitor import Monitor
from caffecompat.solver.nets import OwnLayers, update_fork
from caffecompat.solver.overrides import LayerSettings, split_overrides
from caffecompat.solver.passes import Passes
from caffecompat.solver.plateau import LeastLoss
from caffecompat.solver.preparation import Preparation, begin_together, device_of
from caffecompat.solver.ranks import ALONE, Ranks
from caffecompat.solver.registry import Settings, make_registry
from caffecompat.solver.retention import Retention
from caffecompat.solver.run_lock import RunLock
from caffecompat.solver.signals import Action, SignalActions
from caffecompat.solver.snapshot import Snapshots
from caffecompat.solver.snapshot_files import snapshot_names
from caffecompat.solver.sparsity import Sparsifier
from caffecompat.solver.start_weights import load_start_weights, own_weights
from caffecompat.solver.testing import Tests
from caffecompat.solver.updater import Updater
from caffecompat.wording import few

__all__ = ["Solver"]


class Solver:
    """Trains a net as ``caffe train`` does.

    Args:
        source: path of a solver.prototxt, or a SolverParameter.
        path: with a SolverParameter, the file it was read from (relative paths may lead from there).
        overrides: ``NAME=VALUE`` settings, as ``--set`` takes them.
        device: where to compute; None is what solver_mode and device_id say, as far as torch can.
        strict: unknown fields in the prototxts are errors.
        fork: the Caffe whose rules hold ("jacinto", ``Fork.JACINTO``), where the texts cannot show it.
        weights: file(s) to start from; None is what the solver's own `weights` lists, an empty list is none at all.
        skip_mismatched: leave layers that do not fit these at their initial values.
        epochs: how often to go through the training data; decides max_iter, whatever the solver says.
        lr_mults: ``PATTERN=NUMBER`` settings of lr_mult, as ``--lr-mult`` takes them.
        freeze_bn: batch normalization uses its stored statistics, and nothing of it learns (``--freeze-bn``).
        amp: "bf16" or "fp16": layers compute in 16 bits (``--amp``); see :class:`caffecompat.Net`.
        cards: how many batches an iteration takes, as that many GPUs do: iter_size is multiplied by it.
        ranks: the processes that train together (`caffecompat.solver.ranks`); each makes a solver with the same values.
        sync_bn: batch normalization takes the statistics of all processes' batches.
        execution: how the nets are computed: compiled, or with fewer blobs in memory.

    Attributes:
        net, test_nets: the nets; test nets share the train net's parameters.
        iter: updates done so far.
        callbacks: pairs (before the forward pass, before the update) called at every iteration.
        observers: called with the solver after every iteration.
        monitors: shown what is displayed and tested; of several processes, those of the first.
        rate: the learning rate of the last update.
        passes: runs the train net; ``passes.keep_gradients`` keeps the memory of gradients for who reads them.

    Raises:
        CaffeCompatError: the files do not describe a solver and its nets, weights do not fit them, or snapshots
            cannot be written.

    >>> import caffecompat
    >>> solver = caffecompat.Solver("solver.prototxt", weights="net.caffemodel")
    >>> solver.step(2)  # or train(), to max_iter with tests and snapshots
    >>> (solver.iter, solver.smoothed_loss < 1)
    (2, True)
    """

    path: str | None
    param: pb.SolverParameter
    net: Net
    test_nets: list[Net]
    device: torch.device
    callbacks: list[tuple[Callable[[], None], Callable[[], None]]]
    observers: list[Callable[[Solver], None]]
    monitors: list[Monitor]
    rate: float

    def __init__(
        self,
        source: str | os.PathLike[str] | pb.SolverParameter,
        *,
        path: str | None = None,
        overrides: Sequence[str] = (),
        device: torch.device | str | None = None,
        strict: bool = False,
        fork: ForkName | None = None,
        weights: WeightPaths | None = None,
        skip_mismatched: bool = False,
        epochs: float | None = None,
        cards: int = 1,
        lr_mults: Sequence[str] = (),
        freeze_bn: bool = False,
        amp: Amp | None = None,
        ranks: Ranks = ALONE,
        sync_bn: bool = False,
        execution: Execution = Execution(),  # noqa: B008 (frozen)
    ) -> None:
        self.ranks = ranks
        if isinstance(source, (str, os.PathLike)):
            self.path = os.fspath(source)
            self.param = read_solver(self.path, strict=strict)
        else:
            expect_message(source, "SolverParameter", "or the path of a solver's prototxt")
            self.path, self.param = path, source
        changed, layer_settings = split_overrides(overrides, self.param)
        settings = LayerSettings(layer_settings, Learning(lr_mults, freeze_bn), amp)
        preparation = Preparation(self.param, self.path, changed, settings, epochs, cards, ranks)
        preparation.settle_param()
        self.device = as_device(device) if device is not None else device_of(self.param)
        self.iter = 0
        self.rate_state = RateState()
        self.callbacks = []
        self.observers = []
        self.monitors = []
        self.rate = 0.0
        self.signals = SignalActions()
        self._stopped = self._updating = False
        self.net, self.test_nets = preparation.make_nets(self.device, strict=strict, fork=fork)
        self._learning = settings.learning
        self.averages = WeightAverages(self.net, self.param.ema_decay)
        start = own_weights(self.param, self.path) if weights is None else weights
        if start:
            self.load_weights(start, skip_mismatched=skip_mismatched)
        if sync_bn:
            synchronize_norms(self.net, ranks)
        begin_together([self.net, *self.test_nets], ranks, self._batches)
        self.averages.begin()
        self._make_parts()
        execution.apply(self.net, self.test_nets)
        if execution.cuda_graphs:  # in whose memory the next pass writes
            self.passes.hold_gradients()
        if self.param.lr_policy == "poly" and not self.param.HasField("power"):
            glog.info("lr_policy is 'poly' without 'power': the rate stays at base_lr, as in Caffe (power 0)")
        if self.param.lr_policy != "multifixed" and not self.param.HasField("base_lr"):
            glog.warning("base_lr is not set: it is 0, as in Caffe")
        glog.info("Solver scaffolding done.", "solver.cpp:57")

    def _make_parts(self) -> None:
        """What works on the nets: passes, updates, display, snapshots, and the registry of all that goes on."""
        self.loss_scale = make_loss_scale(self.net)
        exchange = Exchange(self.ranks, [param.blob for param in self.net.params])
        self.passes = Passes(self.param, self.net, self.loss_scale, exchange)
        with explaining_memory(self.param, self.net):
            self.updater = Updater(self.param, self.net.params)
        self.updater.measures = self.loss_scale.changes and not self.loss_scale.skips
        self.sparsifier = Sparsifier(self.param, self.net)
        retention = Retention(self.param)
        self._divergence = DivergenceWatch(self.net.params)
        self.display = Display(self.param, self.net, self._divergence, self.loss_scale.skips, self.ranks.size)
        own: dict[str, Resumable] = {
            "losses to average": self.display,
            "learning rate": self.rate_state,
            "sparsity": self.sparsifier,
            "settings of the solver": Settings(self.param),
            "averages of the weights": self.averages,
            "snapshots to keep": retention,
            "loss scale": self.loss_scale,
        }
        self._least_loss = LeastLoss(self.param, self.rate_state, self.display, waits=self.device.type == "cpu")
        self.registry = make_registry(self.net, self.test_nets, own, self.ranks)
        self.snapshots = Snapshots(
            self.param, self.net, self.updater, self.rate_state, self._divergence, self.registry, self.averages,
            retention, self.path,
        )  # fmt: skip
        self._last_points = last_epoch_points(
            self.param.test_and_snapshot_last_epochs, self.param.max_iter, self.epochs
        )
        self._tests = Tests(self.param, self.net, self.test_nets, self.ranks, self.averages)
        self._own_layers = OwnLayers([self.net, *self.test_nets])

    # ---------------------------------------------------------------- training

    def train(self, resume: str | None = None) -> None:
        """Caffe's Solve: from here (or the solverstate `resume`) to max_iter, with the last snapshot and test.

        Whatever error ends it, what was learned before is in a snapshot (unless the solver wants none).

        Raises:
            OutOfMemory: the net does not fit; the message says what to change.
            WriteError: trained to the end, but a snapshot could not be written where it should.
            CaffeCompatError: the data cannot be read, a layer cannot compute.
        """
        glog.info(f"Solving {self.net.name}", "solver.cpp:288")
        glog.info(f"Learning Rate Policy: {self.param.lr_policy}", "solver.cpp:289")
        if self.epochs is not None:
            glog.info(f"Training data: {self.epochs.describe(self.param.max_iter)}")
        if resume:
            glog.info(f"Restoring previous solver status from {resume}", "solver.cpp:294")
            self.restore(resume)
        blank = self._learning.blank_norms(self.net.layers)
        if blank:
            glog.warning(
                f"frozen BatchNorm layers have no statistics yet, and divide by almost 0: {few(blank, 8)}; start from "
                "weights of a trained net"
            )
        if self.iter >= self.param.max_iter > 0:
            glog.warning(
                f"nothing to train: this is iteration {self.iter} already, and max_iter is {self.param.max_iter}"
            )
        writes = self.snapshots.wanted and self.ranks.is_first
        with self.signals, RunLock(self.param.snapshot_prefix) if writes else nullcontext():
            if self.ranks.is_first:
                self.snapshots.retention.tidy()
            first = self.iter
            try:
                self._solve()
            except KeyboardInterrupt:  # the second one: the user does not want to wait for anything
                raise
            except BaseException as error:
                free_memory(error, self.net)
                reason = self.ranks.explained(error)
                self.snapshots.before_error(self.iter, updating=self._updating, alone=self.ranks.size == 1)
                if reason is not error:
                    raise reason from None
                if self.iter > first:
                    exit_with(error, 1)
                raise
        self.snapshots.check_written()

    def _solve(self) -> None:
        """From here to max_iter; then the last snapshot, display and test."""
        self.sparsifier.begin()
        self._iterations(self.param.max_iter - self.iter)
        self.updater.log_clipped()
        self.sparsifier.after_training(self.iter)
        self.averages.keep_zeros(self.sparsifier.masks)
        if self.param.snapshot_after_train and not self.ranks.same(self.snapshots.hold(self.iter)):
            self._save(self.snapshots.last, self.iter)
        if self._stopped:
            glog.info("Optimization stopped early.", "solver.cpp:313")
            return
        self.registry.mark()
        if self.display.is_due(self.iter):
            with torch.no_grad():
                self.display.losses.append(self.ranks.mean(self.net.loss(self.net())))
            glog.info(f"Iteration {self.iter}, loss = {glog.number(self.smoothed_loss)}", "solver.cpp:327")
        if self.param.test_interval and self.iter % self.param.test_interval == 0:
            self.test_all()
        self.registry.unmark()
        glog.info("Optimization Done.", "solver.cpp:332")

    def step(self, count: int) -> None:
        """Do `count` iterations, with the tests, displays and snapshots that fall due."""
        self._iterations(count)
        self._least_loss.settle()
        self.updater.log_clipped()
        self.display.end()

    def _iterations(self, count: int) -> None:
        """The same, in the middle of something: the losses are averaged with those of what follows."""
        self._own_layers.require()
        self.display.begin(self.iter)
        self._stopped = False
        end = self.iter + count
        with explaining_memory(self.param, self.net):
            while self.iter < end and not self._stopped:
                self._iterate()

    def _iterate(self) -> None:
        """One iteration: the test that is due before it, passes and update, the snapshot that is due after it."""
        self.registry.mark()
        self.passes.begin(self.iter)
        scores: dict[str, list[float]] = {}
        if self.iter in self._last_points or self._tests.are_due(self.iter):
            scores = self.test_all()
            if self._stopped:
                return
        display = self.display.is_due(self.iter)
        for before_forward, _ in self.callbacks:
            before_forward()
        loss, tops = self.passes.run(debug=display and self.param.debug_info)
        self.display.losses.append(loss)
        if display:
            self.display.log(self.iter, tops)
        for _, before_update in self.callbacks:
            before_update()
        self._updating = True
        skipped = self.passes.overflow(self.iter)
        self._update(display, skipped=skipped)
        self.sparsifier.after_update(self.iter)
        self.averages.update(self.sparsifier.masks, skipped=skipped)
        self.iter += 1
        self._updating = False
        self.registry.unmark()
        for observer in self.observers:
            observer(self)
        for monitor in self.monitors if display else ():
            monitor.displayed(self, self.iter - 1, tops)
        request = self._request()
        if request is Action.SNAPSHOT or (self.param.snapshot and self.iter % self.param.snapshot == 0):
            self._save(self.snapshots.periodic, self.iter)
        if self.iter - 1 in self._last_points:
            self._save(self.snapshots.with_scores, self.iter, scores)
        self._stopped = request is Action.STOP

    def _request(self) -> Action:
        """The most urgent of what signals ask of any process."""
        request = self.signals.poll()
        return _URGENCY[self.ranks.most(_URGENCY.index(request))]

    def apply_update(self) -> None:
        """Update the parameters from their gradients as they are, without counting an iteration."""
        self._update(self.display.is_due(self.iter))
        self.averages.update()

    def _update(self, display: bool, *, skipped: bool = False) -> None:
        """Take the step of the iteration; where it is skipped, nothing moves but the learning rate."""
        self._least_loss.note(self.iter)
        self.net.take_written()
        self.updater.fork = self.fork
        rate = self.rate = learning_rate(self.param, self.iter, self.rate_state)
        if display:
            glog.info(f"Iteration {self.iter}, lr = {glog.number(rate)}", "sgd_solver.cpp:112")
        debug = display and self.param.debug_info
        if display and self.loss_scale.changes:
            glog.info(f"    Loss scale = {glog.number(self.loss_scale.value)}")
        if skipped:
            self.updater.steps.clear()
            if self.loss_scale.suspicious:
                self._divergence.after_skips(self.iter, self.loss_scale.skipped)
        elif not self.param.disabled_update:  # Intel's, to measure the passes alone
            self.updater.keep_steps |= debug
            self.updater.apply(rate, self.iter, self.param.iter_size)
            if display:
                self.updater.log_clipped()
            self.loss_scale.after_update(self.updater.squares)
            if debug:
                DebugInfo(self.net).log_update(self.updater.steps)

    @property
    def epochs(self) -> Epochs | None:
        """How much of the training data an iteration takes; None where its size is not known (DummyData, for one)."""
        return count_epochs(self.net, self._batches)

    @property
    def _batches(self) -> int:
        """Batches of an iteration, those of all processes."""
        return self.param.iter_size * self.ranks.size

    @property
    def fork(self) -> Fork:
        """The fork whose update rules hold (see :func:`caffecompat.solver.nets.update_fork`)."""
        return update_fork(self.param, self.net)

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last average_loss iterations (of this call of :meth:`step`)."""
        return self.display.smoothed_loss

    # ----------------------------------------------------------------- testing

    def test_all(self) -> dict[str, list[float]]:
        """Run every test net over its test_iter batches and log the mean of each output; keep the best weights.

        Returns:
            The scores of the first net that has any.
        """
        first: dict[str, list[float]] = {}
        for index in range(len(self.test_nets)):
            with self.display.speed.paused():
                scores = self.test(index)
                for monitor in self.monitors if scores is not None else ():
                    monitor.tested(self, index, scores or {})
            if scores is not None:
                if self.param.snapshot_best:
                    self._save(self.snapshots.after_test, self.iter, index, scores)
                first = first or scores
            if self._stopped:
                break
        return first

    def test(self, index: int) -> dict[str, list[float]] | None:
        """Scores of test net `index` by output blob; None when a stop was asked for meanwhile.

        By eval_type: the mean of each element ("classification"), or mean average precision ("detection"). With
        ema_decay they are those of the averaged weights.
        """
        return self._tests.run(index, self.iter, self._interrupts_test)

    def _interrupts_test(self) -> bool:
        """Do what signals ask for between two batches of a test; whether that is to stop."""
        request = self._request()
        if request is Action.SNAPSHOT:
            self._save(self.snapshots.periodic, self.iter)
        if request is Action.STOP:
            self._stopped = True
        return self._stopped

    # --------------------------------------------------------------- snapshots

    def snapshot(self) -> str:
        """Write weights and state of this iteration; returns the path of the state.

        Raises:
            CaffeCompatError: the disk is full or the folder unwritable; older snapshots stay whole.
        """
        self._save(self.snapshots.write, self.iter)
        return snapshot_names(self.param, self.iter)[1]

    def _save(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Have the first process write a snapshot, once it knows what the others remember."""
        with self.display.speed.paused():
            self._least_loss.settle()
            self.registry.collect()
            if self.ranks.is_first:
                write(*arguments)

    def restore(self, path: str, *, like_caffe: bool = False) -> None:
        """Continue from a solverstate, ours or original Caffe's, binary or HDF5.

        The weights come from its ``learned_net``, or from next to the state, where a copied snapshot has its own.
        Where its ``.resume`` file is there, too, the very run goes on: data from the record that is due, random
        numbers from the next one. What keeps it from that is a warning.

        Args:
            like_caffe: as original Caffe does it: data from the beginning, other random numbers.

        Raises:
            CaffeCompatError: the state or its weights are unreadable, or of another solver type or net.
        """
        self.iter = self.snapshots.restore(path, like_caffe=like_caffe)

    def load_weights(self, paths: WeightPaths, *, skip_mismatched: bool = False) -> None:
        """Fine-tune: copy weights by layer name from a file or a list of files, the last one winning.

        Test nets get the weights of layers that they alone have, too (BVLC ``Solver::InitTestNets``).

        Raises:
            CaffeCompatError: a file does not fit, or has none of the net's layers.
        """
        load_start_weights(self.param, self.net, self.test_nets, paths, skip_mismatched=skip_mismatched)
        self.averages.begin()


_URGENCY = (Action.NONE, Action.SNAPSHOT, Action.STOP)
