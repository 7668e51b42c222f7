"""The whole path on a generated data set: draw street scenes, train ESPNet in two stages, score it, draw the results.

    caffecompat demo --out demo_out

Every step is a command that is printed before it runs, so that it can be copied; all of them run in DIR, where the
prototxts, snapshots, logs and pictures stay. Stopped (Ctrl-C) and called again, it goes on where it was.
--quick makes a handful of pictures and iterations, to see in seconds that everything works; it learns next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from caffecompat.cli.common.flags import add_switch
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_json

HELP = "the whole path on a small generated data set, in minutes"

_MEAN, _SCALE = "73,82,72", "0.022"
_SETTINGS = "demo.json"
_SHOWN = 5


class Plan(NamedTuple):
    """The sizes of a demo; pictures are width x height pixels, training crops squares of the height.

    The full net sees two and a half times the pictures that the encoder does; in the tutorial's schedule it is 2.1.
    """

    train: int
    val: int
    width: int
    height: int
    batch_size: int
    encoder_iterations: int
    full_iterations: int
    snapshot: int
    display: int
    base_lr: float = 0.01
    seed: int = 1


_FULL = Plan(
    train=400, val=50, width=256, height=128, batch_size=4,
    encoder_iterations=400, full_iterations=1000, snapshot=200, display=50,
)  # fmt: skip
_QUICK = Plan(
    train=12, val=4, width=128, height=64, batch_size=4,
    encoder_iterations=10, full_iterations=10, snapshot=5, display=2,
)  # fmt: skip


class Stage(NamedTuple):
    """One of the two trainings: its name for people, what its files' names end in, and its iterations."""

    title: str
    suffix: str
    iterations: int

    @property
    def solver(self) -> str:
        return f"espnet/solver{self.suffix}.prototxt"

    @property
    def deploy(self) -> str:
        return f"espnet/deploy{self.suffix}.prototxt"

    @property
    def log(self) -> str:
        return f"logs/espnet{self.suffix}.log"

    @property
    def scores(self) -> str:
        return f"logs/eval{self.suffix}.json"

    @property
    def weights(self) -> str:
        return f"snapshots/espnet{self.suffix}_iter_{self.iterations}.caffemodel"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo_out", metavar="DIR", help="folder to work in (default demo_out)")
    add_switch(parser, "quick", "a few pictures and iterations only, to see that everything works")


def run(args: argparse.Namespace) -> int:
    demo = _Demo(Path(args.out), _QUICK if args.quick else _FULL)
    try:
        demo.run()
    except KeyboardInterrupt:
        print(f"\nstopped; {args.out} can be used as it is, and the same command goes on from here", file=sys.stderr)
        return 130
    return 0


