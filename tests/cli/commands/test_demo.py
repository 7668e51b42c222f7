"""`caffecompat demo`, with a handful of pictures and iterations."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from caffecompat.cli.commands import demo
from caffecompat.cli.demo.forecast import StageCost, forecast
from caffecompat.cli.demo.plan import Plan
from caffecompat.cli.main import main
from caffecompat.cli.verbs import parser_of
from caffecompat.formats.picture import read_picture

_PLAN = Plan(
    train=4, val=2, width=64, height=32, batch_size=2, encoder_iterations=2, full_iterations=3, snapshot=1, display=1
)


@pytest.fixture(autouse=True)
def quick_forecasts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run, of `finished`, measures; the others need not."""
    monkeypatch.setattr(demo, "forecast", lambda out, plan: {"drawing": 1.0})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo that has run, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "QUICK", _PLAN)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(["demo", "--quick", "--out", str(out)]) == 0
    return out, printed.getvalue()


def test_everything_is_there(finished: tuple[Path, str]) -> None:
    out, _ = finished
    for file in (
        "data/train_lmdb/image/data.mdb",
        "data/val_lmdb/label/data.mdb",
        "espnet/train_val_encoder.prototxt",
        "espnet/solver.prototxt",
        "snapshots/espnet_encoder_iter_2.caffemodel",
        "snapshots/espnet_iter_3.solverstate",
        "segmented/000001.png",
        "segmented_encoder/000000_colors.png",
        "training_curve.png",
    ):
        assert (out / file).stat().st_size, file
    assert read_picture(out / "predictions.png") is not None
    for stage in ("_encoder", ""):
        assert "Iteration 1 (" in (out / f"logs/espnet{stage}.log").read_text()
        scores = json.loads((out / f"logs/eval{stage}.json").read_text())
        assert scores["pixels"] > 0
        assert [row["name"] for row in scores["classes"]][:2] == ["road", "sidewalk"]


def test_the_second_stage_starts_from_the_first(finished: tuple[Path, str]) -> None:
    log = (finished[0] / "logs/espnet.log").read_text()
    assert "Finetuning from snapshots/espnet_encoder_iter_2.caffemodel" in log
    assert "Ignoring source layer deconv_encoder6_0_0" in log


