"""The verb `bench`: its table, its plot, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.test_net_bench import nets

__all__ = ["nets"]


def test_the_verb(nets: Path, command) -> None:
    pytest.importorskip("matplotlib")
    models = ("a/deploy.prototxt", "b/deploy.prototxt")
    result = command("bench", *models, "--rounds", "2", "--score", "a=0.25", "--score", "b=0.5", "--plot", "cost.svg")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[0] == "network" and lines[0].split()[-1] == "score"
    assert lines[1].split()[:4] == ["a/deploy", "1x3x16x12", "224", "0.041"] and lines[1].endswith(" 0.25")
    assert "wrote cost.svg" in result.out
    drawn = Path("cost.svg").read_text()
    assert "a/deploy" in drawn and "MACs (G)" in drawn
    table = json.loads(command("bench", models[0], "--rounds", "1", "--batch", "2", "--json").out)
    assert table["networks"][0]["inputs"] == {"data": [2, 3, 16, 12]}


@pytest.mark.parametrize("name", ["x", "x/a", "x/a/deploy", "x/a/deploy.prototxt"])
def test_a_score_names_its_model_by_any_whole_part(nets: Path, command, name: str) -> None:
    for folder, model in (("x/a", "a"), ("y/a", "b")):
        Path(folder).mkdir(parents=True)
        Path(folder, "deploy.prototxt").write_text(Path(model, "deploy.prototxt").read_text())
    models = ("x/a/deploy.prototxt", "y/a/deploy.prototxt")
    result = command("bench", *models, "--rounds", "1", "--score", f"{name}=0.25", "--json")
    assert [cost["score"] for cost in json.loads(result.out)["networks"]] == [0.25, None]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["a/deploy.prototxt", "--score", "c=1"], "expected MODEL=NUMBER with one of"),
        (["a/deploy.prototxt", "--score", "a=big"], "'big' is no number"),
        (["a/deploy.prototxt", "--plot", "x.png"], "--plot needs scores"),
        (["a/deploy.prototxt", "--plot", "no/x.png", "--score", "a=1"], "make the folder first (mkdir -p no)"),
        (["a/deploy.prototxt", "b/deploy.prototxt", "--score", "deploy=1"], "expected MODEL=NUMBER with one of"),
        (["a/deploy.prototxt", "--score", "a=1", "--score", "a/deploy=2"], "a/deploy has a score already"),
        (["a/deploy.prototxt", "a/deploy.prototxt"], "given twice"),
        (["a/deploy.prototxt", "--x", "speed"], "expected macs, ms, parameters"),
        (["nowhere.prototxt"], "nowhere.prototxt"),
    ],
)
def test_flags_that_cannot_be(nets: Path, command, flags: list[str], message: str) -> None:
    result = command("bench", *flags)
    assert result.status == 2 and message in result.err and "Traceback" not in result.err