class _Demo:
    """One run of the demo in its folder."""

    def __init__(self, out: Path, plan: Plan) -> None:
        self.out, self.plan = out, plan
        self.encoder = Stage("encoder", "_encoder", plan.encoder_iterations)
        self.full = Stage("full net", "", plan.full_iterations)
        self.stages = (self.encoder, self.full)
        self.started = time.monotonic()

    def run(self) -> None:
        self._claim_folder()
        self._draw_streets()
        self._write_network()
        self._train(self.encoder, weights=None)
        self._score(self.encoder)
        self._train(self.full, weights=self.encoder.weights)
        self._score(self.full)
        self._draw_results()
        self._report()

    # ------------------------------------------------------------------- steps

    def _claim_folder(self) -> None:
        """Make the folder, or make sure that it is a demo of the same sizes."""
        settings = self.out / _SETTINGS
        if settings.is_file():
            if read_json(settings, "the settings of the demo") != self.plan._asdict():
                raise CaffeCompatError(
                    f"{self.out} holds a demo of other sizes (with or without --quick); "
                    "remove it, or name another folder with --out"
                )
            self._say(f"{self.out} holds a demo already: what is finished is kept")
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise CaffeCompatError(f"{self.out} is not empty and no demo; name another folder with --out")
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            settings.write_text(json.dumps(self.plan._asdict()) + "\n")
        for folder in ("espnet", "snapshots", "logs"):
            (self.out / folder).mkdir(exist_ok=True)
        self._say(f"commands are run in that folder:\n\n    cd {shlex.quote(str(self.out))}\n")

    def _draw_streets(self) -> None:
        from caffecompat.data.streets import write_streets

        plan = self.plan
        if not (self.out / "data/palette.txt").exists():
            self._say(f"drawing {plan.train} + {plan.val} street scenes of {plan.width}x{plan.height} pixels")
            counts = {"train": plan.train, "val": plan.val}
            write_streets(self.out / "data", counts, seed=plan.seed, width=plan.width, height=plan.height)
        for name in ("train", "val"):
            if not (self.out / f"data/{name}_lmdb").exists():
                self._command("lmdb", "build", f"data/{name}.txt", f"data/{name}_lmdb", "--names", "data/classes.txt")

    def _write_network(self) -> None:
        import dataclasses

        from caffecompat.data.street_scene import CLASSES
        from caffecompat.zoo import NETWORKS, Source, network_files

        plan = self.plan
        network = NETWORKS["espnet"]
        recipe = dataclasses.replace(
            network.recipe,
            classes=len(CLASSES),
            width=plan.width,
            height=plan.height,
            crop=plan.height,
            batch_size=plan.batch_size,
            iter_size=1,
            base_lr=plan.base_lr,
            snapshot=plan.snapshot,
            display=plan.display,
            train=Source("data/train.txt"),
            val=Source("data/val.txt"),
            test_iter=plan.val,
            random_seed=plan.seed,
            snapshot_folder="snapshots/",
            moving_average_fraction=0.97,
        )
        for stage in self.stages:
            files = network_files(network, dataclasses.replace(recipe, max_iter=stage.iterations))
            for kind in ("solver", "train_val", "deploy"):
                name = f"{kind}{stage.suffix}.prototxt"
                (self.out / "espnet" / name).write_text(files[name])
        self._say(f"espnet/ has ESPNet for {len(CLASSES)} classes: solver, train_val and deploy of both stages")

    def _train(self, stage: Stage, weights: str | None) -> None:
        if (self.out / stage.weights).exists():
            self._say(f"the {stage.title} is trained: {stage.weights}")
            return
        command = ["train", "--solver", stage.solver]
        command += ["--weights", weights] if weights else []
        resumed = any((self.out / "snapshots").glob(f"espnet{stage.suffix}_iter_*.solverstate"))
        command += ["--resume", "auto"] if resumed else []
        start = f"from the {self.encoder.title}'s weights" if weights else "from scratch"
        how = "where it stopped" if resumed else start
        self._say(f"training the {stage.title} {how}: {stage.iterations} iterations of {self.plan.batch_size} pictures")
        self._command(*command, log=stage.log)
        if not (self.out / stage.weights).exists():
            raise KeyboardInterrupt  # the training took the signal, wrote its snapshot and ended

    def _score(self, stage: Stage) -> None:
        if (self.out / stage.scores).exists():
            return
        self._command(
            "eval", "segmentation", "--model", stage.deploy, "--weights", stage.weights,
            "--db", "data/val_lmdb", "--mean", _MEAN, "--scale", _SCALE, "--json", result=stage.scores,
        )  # fmt: skip

    def _draw_results(self) -> None:
        pictures = [f"data/val/{number:06}.png" for number in range(min(_SHOWN, self.plan.val))]
        for stage in self.stages:
            self._command(
                "segment", *pictures, "--model", stage.deploy, "--weights", stage.weights,
                "--mean", _MEAN, "--scale", _SCALE, "--palette", "data/palette.txt", "--colors",
                "--out", f"segmented{stage.suffix}", result=f"logs/segment{stage.suffix}.txt",
            )  # fmt: skip
        self._draw_predictions(pictures)
        self._draw_curve()

    def _draw_predictions(self, pictures: Sequence[str]) -> None:
        from caffecompat.formats.atomic import atomic_write
        from caffecompat.formats.picture import encode_picture, read_picture
        from caffecompat.report.comparison import comparison
        from caffecompat.report.palette import load_palette

        palette = load_palette(str(self.out / "data/palette.txt"))
        rows = []
        for picture in pictures:
            stem = Path(picture).stem
            labels = read_picture(self.out / f"data/val/{stem}_labels.png", color=False)
            drawn = [read_picture(self.out / f"segmented{s.suffix}/{stem}_colors.png") for s in self.stages]
            shown = [
                read_picture(self.out / picture),
                None if labels is None else palette.paint(labels[:, :, 0]),
                *drawn,
            ]
            rows.append(([one for one in shown if one is not None], picture))
        titles = ("picture", "labels (pale: ignored)", *(stage.title for stage in self.stages))
        with atomic_write(self.out / "predictions.png") as file:
            file.write(encode_picture(comparison(rows, titles, palette, size=320), "png") or b"")

    def _draw_curve(self) -> None:
        from caffecompat.report.log_parser import parse_log
        from caffecompat.report.plots import PlotError
        from caffecompat.report.training_curve import draw_training_curves

        logs = {stage.title: parse_log(self.out / stage.log) for stage in self.stages}
        try:
            draw_training_curves(self.out / "training_curve.png", logs)
        except PlotError as problem:
            self._say(f"no training_curve.png: {problem}")

    def _report(self) -> None:
        results = {stage.title: json.loads((self.out / stage.scores).read_text()) for stage in self.stages}
        print("\n".join(_table(results)))
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        curve = ", training_curve.png" if (self.out / "training_curve.png").exists() else ""
        print(f"\n{self.out}: predictions.png{curve}, logs/, snapshots/, segmented/ ({minutes} min {seconds} s)")

    # ---------------------------------------------------------------- commands

    def _say(self, text: str) -> None:
        print(f"# {text}", flush=True)

    def _command(self, *words: str, log: str | None = None, result: str | None = None) -> None:
        """Print a command and run it in the demo's folder, in this process: torch is loaded but once.

        Args:
            log: file that its stderr is appended to; what a training displays is shown meanwhile.
            result: file that its stdout becomes once it has ended well.
        """
        from caffecompat.cli.main import main

        tail = f" 2>> {log}" if log else f" > {result}" if result else ""
        print(f"\n    caffecompat {shlex.join(words)}{tail}\n", flush=True)
        output = io.StringIO()
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(self.out / log, "a", encoding="utf-8")) if log else None
            errors = _Log(file)
            stack.enter_context(_inside(self.out))
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
    """Takes what a command writes to stderr: into a file, and what a training displays to the demo's own stdout."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._shown, self._unfinished = sys.stdout, ""
        self._last: deque[str] = deque(maxlen=20)

    def write(self, text: str) -> int:
        if self._file:
            self._file.write(text)
            self._file.flush()
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._last.append(line)
            shown = _display(line) if self._file else None
            if shown:
                print(shown, file=self._shown, flush=True)
        return len(text)

    @property
    def end(self) -> str:
        """The last lines."""
        return "\n".join(self._last)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """With `folder` as the current directory."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _display(line: str) -> str | None:
    """What to show of a training's log line."""
    if found := re.search(r"\] Iteration (\d+) \(([^ ]+) iter/s, .* loss = (\S+)", line):
        speed, loss = float(found[2]), float(found[3])
        return f"      iteration {found[1]:>4}   loss {loss:.4f}   {speed:.1f} a second"
    if found := re.search(r"Test net output #\d+: accuracy = (\S+)", line):
        return f"      test accuracy {float(found[1]):.4f}"
    return None


def _table(results: dict[str, dict[str, Any]]) -> list[str]:
    """The scores of the stages side by side; `results` by the stage's title."""

    def row(name: str, values: Sequence[float | None]) -> str:
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        return f"{name:<14}" + "".join(f"  {cell:>9}" for cell in cells)

    scores = list(results.values())
    lines = ["", f"{'IoU':<14}" + "".join(f"  {title:>9}" for title in results)]
    for classes in zip(*(score["classes"] for score in scores), strict=True):
        lines.append(row(classes[0]["name"], [one["iou"] for one in classes]))
    lines.append("")
    for name, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"), ("guessing, mIoU", "chance_miou")):
        lines.append(row(name, [score[key] for score in scores]))
    return lines
