"""Training logs as tables: what `caffe train` of any fork, and caffecompat's own, print to stderr.

Understood are the lines of BVLC Caffe (of 2014 too: "Test score #0"), SSD, ENet/SegNet, Xilinx Caffe and NVCaffe/TI
Jacinto. A log may be cut anywhere, have blank lines, lines of other programs, and several runs one after the other.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO

from caffecompat.errors import CaffeCompatError
from caffecompat.files import refuse_endless

__all__ = ["LogError", "LogRow", "TrainingLog", "parse_lines", "parse_log", "read_log_lines", "write_csv"]

# glog's prefix; newer versions print the year too. Not anchored: containers and job systems print something before it.
_PREFIX = re.compile(r"[IWEF](?:\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?")
_ITERATION = re.compile(r"Iteration (\d{1,18})(?!\d)")
_TEST_NET = re.compile(r"Testing net\b(?: \(#(\d{1,9})\))?")
_LOSS = re.compile(r"\bloss = (\S+?),?(?:\s|$)")
_SPEED = re.compile(r"\(([^\s()]+) iter/s")
_RATE = re.compile(r"\blr = ([^\s,]+)")
_OUTPUT = re.compile(r"(Train|Test) net output #(\d{1,9}): (.+?) = (\S+)( \(\* )?")
# NVCaffe and Jacinto: "Test net output mAP #0: x = v", "... Mean IoU #0: x = v", "... Class IoU #0: x class 3 = v".
_SCORE = re.compile(r"Test net output (?:mAP|Mean IoU|Class IoU) #(\d+): (.+?)(?: class (\d+))? = (\S+)")
_CLASS_SCORE = re.compile(r"\] *class(?: AP )?(\d+): (\S+)")  # SSD: "class7: v", Jacinto: "class AP 7: v"
_NUMBERED_SCORE = re.compile(r"\] *Test score #(\d+): (\S+)")  # Caffe of 2014, whose outputs have no names
_TEST_LOSS = re.compile(r"\] Test loss: (\S+)")
_SPARSITY = re.compile(r"Total Sparsity \(zero_weights/count\) = +\(\S+\) (\S+)")

_LONGEST = 30_000  # letters of a line
_FIXED = ("NumIters", "Seconds", "LearningRate")


class LogError(CaffeCompatError):
    """A file that is no training log, or cannot be read."""


@dataclass
class LogRow:
    """One display or test round.

    Attributes:
        iteration: as printed.
        seconds: since the log's first ``Solving`` line (its first dated line where there is none).
        rate: the learning rate of that iteration; the last one known where none was printed for it, else nan.
        values: outputs by name in the order of the log; a blob of several values gives name_0, name_1, ...
        loss: the smoothed loss of a training row, nan where the line has none.
        speed: iterations a second as printed, nan where not.
        run: number of the run in the log, from 0.
        test_net: number of the test net, None in training rows.
    """

    iteration: int
    seconds: float
    rate: float = math.nan
    values: dict[str, float] = field(default_factory=dict)
    loss: float = math.nan
    speed: float = math.nan
    run: int = 0
    test_net: int | None = None
    outputs: list[tuple[str, float]] = field(default_factory=list, repr=False)  # as printed, names repeat
    last_index: int = field(default=-1, repr=False)


@dataclass
class TrainingLog:
    """What a log contains.

    Attributes:
        path: of the file ("" for lines).
        train: displays in the order of the log.
        test: test rounds in the order of the log.
        losses: names of the outputs that are part of the objective.
        sparsity: (iteration, seconds, share of zeros) from Jacinto's sparsity lines.
        runs: how many runs the log holds.
        start_found: whether a ``Solving`` line says when training began.
    """

    path: str = ""
    train: list[LogRow] = field(default_factory=list)
    test: list[LogRow] = field(default_factory=list)
    losses: set[str] = field(default_factory=set)
    sparsity: list[tuple[int, float, float]] = field(default_factory=list)
    runs: int = 1
    start_found: bool = False

    def names(self, test: bool = False) -> list[str]:
        """Names of the outputs in the order of their first appearance."""
        return list(dict.fromkeys(name for row in (self.test if test else self.train) for name in row.values))

    def table(self, test: bool = False) -> list[dict[str, float]]:
        """The rows as parse_log.py has them: NumIters, Seconds, LearningRate, then the outputs.

        After the outputs come TestNet and Run where the log has several. Training rows without outputs (the loss
        printed after the last iteration) are left out, unless no row has any.
        """
        rows = self.test if test else self.train
        rows = [row for row in rows if row.values] or rows
        several = len({row.test_net for row in rows}) > 1
        table = []
        for row in rows:
            cells = {"NumIters": float(row.iteration), "Seconds": row.seconds, "LearningRate": row.rate, **row.values}
            if several and row.test_net is not None:
                cells["TestNet"] = row.test_net
            if self.runs > 1:
                cells["Run"] = row.run
            table.append(cells)
        return table


def parse_log(path: str | os.PathLike[str]) -> TrainingLog:
    """Read a training log: the stderr of any Caffe's ``caffe train``, or of caffecompat's.

    Args:
        path: of the log.

    Returns:
        Displays and tests with iteration, seconds, learning rate and outputs by name; `TrainingLog.table` has them as
        Caffe's parse_log.py writes them.

    Raises:
        LogError: the file cannot be read, or no line of it says "Iteration N".

    >>> import caffecompat
    >>> log = caffecompat.parse_log("train.log")
    >>> [(row.iteration, row.rate, row.values) for row in log.train]
    [(0, 0.1, {'loss': 0.7}), (10, 0.1, {'loss': 0.5})]
    """
    name = os.fspath(path)
    lines = read_log_lines(name)
    log = parse_lines(lines)
    log.path = name
    if not log.train and not log.test:
        raise LogError(
            f"{name} is no training log: no 'Iteration N' line with a loss or a test in its {len(lines)} lines "
            "(is it the stderr of `caffe train` or `caffecompat train`?)"
        )
    return log


def read_log_lines(path: str) -> list[str]:
    """The lines of a log.

    Raises:
        LogError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            refuse_endless(file)
            return file.readlines()
    except OSError as error:
        raise LogError(f"cannot read the log {path}: {error.strerror}") from None


