"""The whole path on a generated data set: draw street scenes, train ESPNet in two stages, score it, draw the results.

    caffecompat demo --out demo_out

It says first what it will do and how long that takes on this machine, from a few iterations of both nets. Every step is
a command that is printed before it runs, so that it can be copied; all of them run in DIR, where the prototxts,
snapshots, logs and pictures stay. Stopped (Ctrl-C) and called again, it goes on where it was.
--quick makes a handful of pictures and iterations, to see in seconds that everything works; it learns next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import sys
import time
from collections import deque
from pathlib import Path
from typing import IO

from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.progress import live_line, progress_on
from caffecompat.cli.demo.forecast import forecast, inside, is_finished
from caffecompat.cli.demo.plan import FULL, MEAN, QUICK, SCALE, Plan, Stage, write_network
from caffecompat.cli.demo.results import draw_curve, draw_predictions, next_commands, read_scores, score_table
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_json
from caffecompat.wording import duration

HELP = "the whole path on a small generated data set, in minutes"

_SETTINGS = "demo.json"
_SHOWN = 5
_STEPS = 4


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo_out", metavar="DIR", help="folder to work in (default demo_out)")
    add_switch(parser, "quick", "a few pictures and iterations only, to see that everything works")


def run(args: argparse.Namespace) -> int:
    demo = _Demo(Path(args.out), QUICK if args.quick else FULL)
    try:
        with progress_on(sys.stdout):
            demo.run()
    except KeyboardInterrupt:
        print(f"\nstopped; {args.out} can be used as it is, and the same command goes on from here", file=sys.stderr)
        return 130
    return 0


class _Demo:
    """One run of the demo in its folder."""

    def __init__(self, out: Path, plan: Plan) -> None:
        self.out, self.plan = out, plan
        self.encoder, self.full = self.stages = plan.stages()
        self.started = time.monotonic()

    def run(self) -> None:
        known = self._claim_folder()
        self._announce()
        if not known:
            (self.out / _SETTINGS).write_text(json.dumps(self.plan._asdict()) + "\n")
        for folder in ("espnet", "snapshots", "logs"):
            (self.out / folder).mkdir(exist_ok=True)
        self._draw_streets()
        self._write_network()
        self._step(2, "the encoder")
        self._train(self.encoder, weights=None)
        self._score(self.encoder)
        self._step(3, "the full net")
        self._train(self.full, weights=self.encoder.weights)
        self._score(self.full)
        self._draw_results()
        self._report()

    # ------------------------------------------------------------------- steps

    def _claim_folder(self) -> bool:
        """Make the folder, or make sure that it is a demo of the same sizes, which the answer says."""
        settings = self.out / _SETTINGS
        if settings.is_file():
            if read_json(settings, "the settings of the demo") != self.plan._asdict():
                raise CaffeCompatError(
                    f"{self.out} holds a demo of other sizes (with or without --quick); "
                    "remove it, or name another folder with --out"
                )
            return True
        if self.out.is_dir() and any(self.out.iterdir()):
            raise CaffeCompatError(f"{self.out} is not empty and no demo; name another folder with --out")
        self.out.mkdir(parents=True, exist_ok=True)
        return False

    def _announce(self) -> None:
        """What will be done, and how long it takes."""
        plan, encoder, full = self.plan, self.encoder, self.full
        scenes = f"{plan.train} + {plan.val} street scenes of {plan.width}x{plan.height} pixels"
        self._say(
            "ESPNet learns to segment street scenes:\n"
            f"#   1. draw {scenes}, and build databases of them\n"
            f"#   2. train the encoder, {encoder.iterations} iterations of {plan.batch_size} pictures, and score it\n"
            f"#   3. train the full net from it, {full.iterations} iterations, and score it\n"
            "#   4. draw predictions.png and training_curve.png"
        )
        if (self.out / _SETTINGS).is_file():
            self._say(f"{self.out} holds a demo already: what is finished is kept")
        if is_finished(self.out, plan):
            self._say("all of it is trained and scored; the pictures take a few seconds")
        else:
            self._say("measuring how long that takes here: a few iterations of both nets ...")
            parts = forecast(self.out.absolute(), plan)
            each = ", ".join(f"{title} {duration(seconds)}" for title, seconds in parts.items())
            self._say(f"about {duration(sum(parts.values()))} on this machine ({each})")
        self._say(f"commands are run in that folder:\n\n    cd {shlex.quote(str(self.out))}\n")

    def _draw_streets(self) -> None:
        from caffecompat.data.streets import write_streets

        plan = self.plan
        self._step(1, "street scenes")
        if not (self.out / "data/palette.txt").exists():
            total = plan.train + plan.val
            with live_line(total, "scenes") as update:
                write_streets(
                    self.out / "data", {"train": plan.train, "val": plan.val}, seed=plan.seed, width=plan.width,
                    height=plan.height, on_progress=lambda done: update(done, ""),
                )  # fmt: skip
        for name in ("train", "val"):
            if not (self.out / f"data/{name}_lmdb").exists():
                self._command("lmdb", "build", f"data/{name}.txt", f"data/{name}_lmdb", "--names", "data/classes.txt")

    def _write_network(self) -> None:
        write_network(self.out, self.plan, self.stages)
        self._say("espnet/ has ESPNet for the 8 classes of the scenes: solver, train_val and deploy of both stages")

    def _train(self, stage: Stage, weights: str | None) -> None:
        if (self.out / stage.weights).exists():
            self._say(f"the {stage.title} is trained: {stage.weights}")
            return
        command = ["train", "--solver", stage.solver]
        command += ["--weights", weights] if weights else []
        resumed = stage.iterations_left(self.out) < stage.iterations
        command += ["--resume", "auto"] if resumed else []
        start = f"from the {self.encoder.title}'s weights" if weights else "from scratch"
        how = "where it stopped" if resumed else start
        self._say(f"training the {stage.title} {how}: {stage.iterations} iterations of {self.plan.batch_size} pictures")
        self._command(*command, log=stage.log)
        if not (self.out / stage.weights).exists():
            raise KeyboardInterrupt  # the training took the signal, wrote its snapshot and ended

    def _score(self, stage: Stage) -> None:
        if not (self.out / stage.scores).exists():
            self._command(
                "eval", "segmentation", "--model", stage.deploy, "--weights", stage.weights,
                "--db", "data/val_lmdb", "--mean", MEAN, "--scale", SCALE, "--json", result=stage.scores,
            )  # fmt: skip

    def _draw_results(self) -> None:
        from caffecompat.report.plots import PlotError

        self._step(4, "pictures")
        pictures = [f"data/val/{number:06}.png" for number in range(min(_SHOWN, self.plan.val))]
        for stage in self.stages:
            self._command(
                "segment", *pictures, "--model", stage.deploy, "--weights", stage.weights,
                "--mean", MEAN, "--scale", SCALE, "--palette", "data/palette.txt", "--colors",
                "--out", f"segmented{stage.suffix}", result=f"logs/segment{stage.suffix}.txt",
            )  # fmt: skip
        scores = read_scores(self.out, self.stages)
        draw_predictions(self.out, self.stages, scores, pictures)
        try:
            draw_curve(self.out, self.stages, scores)
        except PlotError as problem:
            self._say(f"no training_curve.png: {problem}")

    def _report(self) -> None:
        print("\n".join(score_table(read_scores(self.out, self.stages))))
        print(f"\nDone in {duration(time.monotonic() - self.started)}; to look at:\n")
        for name in ("predictions.png", "training_curve.png", "logs", "snapshots", "segmented"):
            if (self.out / name).exists():
                print(f"    {self.out / name}")
        print("\n".join(next_commands(self.out, self.full)))

    # ---------------------------------------------------------------- commands

    def _say(self, text: str) -> None:
        print(f"# {text}", flush=True)

    def _step(self, number: int, title: str) -> None:
        print(f"\n# [{number}/{_STEPS}] {title}", flush=True)

    def _command(self, *words: str, log: str | None = None, result: str | None = None) -> None:
        """Print a command and run it in the demo's folder, in this process: torch is loaded but once.

        Args:
            log: file that its stderr is appended to; its progress is shown meanwhile.
            result: file that its stdout becomes once it has ended well.
        """
        from caffecompat.cli.main import main

        tail = f" 2>> {log}" if log else f" > {result}" if result else ""
        print(f"\n    caffecompat {shlex.join(words)}{tail}\n", flush=True)
        output = io.StringIO()
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(self.out / log, "a", encoding="utf-8")) if log else None
            errors = _Log(file)
            stack.enter_context(inside(self.out))
            if result:
                stack.enter_context(contextlib.redirect_stdout(output))
            stack.enter_context(contextlib.redirect_stderr(errors))
            status = main(words)
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise CaffeCompatError(f"caffecompat {words[0]} failed:\n{errors.end}")
        if result:
            (self.out / result).write_text(output.getvalue())


class _Log(io.TextIOBase):
    """Takes what a command writes to stderr, into a file if there is one."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file, self._unfinished = file, ""
        self._last: deque[str] = deque(maxlen=20)

    def write(self, text: str) -> int:
        if self._file:
            self._file.write(text)
            self._file.flush()
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        self._last.extend(lines)
        return len(text)

    @property
    def end(self) -> str:
        """The last lines."""
        return "\n".join(self._last)
