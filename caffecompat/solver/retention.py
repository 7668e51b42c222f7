"""Which snapshots stay: the newest ones (``snapshot_keep``), and the best by a test's score (``snapshot_best``)."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from caffecompat import glog
from caffecompat.formats.resume_file import ResumeFileError, read_resume
from caffecompat.net import Net
from caffecompat.resumable import State
from caffecompat.schema import pb
from caffecompat.solver.snapshot_files import snapshot_names, snapshot_paths
from caffecompat.wording import did_you_mean

__all__ = ["BEST_SCORE", "BestScore", "Retention", "check_retention"]

BEST_SCORE = "best score"  # in the .resume file of a best snapshot: {snapshot_best: the score}
_BEST = re.compile(r"(?P<order>max|min):((?P<net>\d+):)?(?P<output>.+)")


class BestScore(NamedTuple):
    """What ``snapshot_best`` asks for: ``max:accuracy``, ``min:loss``, ``max:1:accuracy`` (of test net 1)."""

    largest: bool
    net: int
    output: str

    @classmethod
    def read(cls, text: str) -> BestScore | None:
        """From the field's text; None where it has another form."""
        match = _BEST.fullmatch(text)
        return cls(match["order"] == "max", int(match["net"] or 0), match["output"]) if match else None

    def beats(self, score: float, other: float | None) -> bool:
        """Whether a score is better than another; NaN never is."""
        if math.isnan(score) or other is None:
            return not math.isnan(score)
        return score > other if self.largest else score < other

    def unknown_output(self, nets: Sequence[Net]) -> str:
        """What to say where none of the test nets has that output; "" where one has."""
        if self.net >= len(nets):
            return f"snapshot_best: there is no test net {self.net}; the solver has {len(nets)}"
        outputs = nets[self.net].outputs
        if self.output in outputs:
            return ""
        hint = did_you_mean(self.output, outputs) or f"; it has {', '.join(outputs) or 'none'}"
        return f"snapshot_best: test net {self.net} has no output {self.output!r}{hint}"


def check_retention(param: pb.SolverParameter) -> list[str]:
    """What is wrong with a SolverParameter's snapshots of scores; an empty list is good."""
    if param.test_and_snapshot_last_epochs and not (param.test_interval and param.test_iter):
        return ["test_and_snapshot_last_epochs needs tests; add test_iter and test_interval"]
    if not param.snapshot_best:
        return []
    if BestScore.read(param.snapshot_best) is None:
        return [
            f"snapshot_best {param.snapshot_best!r}: expected max:OUTPUT or min:OUTPUT, for example max:accuracy, or "
            "max:1:accuracy for test net 1"
        ]
    if not param.test_interval or not param.test_iter:
        return ["snapshot_best needs tests; add test_iter and test_interval"]
    return []


@dataclass(eq=False)
class Retention:
    """Removes snapshots of a run that are too old, and knows its best score.

    Only snapshots that the run itself wrote under its prefix are ever removed, those before a resume included.

    Attributes:
        param: the SolverParameter.
        kept: iterations of the run's snapshots, the oldest first.
        score: the best one so far; None before the first.
    """

    param: pb.SolverParameter
    kept: tuple[int, ...] = ()
    score: float | None = None

    @property
    def best(self) -> BestScore | None:
        """What snapshot_best asks for, if anything."""
        return BestScore.read(self.param.snapshot_best)

    def state(self) -> State:
        """The snapshots before this one and the best score."""
        if not self.param.snapshot_keep and self.best is None:
            return {}
        return {"kept": list(self.kept), "score": self.score, "of": self.param.snapshot_best}

    def restore(self, state: State) -> list[str]:
        """Take over such values; the score only where the same one is asked for."""
        self.kept = tuple(int(each) for each in state["kept"])
        self.score = state["score"] if state["of"] == self.param.snapshot_best else None
        return []

    def recall(self, path: str) -> None:
        """Take the best score from the .resume file of the best snapshot, where the run resumes without one of its own.

        A log line says what the score is; a warning that it is not known, so that the next test counts as the best.
        """
        if self.best is None:
            return
        try:
            known = read_resume(path).content.get(BEST_SCORE)
        except ResumeFileError:
            known = None
        score = known.get(self.param.snapshot_best) if isinstance(known, dict) else None
        if isinstance(score, float):
            self.score = score
            glog.info(
                f"snapshot_best: the best {self.param.snapshot_best} so far is {glog.number(score)}, as {path} says"
            )
        else:
            glog.warning(f"{path} does not say the best {self.param.snapshot_best}: the next test will replace it")

    def restart(self) -> None:
        """No snapshot is of this run yet, as under another prefix."""
        self.kept, self.score = (), None

    def written(self, iteration: int) -> None:
        """Remove what is too old, now that the snapshot of `iteration` is whole."""
        self.kept = (*(each for each in self.kept if each != iteration), iteration)
        self.tidy()

    def tidy(self) -> None:
        """Remove what is too old; at the start of a run what it was killed before it could remove."""
        most = self.param.snapshot_keep
        if most:
            for old in self.kept[:-most]:
                self._remove(old)
            self.kept = self.kept[-most:]

    def _remove(self, iteration: int) -> None:
        removed = False
        # The state first: it is what says that a snapshot is there.
        for path in reversed(snapshot_paths(*snapshot_names(self.param, iteration))):
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                    removed = True
            except OSError as problem:
                glog.warning(f"{path}: cannot be removed: {problem.strerror}; snapshot_keep leaves it")
        if removed:
            glog.info(f"Removed the snapshot of iteration {iteration} (snapshot_keep: {self.param.snapshot_keep})")

    def better(self, net: int, scores: Mapping[str, Sequence[float]]) -> float | None:
        """The score of a test if it is the best so far: the mean of the output's values; else None."""
        best = self.best
        if best is None or net != best.net or not scores.get(best.output):
            return None
        values = scores[best.output]
        score = sum(values) / len(values)
        return score if best.beats(score, self.score) else None