def parse_lines(lines: Sequence[str]) -> TrainingLog:
    """Read the lines of a log; nothing in them is an error."""
    reader = _Reader(leap=any(found and found[1] + found[2] == "0229" for found in map(_PREFIX.search, lines)))
    for line in lines:
        reader.read(line)
    return reader.finish()


class _Clock:
    """Seconds since the start, from dates without a year.

    The year is one that has a 29 February if the log has; a step back of more than a month is a new year.
    """

    def __init__(self, leap: bool) -> None:
        self._year = 2000 if leap else 2001
        self._last: datetime | None = None
        self._first: datetime | None = None
        self._start: datetime | None = None

    def tick(self, line: str) -> None:
        """Take the time of a line, if it has one."""
        found = _PREFIX.search(line)
        if not found:
            return
        month, day, hour, minute, second = map(int, found.groups()[:5])
        try:
            now = datetime(self._year, month, day, hour, minute, min(second, 59))
            if self._last is not None and self._last - now > timedelta(days=31):
                self._year += 1
                now = now.replace(year=self._year)
        except ValueError:  # 29 February of a second year, or digits that are no date
            return
        self._last = now + timedelta(seconds=float(found[6] or 0))
        self._first = self._first or self._last

    def start(self) -> None:
        """This is when training begins."""
        self._start = self._start or self._last

    @property
    def seconds(self) -> float:
        begin = self._start or self._first
        return (self._last - begin).total_seconds() if self._last is not None and begin is not None else math.nan


