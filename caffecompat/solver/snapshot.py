"""What a snapshot of a run holds: the net's weights and the solver's state, written and restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.solver.divergence import DivergenceWatch
from caffecompat.solver.lr_policy import RateState
from caffecompat.solver.nets import update_fork
from caffecompat.solver.snapshot_files import beside_state, snapshot_names
from caffecompat.solver.updater import Updater

__all__ = ["Snapshots"]


@dataclass(eq=False)
class Snapshots:
    """Writes and restores the parts of a run that outlive its process.

    It refers to the parts and not to the solver, so that a solver nobody refers to is gone at once.

    Attributes:
        param: the SolverParameter, which says where snapshots go and in which form.
        net: the train net.
        updater: owns the history of the update rule.
        rate_state: what the learning-rate policy remembers; :meth:`restore` changes it in place.
        divergence: is shown the weights that a snapshot stores.
        saved_at: the iteration whose weights are in files; 0 before the first.
    """

    param: Any
    net: Net
    updater: Updater
    rate_state: RateState
    divergence: DivergenceWatch
    saved_at: int = 0

    def hold(self, iteration: int) -> bool:
        """Whether files hold the weights of `iteration`; a snapshot that was due and failed (a full disk) does not."""
        return iteration == self.saved_at and (iteration > 0 or self.param.snapshot > 0)

    def write(self, iteration: int) -> str:
        """Write weights and state of `iteration`; returns the path of the state.

        Raises:
            CaffeCompatError: the disk is full or the folder unwritable; older snapshots stay whole.
        """
        weights, state = snapshot_names(self.param, iteration)
        kind = "HDF5" if self.param.snapshot_format == pb.SolverParameter.HDF5 else "binary proto"
        glog.info(f"Snapshotting to {kind} file {weights}", "solver.cpp:464")
        self.divergence.before_snapshot(weights)
        fork = update_fork(self.param, self.net)
        # What NVCaffe's runs write, so that a resumed one is known for what it is.
        raw = fork.is_nvcaffe and not self.param.store_blobs_in_old_format
        self.net.save(weights, diffs=self.updater.steps if self.param.snapshot_diff else None, raw=raw)
        glog.info(f"Snapshotting solver state to {kind} file {state}", "sgd_solver.cpp:284")
        plateau = self.param.lr_policy == "plateau"
        write_solverstate(
            state,
            SolverState(
                iter=iteration,
                learned_net=weights,
                history=self.updater.history(),
                current_step=self.rate_state.current_step,
                minimum_loss=self.rate_state.minimum_loss if plateau else None,
                iter_last_event=self.rate_state.iter_last_event if plateau else None,
                fork=fork,
                fork_named=self.net.fork_choice.named,
            ),
            raw=raw,
        )
        self.saved_at = iteration
        return state

    def periodic(self, iteration: int) -> None:
        """A snapshot in the middle of training: a full disk must not throw away the training itself."""
        try:
            self.write(iteration)
        except CaffeCompatError as problem:
            glog.error(f"Snapshot failed: {problem}")
            glog.error("Training goes on; free some space, and SIGHUP writes a snapshot at once.")

    def before_error(self, iteration: int) -> None:
        """A last snapshot before an error (data that cannot be read, a layer that fails in a test) ends the run.

        There is none where the user wants none at all, and after no iteration.
        """
        wanted = self.param.snapshot or self.param.snapshot_after_train
        if wanted and iteration != self.saved_at:
            glog.error(
                f"An error ends the run at iteration {iteration}; writing a snapshot of what was learned before that."
            )
            try:
                self.write(iteration)
            except CaffeCompatError as problem:
                glog.error(f"Snapshot failed: {problem}")

    def restore(self, path: str) -> int:
        """Take over a solverstate and its weights; returns the iteration.

        The weights come from its ``learned_net``; a relative path that leads
        nowhere from the current directory is also looked for beside the state.

        Raises:
            CaffeCompatError: the file is unreadable, or of another solver type or net.
        """
        state = read_solverstate(path)
        if state.learned_net:
            weights = beside_state(state.learned_net, path)
            self.net.load_weights(weights).describe_missing(weights)
        fork = update_fork(self.param, self.net)
        if state.fork not in (None, fork) and not state.fork_named:  # a named one is in the weights, which warn
            glog.warning(f"{path}: written under the rules of {state.fork.value}; resumed under those of {fork.value}")
        glog.info("SGDSolver: restoring history", "sgd_solver.cpp:336")
        self.updater.load_history(state.history)
        plateau = () if state.minimum_loss is None else (state.minimum_loss, state.iter_last_event or 0)
        self.rate_state.become(RateState(state.current_step, *plateau))
        self.saved_at = state.iter
        return state.iter
