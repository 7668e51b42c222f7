"""The verb `bench`: its table, its plot, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caffecompat.zoo import NETWORKS
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


def test_networks_of_the_zoo(nets: Path, command) -> None:
    """At their published size, or at another one; a file of that name comes first."""
    networks = [NETWORKS[name] for name in ("lenet", "cifar10_full")]
    result = command("bench", "lenet", "cifar10_full", "a/deploy.prototxt", "--rounds", "1", "--json")
    costs = json.loads(result.out)["networks"]
    assert [(cost["name"], cost["parameters"], cost["macs"]) for cost in costs[:2]] == [
        (network.name, network.parameters, network.macs) for network in networks
    ]
    assert costs[0]["inputs"] == {"data": [1, 1, 28, 28]} and costs[2]["name"] == "a/deploy"
    (cost,) = json.loads(command("bench", "espnet", "--size", "32x16", "--rounds", "1", "--json").out)["networks"]
    assert cost["inputs"] == {"data": [1, 3, 16, 32]} and cost["parameters"] == NETWORKS["espnet"].parameters
    Path("lenet").write_text(Path("a/deploy.prototxt").read_text())
    (cost,) = json.loads(command("bench", "lenet", "--rounds", "1", "--json").out)["networks"]
    assert cost["inputs"] == {"data": [1, 3, 16, 12]}


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
        (["lenett"], "no such network in the zoo; did you mean lenet?"),
    ],
)
def test_flags_that_cannot_be(nets: Path, command, flags: list[str], message: str) -> None:
    result = command("bench", *flags)
    assert result.status == 2 and message in result.err and "Traceback" not in result.err