class _Reader:
    def __init__(self, leap: bool) -> None:
        self._log = TrainingLog()
        self._clock = _Clock(leap)
        self._iteration: int | None = None
        self._rate = math.nan
        self._run = 0
        self._run_rows = 0  # rows of the present run
        self._last_train = -1  # iteration of the newest training row of the present run
        self._train: LogRow | None = None
        self._test: LogRow | None = None

    def read(self, line: str) -> None:
        """Take the next line; what goes beyond the longest that glog writes is no part of it."""
        line = line[:_LONGEST]
        self._clock.tick(line)
        if "Solving " in line:
            self._clock.start()
            self._log.start_found = True
            self._new_run()
        found = _ITERATION.search(line)
        if found:
            self._at_iteration(int(found[1]), line)
        elif self._iteration is not None:
            self._values(line)

    def _at_iteration(self, iteration: int, line: str) -> None:
        test, loss, rate = _TEST_NET.search(line), _LOSS.search(line), _RATE.search(line)
        if loss and not test and iteration < self._last_train:
            self._new_run()
        self._iteration = iteration
        if test:
            self._test = self._add(self._log.test, LogRow(iteration, self._clock.seconds, test_net=int(test[1] or 0)))
        elif loss:
            speed = _SPEED.search(line)
            row = LogRow(iteration, self._clock.seconds, loss=_number(loss[1]))
            row.speed = _number(speed[1]) if speed else math.nan
            self._train = self._add(self._log.train, row)
            self._last_train = iteration
        elif rate:
            self._rate = _number(rate[1])
            for row in self._recent(iteration):
                row.rate = self._rate

    def _recent(self, iteration: int) -> Iterable[LogRow]:
        """The newest rows of that iteration in this run, which the learning rate printed after them belongs to."""
        for rows in (self._log.train, self._log.test):
            for row in reversed(rows):
                if (row.run, row.iteration) != (self._run, iteration):
                    break
                yield row

    def _values(self, line: str) -> None:
        found = _OUTPUT.search(line)
        if found:
            row = self._row_for(found[1] == "Train", int(found[2]))
            row.outputs.append((found[3], _number(found[4])))
            if found[5]:
                self._log.losses.add(found[3])
            return
        if self._test is not None:
            score, one, loss = _SCORE.search(line), _CLASS_SCORE.search(line), _TEST_LOSS.search(line)
            numbered = _NUMBERED_SCORE.search(line)
            if score:
                self._test.values[score[2] + (f"_{score[3]}" if score[3] else "")] = _number(score[4])
            elif numbered:
                if not self._test.values:
                    self._test.seconds = self._clock.seconds
                self._test.values[f"score_{numbered[1]}"] = _number(numbered[2])
            elif one:
                self._test.values[f"class{one[1]}"] = _number(one[2])
            elif loss:
                self._test.values["TestLoss"] = _number(loss[1])
        sparsity = _SPARSITY.search(line)
        if sparsity and self._iteration is not None:
            self._log.sparsity.append((self._iteration, self._clock.seconds, _number(sparsity[1])))

    def _row_for(self, train: bool, index: int) -> LogRow:
        """The row that output `index` belongs to: the present one, or a new one where the numbers begin again."""
        row = self._train if train else self._test
        if row is None or index <= row.last_index or row.iteration != self._iteration:
            row = LogRow(self._iteration or 0, self._clock.seconds, test_net=None if train else 0)
            if train:
                self._train = self._add(self._log.train, row)
            else:
                self._test = self._add(self._log.test, row)
        if row.last_index < 0:
            row.seconds = self._clock.seconds  # as parse_log.py: when the outputs are there, after the test's work
        row.last_index = index
        return row

    def _add(self, rows: list[LogRow], row: LogRow) -> LogRow:
        row.run, row.rate = self._run, self._rate
        rows.append(row)
        self._run_rows += 1
        return row

    def _new_run(self) -> None:
        if self._run_rows:
            self._run += 1
            self._log.runs = self._run + 1
            self._run_rows, self._last_train, self._train, self._test = 0, -1, None, None
            self._rate, self._iteration = math.nan, None

    def finish(self) -> TrainingLog:
        """Name the outputs, and give the rows before the first learning rate of a run that one."""
        if not any(row.outputs for row in self._log.train):  # a Caffe that displays the loss alone
            for row in self._log.train:
                row.outputs.append(("loss", row.loss))
        for rows in (self._log.train, self._log.test):
            repeated = {name for row in rows for name, count in Counter(n for n, _ in row.outputs).items() if count > 1}
            for row in rows:
                scores, row.values = row.values, {}
                seen: Counter[str] = Counter()
                for name, value in row.outputs:
                    row.values[f"{name}_{seen[name]}" if name in repeated else name] = value
                    seen[name] += 1
                row.values.update(scores)
            for run in range(self._log.runs):
                mine = [row for row in rows if row.run == run]
                known = next((row.rate for row in mine if not math.isnan(row.rate)), math.nan)
                for row in mine:
                    if not math.isnan(row.rate):
                        break
                    row.rate = known
        return self._log


def _number(text: str) -> float:
    """A number as C++ prints it, "-nan" and Windows' "-1.#IND", "1.#INF" and "-nan(ind)" included."""
    try:
        return float(text)
    except ValueError:
        if "#INF" in text:
            return -math.inf if text.startswith("-") else math.inf
        return math.nan


def write_csv(file: IO[str], table: Sequence[dict[str, float]], delimiter: str = ",") -> None:
    """Write a table of `TrainingLog.table`: a header and a line a row, ended as parse_log.py ends them (CR LF)."""
    names = dict.fromkeys(name for row in table for name in row)
    last = [name for name in ("TestNet", "Run") if name in names]
    columns = [*_FIXED, *(name for name in names if name not in (*_FIXED, *last)), *last]
    writer = csv.DictWriter(file, columns, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(table)
