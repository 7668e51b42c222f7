"""What a snapshot of a run holds: the net's weights and the solver's state, written and restored."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.atomic import WriteError, atomic_together, atomic_write, is_same_file
from caffecompat.formats.resume_file import ResumeFileError, encode_resume, read_resume, resume_name
from caffecompat.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.solver.averages import WeightAverages
from caffecompat.solver.divergence import DivergenceWatch
from caffecompat.solver.lr_policy import RateState
from caffecompat.solver.nets import update_fork
from caffecompat.solver.registry import Registry
from caffecompat.solver.retention import BEST_SCORE, Retention
from caffecompat.solver.snapshot_files import (
    averages_name,
    best_names,
    places_elsewhere,
    scored_names,
    snapshot_names,
    snapshot_paths,
    state_weights,
    wants_snapshots,
)
from caffecompat.solver.updater import Updater

__all__ = ["Snapshots"]

_LEFT = "data and random numbers stay as they are (in a new process: from the beginning), as in Caffe"
_SHOWN = 5  # failures listed at the end of a run
_SCORES = 5  # in the name of a snapshot, NVCaffe's MAX_SNAPSHOT_SCORES
_REMARKS = 20  # of what a resumed run does not find as it was


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
        registry: all else that a run must remember to go on exactly.
        averages: the averaged weights, stored beside the weights where there are any.
        retention: removes snapshots that are too old, and knows the best score.
        relative_to: the solver's file, next to which a snapshot may go that cannot be written where it should; None
            without.
        failures: why snapshots could not be written where they should, by what they are of ("of iteration 100").
        saved_at: the iteration whose weights are in files; 0 before the first.
        saved_as: the path of its state; "" before the first.
    """

    param: pb.SolverParameter
    net: Net
    updater: Updater
    rate_state: RateState
    divergence: DivergenceWatch
    registry: Registry
    averages: WeightAverages
    retention: Retention
    relative_to: str | None = None
    saved_at: int = 0
    saved_as: str = ""
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        """Whether the user wants any snapshot."""
        return wants_snapshots(self.param)

    def hold(self, iteration: int) -> bool:
        """Whether files hold the weights of `iteration`.

        Those of a snapshot that was due and failed (a full disk) do not, nor those that somebody has removed.
        """
        if iteration == 0:
            return self.param.snapshot > 0
        return iteration == self.saved_at and os.path.exists(self.saved_as)

    def write(self, iteration: int, prefix: str | None = None) -> str:
        """Write weights and state of `iteration`, with the file that lets a run go on exactly; the path of the state.

        The three appear together, the state last: whoever sees it has all of them, even where the run was killed.

        Args:
            prefix: another one than the solver's snapshot_prefix.

        Raises:
            CaffeCompatError: the disk is full or the folder unwritable; older snapshots stay whole.
        """
        names = snapshot_names(self.param, iteration, prefix)
        self._write(iteration, *names)
        self.saved_at, self.saved_as = iteration, names[1]
        if prefix is None:
            self.failures.pop(_of(iteration), None)  # the disk had been full, and is no longer
            self.retention.written(iteration)
        return names[1]

    def _write(self, iteration: int, weights: str, state: str, more: Mapping[str, object] | None = None) -> None:
        """All files of a snapshot, with these of them; `more` is for the .resume file."""
        kind = "HDF5" if self.param.snapshot_format == pb.SolverParameter.HDF5 else "binary proto"
        glog.info(f"Snapshotting to {kind} file {weights}", "solver.cpp:464")
        fork = update_fork(self.param, self.net)
        # What NVCaffe's runs write, so that a resumed one is known for what it is.
        raw = fork.is_nvcaffe and not self.param.store_blobs_in_old_format
        plateau = self.param.lr_policy == "plateau"
        paths = snapshot_paths(weights, state)
        with atomic_together(*paths) as (new_weights, new_averages, new_resume, new_state):
            with self.averages.out_of_the_net():
                self.divergence.before_snapshot(weights)
                self.net.save(new_weights, diffs=self.updater.steps if self.param.snapshot_diff else None, raw=raw)
                if self.averages.wanted:
                    with self.averages.in_the_net():
                        self.net.save(new_averages, raw=raw)
            content, digest = encode_resume({**self.registry.content(iteration), **(more or {})})
            with atomic_write(new_resume) as file:
                file.write(content)
            glog.info(f"Snapshotting solver state to {kind} file {state}", "sgd_solver.cpp:284")
            write_solverstate(
                new_state,
                SolverState(
                    iter=iteration,
                    learned_net=weights,
                    history=self.updater.history(),
                    current_step=self.rate_state.current_step,
                    minimum_loss=self.rate_state.minimum_loss if plateau else None,
                    iter_last_event=self.rate_state.iter_last_event if plateau else None,
                    fork=fork,
                    fork_named=self.net.fork_choice.named,
                    resume=digest,
                ),
                raw=raw,
            )

    def after_test(self, iteration: int, net: int, scores: Mapping[str, Sequence[float]]) -> None:
        """Write the weights that a test has just scored as the best ones, if they are; see ``snapshot_best``.

        Args:
            net: the number of the test net.
            scores: the values of its outputs.
        """
        score = self.retention.better(net, scores)
        if score is None:
            return
        glog.info(f"Iteration {iteration}: the best {self.param.snapshot_best} so far, {glog.number(score)}")
        known = {BEST_SCORE: {self.param.snapshot_best: score}}
        try:
            self._write(iteration, *best_names(self.param), known)
        except Exception as problem:
            self._failed("of the best score", problem)
        else:
            self.retention.score = score
            self.failures.pop("of the best score", None)

    def with_scores(self, iteration: int, scores: Mapping[str, Sequence[float]]) -> None:
        """Write the snapshot that test_and_snapshot_last_epochs asks for, the first five scores in its name."""
        values = [value for each in scores.values() for value in each][:_SCORES]
        if not values:
            return
        try:
            self._write(iteration, *scored_names(self.param, iteration, values))
        except Exception as problem:
            self._failed(f"{_of(iteration)} with its scores", problem)

    def periodic(self, iteration: int) -> None:
        """A snapshot in the middle of training: a full disk must not throw away the training itself."""
        try:
            self.write(iteration)
        except Exception as problem:
            self._failed(_of(iteration), problem)
            glog.error("Training goes on; free some space, and SIGHUP writes a snapshot at once.")

    def last(self, iteration: int) -> None:
        """The snapshot that a run ends with; where it cannot be written, in another folder."""
        try:
            self.write(iteration)
            return
        except Exception as problem:
            self._failed(_of(iteration), problem)
        for prefix in places_elsewhere(self.param.snapshot_prefix, self.relative_to):
            try:
                state = self.write(iteration, prefix)
            except Exception as problem:
                glog.error(f"Snapshot failed there, too: {problem}")
                continue
            self.failures[_of(iteration)] += (
                f"; it is in {os.path.dirname(state)} instead: resume with --snapshot {state}"
            )
            glog.error(f"The snapshot is in another folder: {state}")
            return
        self.failures[_of(iteration)] += f"; nor could it be in any other folder: {self._newest()}"

    def before_error(self, iteration: int, *, updating: bool, alone: bool) -> None:
        """A last snapshot before an error (data that cannot be read, a layer that fails in a test) ends the run.

        There is none where the user wants none at all, and where nothing was learned since the last one.

        Args:
            updating: the error came in the middle of an update, so that some weights are of the next iteration.
            alone: no other process trains with this one; else nobody can know what the others remember.
        """
        head = f"An error ends the run at iteration {iteration}"
        if iteration == 0:
            glog.error(f"{head}; nothing was learned that a snapshot could hold")
        elif self.hold(iteration) or not alone:
            glog.error(f"{head}; {self._newest()}")
        elif not self.wanted:
            glog.error(f"{head}; it leaves no snapshot, as snapshot is 0 and snapshot_after_train false")
        else:
            glog.error(f"{head}; writing a snapshot of what was learned before that.")
            if updating:
                glog.error("It came in the middle of an update: some weights of this snapshot have had the next one.")
            self.last(iteration)

    def _failed(self, which: str, problem: Exception) -> None:
        glog.error(f"Snapshot failed: {problem}")
        self.failures[which] = str(problem)

    def _newest(self) -> str:
        if not self.saved_at:
            return "there is no snapshot yet"
        gone = "" if os.path.exists(self.saved_as) else f", and {self.saved_as} is gone"
        return f"the newest snapshot is of iteration {self.saved_at}{gone}"

    def check_written(self) -> None:
        """Make sure that every snapshot of the run has been written where it was due.

        Raises:
            WriteError: one has not.
        """
        if self.failures:
            lines = [f"{which}: {why}" for which, why in self.failures.items()]
            more = len(lines) - _SHOWN
            shown = [f"({more} earlier ones)", *lines[-_SHOWN:]] if more > 0 else lines
            raise WriteError("\n  ".join(["snapshots could not be written:", *shown]))

    def restore(self, path: str, *, like_caffe: bool = False) -> int:
        """Take over a solverstate and its weights; returns the iteration.

        With the .resume file next to it the run goes on exactly; what keeps it from that is a warning.

        The weights come from its ``learned_net``, or a file of that name next to the state (see `state_weights`).

        Args:
            like_caffe: leave that file alone.

        Raises:
            CaffeCompatError: the state or its weights are unreadable, or of another solver type or net.
        """
        state = read_solverstate(path)
        if state.learned_net:
            with _of_file(path):
                weights = state_weights(state.learned_net, path)
            self.net.load_weights(weights).describe_missing(weights)
        fork = update_fork(self.param, self.net)
        if state.fork not in (None, fork) and not state.fork_named:  # a named one is in the weights, which warn
            glog.warning(f"{path}: written under the rules of {state.fork.value}; resumed under those of {fork.value}")
        glog.info("SGDSolver: restoring history", "sgd_solver.cpp:336")
        with _of_file(path):
            self.updater.load_history(state.history)
        plateau = () if state.minimum_loss is None else (state.minimum_loss, state.iter_last_event or 0)
        self.rate_state.become(RateState(state.current_step, *plateau))
        self.saved_at, self.saved_as = state.iter, path
        self.averages.begin()
        self.retention.restart()
        if like_caffe:
            glog.info(f"Restored like Caffe: {_LEFT}")
        exact = not like_caffe and self._go_on_exactly(resume_name(path), state.resume)
        if not exact and self.averages.wanted and state.learned_net:
            self._find_averages(averages_name(weights))
        self._find_own(path, state.iter)
        return state.iter

    def _find_averages(self, path: str) -> None:
        """The averages of a snapshot whose .resume file has not been used."""
        if path and os.path.exists(path):
            self.averages.load(path)
        else:
            glog.warning(f"ema_decay: there is no file {path or 'of averages'}; they start from the snapshot's weights")

    def _find_own(self, path: str, iteration: int) -> None:
        """See which older snapshots are of this run: those of the one it resumes, where it writes to the same files."""
        if is_same_file(path, snapshot_names(self.param, iteration)[1]):
            self.retention.kept = (*(each for each in self.retention.kept if each != iteration), iteration)
        elif not is_same_file(path, best_names(self.param)[1]):
            self.retention.restart()
        best = best_names(self.param)[1]
        if not os.path.exists(best):
            self.retention.score = None
        elif self.retention.score is None:
            self.retention.recall(resume_name(best))

    def _go_on_exactly(self, path: str, digest: str) -> bool:
        """Take over the .resume file that the solver state names by its digest; "" names none.

        Returns:
            Whether there was one.
        """
        if not digest and not os.path.exists(path):
            glog.info(f"There is no {path}, as original Caffe writes none: {_LEFT}")
            return False
        try:
            file = read_resume(path)
            if file.digest != digest:
                raise ResumeFileError(f"{path}: belongs to another snapshot than this solver state")
        except ResumeFileError as problem:
            glog.warning(f"{problem}; {_LEFT}")
            return False
        remarks = self.registry.restore(file.content)
        for remark in remarks[:_REMARKS]:
            glog.warning(f"{path}: {remark}")
        if len(remarks) > _REMARKS:
            glog.warning(f"{path}: and {len(remarks) - _REMARKS} more such differences")
        if not remarks:
            glog.info(f"{path}: data and random numbers go on where they were")
        return True


def _of(iteration: int) -> str:
    return f"of iteration {iteration}"


@contextmanager
def _of_file(path: str) -> Iterator[None]:
    """Put the file's name before the message of an error."""
    try:
        yield
    except CaffeCompatError as problem:
        raise CaffeCompatError(f"{path}: {problem}") from None