def test_the_commands_are_printed_and_can_be_run(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, printed = finished
    commands = [line.split() for line in printed.splitlines() if line.startswith("    caffecompat ")][:8]
    assert [words[1] for words in commands] == ["lmdb", "lmdb", "train", "eval", "train", "eval", "segment", "segment"]
    monkeypatch.chdir(out)
    words = commands[-1][1:-2]
    assert main([*words, "--out", "again"]) == 0
    assert (out / "again/000000.png").read_bytes() == (out / "segmented/000000.png").read_bytes()
    assert "mIoU" in printed
    assert "guessing, mIoU" in printed


def test_it_says_first_what_it_does_and_for_how_long_and_last_what_comes_next(finished: tuple[Path, str]) -> None:
    out, printed = finished
    lines = printed.splitlines()
    assert re.match(r"# about .* on this machine \(drawing .*, encoder .*, full net .*\)", lines[6])
    assert "2 iterations of 2 pictures" in lines[2]
    assert lines.index("# [1/4] street scenes") > 6
    # Not on a terminal every part has a line at its end, at least: done of total, rate, time.
    for total in ("6/6 scenes", "4/4 records", "2/2 iter", "3/3 iter", "2/2 pictures", "2/2 files"):
        assert any(line.strip().startswith(f"{total}, ") for line in lines), total
    looked_at = lines[lines.index(next(line for line in lines if line.startswith("Done in "))) :]
    assert f"    {out}/predictions.png" in looked_at
    commands = [line.split()[1:] for line in looked_at if line.startswith("    caffecompat ")]
    assert ["new", "espnet", "--train", "train.txt", "--val", "val.txt", "my_net/"] in commands
    for verb, *words in commands:  # flags that the verbs have
        parser = parser_of(verb)
        (parser.parts()[words[0]] if verb == "export" else parser).parse_args(words[verb == "export" :])


def test_the_next_commands_with_the_demos_net_run(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, printed = finished
    mine = [line.split()[1:] for line in printed.splitlines() if line.startswith("    caffecompat draw ")]
    assert main(mine[0]) == 0
    assert (out / "net.html").stat().st_size


def test_the_forecast_is_of_what_is_left(finished: tuple[Path, str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("caffecompat.cli.demo.forecast.measure_drawing", lambda plan: 0.5)
    monkeypatch.setattr("caffecompat.cli.demo.forecast.measure_stage", lambda stage: StageCost(1.0, 10.0, 0.1))
    # Building 3 times; tests of 2 pictures after each iteration (snapshot: 1), and the scoring.
    encoder, full = 3 + 2 * 10 + 2 * 3 * 0.1, 3 + 3 * 10 + 2 * 4 * 0.1
    assert forecast(tmp_path, _PLAN) == {"drawing": 3.0, "encoder": encoder, "full net": pytest.approx(full)}
    assert forecast(finished[0], _PLAN) == {}
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    (out / "snapshots/espnet_iter_3.caffemodel").unlink()
    (out / "snapshots/espnet_iter_3.solverstate").unlink()
    assert forecast(out, _PLAN) == {"full net": pytest.approx(3 + 10 + 2 * 2 * 0.1)}


def test_what_is_finished_is_kept(finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped training goes on; the other steps are not done again."""
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    for file in out.glob("snapshots/espnet_iter_3.*"):
        file.unlink()
    commands: list[tuple[str, ...]] = []

    def note(self: object, *words: str, log: str | None = None, result: str | None = None) -> None:
        commands.append(words)
        if words[0] == "train":
            shutil.copyfile(
                finished[0] / "snapshots/espnet_iter_3.caffemodel", out / "snapshots/espnet_iter_3.caffemodel"
            )

    monkeypatch.setattr(demo._Demo, "_command", note)
    demo._Demo(out, _PLAN).run()
    expected = (
        "train",
        "--solver",
        "espnet/solver.prototxt",
        "--weights",
        "snapshots/espnet_encoder_iter_2.caffemodel",
    )
    assert commands[0] == (*expected, "--resume", "auto")
    assert [words[0] for words in commands] == ["train", "segment", "segment"]


class _EnoughError(Exception):
    """The test has seen what it wanted to see."""


def test_ctrl_c_leaves_a_snapshot_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "QUICK", _PLAN._replace(encoder_iterations=5, snapshot=100))
    write = demo._Log.write

    def interrupt_at_one(self: demo._Log, text: str) -> int:
        if "] Iteration 1 (" in text:
            signal.raise_signal(signal.SIGINT)
        return write(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(demo._Log, "write", interrupt_at_one)
        assert main(["demo", "--quick", "--out", str(tmp_path / "out")]) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert (tmp_path / "out/snapshots/espnet_encoder_iter_2.solverstate").exists()

    def enough(self: object, stage: object) -> None:
        raise _EnoughError

    monkeypatch.setattr(demo._Demo, "_score", enough)
    with pytest.raises(_EnoughError):
        main(["demo", "--quick", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out/snapshots/espnet_encoder_iter_5.caffemodel").exists()
    assert (
        "Resuming from snapshots/espnet_encoder_iter_2.solverstate"
        in (tmp_path / "out/logs/espnet_encoder.log").read_text()
    )


def test_other_folders_are_left_alone(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "is not empty and no demo" in capsys.readouterr().err
    assert main(["demo", "--out", str(finished[0])]) == 2
    assert "holds a demo of other sizes" in capsys.readouterr().err


def test_a_failing_command_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(demo, "QUICK", _PLAN)
    monkeypatch.setattr(demo._Demo, "_write_network", lambda self: None)
    assert main(["demo", "--quick", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "caffecompat train failed" in error
    assert "espnet/solver_encoder.prototxt" in error
