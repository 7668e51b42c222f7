"""`caffecompat diff`: text, JSON, the page, shapes, weights, exit status."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats import save_caffemodel
from caffecompat.schema import read_net

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
NET = (
    HEAD
    + """
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2" convolution_param { num_output: %d kernel_size: 1 } }
layer { name: "%s" type: "Convolution" bottom: "c2" top: "c3" convolution_param { num_output: 2 kernel_size: 1 } }
"""
)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.prototxt").write_text(NET % (4, "c3"))
    Path("b.prototxt").write_text(NET % (5, "c3"))
    Path("renamed.prototxt").write_text(NET % (4, "last"))
    return tmp_path


def test_no_difference(nets: Path, command) -> None:
    Path("same.prototxt").write_text("# a comment\n" + NET % (4, "c3"))
    result = command("diff", "a.prototxt", "same.prototxt")
    assert result.status == 0 and "no difference" in result.out
    assert json.loads(command("diff", "a.prototxt", "same.prototxt", "--json").out)["differs"] is False


def test_shapes_and_what_loads(nets: Path, command) -> None:
    result = command("diff", "a.prototxt", "b.prototxt")
    assert result.status == 1
    assert "~ convolution_param.num_output: 4 -> 5  in c2" in result.out
    assert "TRAIN and TEST: c2 1x4x6x6 -> 1x5x6x6" in result.out and "c3 1x" not in result.out
    assert "1 of 3 layers load" in result.out
    assert "does not fit: c2: 4x4x1x1 and 4 in A, 5x4x1x1 and 5 in B" in result.out
    table = json.loads(command("diff", "a.prototxt", "b.prototxt", "--json").out)
    assert [(row["kind"], row["b"]) for row in table["layers"]] == [("changed", "c2")]
    assert table["shapes"][0]["changes"] == [
        {"layer": "c2", "blob": "c2", "a": [1, 4, 6, 6], "b": [1, 5, 6, 6], "root": True}
    ]
    assert table["weights"]["loaded"] == ["c1"] and [name for name, _ in table["weights"]["misfits"]] == ["c2", "c3"]


def test_a_rename_keeps_weights_from_loading(nets: Path, command) -> None:
    result = command("diff", "a.prototxt", "renamed.prototxt")
    assert "= renamed 1 layer: c3 -> last" in result.out and "would fit but for the name" in result.out


def weights(net: str, path: str, shift: float = 0.0) -> None:
    shapes = {"c1": [(4, 3, 3, 3), (4,)], "c2": [(4, 4, 1, 1), (4,)], "c3": [(2, 4, 1, 1), (2,)]}
    blobs = {name: [np.full(shape, 2.0, np.float32) for shape in both] for name, both in shapes.items()}
    blobs["c2"][0] += np.float32(shift)
    save_caffemodel(path, read_net(net), blobs)


def test_weight_files(nets: Path, command) -> None:
    weights("a.prototxt", "a.caffemodel")
    weights("a.prototxt", "moved.caffemodel", 0.5)
    result = command("diff", "a.prototxt", "b.prototxt", "--weights", "a.caffemodel")
    assert "a.caffemodel into B: 1 of 3 layers load" in result.out
    assert "the file has (4, 4, 1, 1), the net (5, 4, 1, 1)" in result.out
    result = command("diff", "a.prototxt", "a.prototxt", "--weights", "a.caffemodel,moved.caffemodel")
    assert result.status == 1 and "5 of 6 blobs of layers in both are equal" in result.out
    assert "c2[0]: largest difference 0.5, 25.00% of A's rms" in result.out
    result = command("diff", "a.prototxt", "a.prototxt", "--weights", "a.caffemodel,a.caffemodel")
    assert result.status == 0


class _Page(HTMLParser):
    """Checks that tags close in order; counts the rows of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[str] = []
        self.outside: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.outside += [given[name] or "" for name in ("src", "href") if name in given and given[name][:1] != "#"]
        self.links += [given["href"][1:]] if tag == "a" else []
        self.ids += [given["id"]] if "id" in given else []
        if tag not in ("meta", "input", "wbr"):
            self.open.append(tag)
        if (given.get("class") or "").startswith("row "):
            self.rows.append((given["class"] or "").split()[1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page(nets: Path, command) -> None:
    assert command("diff", "a.prototxt", "b.prototxt", "--html", "out.html").status == 1
    text = Path("out.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == [] and page.outside == [] and "url(" not in text
    assert page.rows == ["same", "same", "changed", "same"]
    assert page.links == ["r2"] and set(page.links) <= set(page.ids)
    assert "num_<wbr>output: <mark>5</mark>" in text and "1×5×6×6" in text


def test_long_runs_fold_on_the_page(shared: Path, tmp_path: Path, command) -> None:
    folder = shared / "real/vitis-tutorial-05-seg/model/enet"
    out = tmp_path / "out.html"
    result = command("diff", folder / "train_val.prototxt", folder / "train_val_encoder.prototxt", "--html", out)
    assert len(result.out.splitlines()) < 30  # a screen
    page = _Page()
    page.feed(out.read_text(encoding="utf-8"))
    assert page.rows.count("removed") == 62 and page.rows.count("added") == 1
    assert set(page.links) <= set(page.ids) and {"on", "back"} <= set(page.ids)
    assert re.search(r"<details class=\"fold\"><summary>\d\d\d layers the same", out.read_text(encoding="utf-8"))
    assert (
        "TRAIN: batch 7 -> 5" in result.out and "decoder removed: 62 layers from ConvNd_74 to ConvNd_91" in result.out
    )


def test_two_people_s_enet_on_one_screen(shared: Path, command) -> None:
    theirs = shared / "real/timosaemann-enet/prototxts/enet_train_encoder_decoder.prototxt"
    words = ["diff", shared / "real/vitis-tutorial-05-seg/model/enet/train_val.prototxt", theirs]
    lines = command(*words).out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines[2:])) <= 100
    text = "\n".join(lines)
    assert "- 27 ReLU removed, each between BatchNorm and Eltwise: Threshold_4" in text
    assert '+ 27 Python "SpatialDropoutLayer" added, each between BN and Eltwise' in text
    assert "~ upsample4_0_4 rewired: also reads pool2_0_4_mask" in text and lines[-1] == "(--all shows everything)"
    everything = command(*words, "--all").out
    assert "Threshold_108" in everything and "Threshold_108" not in text and "--all" not in everything


def test_neighbors_that_change_places(shared: Path, command) -> None:
    alexnet, caffenet = (
        shared / f"real/bvlc/models/{name}/train_val.prototxt" for name in ("bvlc_alexnet", "bvlc_reference_caffenet")
    )
    out = command("diff", alexnet, caffenet).out
    assert "> pool1 now comes before norm1, not after it" in out and "> pool2 now comes before norm2" in out
    assert "moved" not in out and "rewired" not in out
    assert "TRAIN: norm1 256x96x55x55 -> 256x96x27x27" in out and "TEST: the same, but for the batch" in out


def test_what_a_deploy_net_leaves_out_is_told_in_a_line(shared: Path, command) -> None:
    folder = shared / "real/bvlc/models/bvlc_alexnet"
    out = command("diff", folder / "train_val.prototxt", folder / "deploy.prototxt").out
    assert "~ fillers: set -> (not set)  in 8 layers: conv1" in out and "filler:" not in out
    assert "~ data: type: Data -> Input, phases: TRAIN -> TRAIN and TEST, top[1]: label -> (not set)" in out


def test_layers_of_one_name_are_told_by_phase(nets: Path, command) -> None:
    data = 'layer { name: "data" type: "DummyData" top: "data" include { phase: %s } dummy_data_param { '
    data += "shape { dim: %d dim: 3 dim: 8 dim: 8 } } }\n"
    for name, size in (("x", 2), ("y", 3)):
        feeds = data % ("TRAIN", size) + data % ("TEST", 1)
        Path(f"{name}.prototxt").write_text((NET % (4, "c3")).replace(HEAD, feeds))
    assert "in data (TRAIN)" in command("diff", "x.prototxt", "y.prototxt").out


def test_the_keys_of_the_json(nets: Path, command) -> None:
    """Programs read it: a key that goes or changes its meaning breaks them."""
    table = json.loads(command("diff", "a.prototxt", "renamed.prototxt", "--json").out)
    assert {*table} == {"kind", "differs", "fields", "layers", "blocks", "shapes", "weights", "blobs", "notes"}
    assert table["layers"] == [
        {"kind": "renamed", "a": "c3", "b": "last", "type": "Convolution", "renamed": True, "changes": [],
         "rewired": None}
    ]  # fmt: skip
    assert {*table["weights"]} == {"loaded", "misfits", "fresh", "ignored", "renamed", "values", "total", "file"}
    Path("short.prototxt").write_text("\n".join((NET % (4, "c3")).strip().splitlines()[:-1]))
    assert json.loads(command("diff", "a.prototxt", "short.prototxt", "--json").out)["blocks"] == [
        {"kind": "removed", "layers": ["c3"], "types": {"Convolution": 1}, "behind": ["c2"], "before": [],
         "decoder": False}
    ]  # fmt: skip


def test_a_caffemodel_cut_short(nets: Path, command) -> None:
    weights("a.prototxt", "a.caffemodel")
    whole = Path("a.caffemodel").read_bytes()
    Path("cut.caffemodel").write_bytes(whole[: len(whole) // 2])
    result = command("diff", "a.prototxt", "b.prototxt", "--weights", "cut.caffemodel")
    assert result.status == 2 and "the file ends inside layer" in result.err


def test_names_too_long_for_a_line(nets: Path, command) -> None:
    other = Path("a.prototxt").read_text()
    for name in ("c1", "c2", "c3"):
        other = other.replace(f'name: "{name}"', f'name: "{name}_{"x" * 90}"')
    Path("long.prototxt").write_text(other)
    lines = command("diff", "a.prototxt", "long.prototxt").out.splitlines()
    at = lines.index("  = renamed 3 layers:")
    assert lines[at + 1].startswith("      c1 -> c1_xxx") and lines[at + 1].endswith("x, and 2 more")
    assert len(lines) < 40


def test_solvers(nets: Path, command) -> None:
    Path("s1.prototxt").write_text('net: "/elsewhere/a.prototxt" base_lr: 0.1 max_iter: 5')
    Path("s2.prototxt").write_text('max_iter: 5 base_lr: 0.2 net: "b.prototxt"')
    result = command("diff", "s1.prototxt", "s2.prototxt")
    assert result.status == 1 and "~ base_lr: 0.1 -> 0.2" in result.out
    assert "caffecompat diff a.prototxt b.prototxt" in result.out
    assert command("diff", "s1.prototxt", "s1.prototxt").status == 0
    assert json.loads(command("diff", "s1.prototxt", "s2.prototxt", "--json").out)["kind"] == "solver"


def test_mistakes(nets: Path, command) -> None:
    Path("s.prototxt").write_text('net: "a.prototxt" base_lr: 0.1')
    result = command("diff", "a.prototxt", "s.prototxt")
    assert result.status == 2 and "a.prototxt is a net, s.prototxt is a solver" in result.err
    assert command("diff", "a.prototxt", "nowhere.prototxt").status == 2
    assert command("diff", "a.prototxt", "b.prototxt", "--phase", "both").status == 2
    assert "are for nets" in command("diff", "s.prototxt", "s.prototxt", "--html", "x.html").err


def test_a_net_that_does_not_build_is_still_compared(nets: Path, command) -> None:
    Path("x.prototxt").write_text(NET % (4, "c3") + 'layer { name: "x" type: "Nowhere" bottom: "c3" top: "x" }')
    result = command("diff", "a.prototxt", "x.prototxt")
    assert result.status == 1 and "+ Nowhere added: x (after c3)" in result.out and "B not built" in result.out


def test_pictures_whose_size_nothing_tells(nets: Path, command) -> None:
    data = 'layer { name: "data" type: "Data" top: "data" data_param { source: "nowhere" batch_size: %d } }'
    for name, batch in (("x", 2), ("y", 3)):
        Path(f"{name}.prototxt").write_text((NET % (4, "c3")).replace(HEAD, data % batch))
    assert "give --size" in " ".join(command("diff", "x.prototxt", "y.prototxt").out.split())
    result = command("diff", "x.prototxt", "y.prototxt", "--size", "9x9")
    assert "TRAIN and TEST: batch 2 -> 3 in 4 blobs" in result.out and "note:" not in result.out


def test_no_colors_in_a_file(nets: Path, command, monkeypatch) -> None:
    assert "\033" not in command("diff", "a.prototxt", "b.prototxt").out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in command("diff", "a.prototxt", "b.prototxt").out
