"""--proto and --layers: the site's example of a fork of one's own, and what can be wrong with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs/own-fork.md"
NET = """
name: "own"
layer { name: "data" type: "DummyData" top: "data" top: "target"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 } data_filler { type: "gaussian" } } }
layer { name: "gain" type: "SoftGain" bottom: "data" top: "gain" soft_gain_param { steepness: 2 start: 0.5 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "gain" bottom: "target" top: "loss" }
"""
SOLVER = (
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3 display: 1 snapshot_prefix: "own" solver_mode: CPU'
)


def _example(kind: str) -> str:
    """A fenced block of the page by its language."""
    match = re.search(rf"```{kind} [^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert match
    return match[1]


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "caffecompat", *words], capture_output=True, text=True)


@pytest.fixture
def fork(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_caffe.proto").write_text(_example("proto"))
    (tmp_path / "my_layers.py").write_text(_example("python"))
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def test_the_pages_fork_trains_and_its_blobs_are_stored(fork):
    own = ("--proto", "my_caffe.proto", "--layers=my_layers.py")
    trained = _run("train", *own, "-solver", "solver.prototxt")
    assert trained.returncode == 0, trained.stderr[-500:]
    losses = [float(value) for value in re.findall(r"Iteration \d+ \(.*loss = (\S+)", trained.stderr)]
    assert len(losses) == 3
    shown = _run("weights", "show", "own_iter_3.caffemodel")
    assert re.search(r"gain +SoftGain", shown.stdout)


NET_OF_PICTURES = """
name: "own"
layer {{ name: "data" type: "DummyData" top: "data" top: "target" dummy_data_param {{
  shape {{ dim: 4 dim: 3 dim: 8 dim: 8 }} shape {{ dim: 4 dim: 2 }} data_filler {{ type: "gaussian" }} }} }}
layer {{ name: "soft_gain" type: "SoftGain" bottom: "data" top: "soft_gain" soft_gain_param {{ start: 0.5 }} }}
layer {{ name: "conv" type: "Convolution" bottom: "soft_gain" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "again" type: "SoftGain" bottom: "conv" top: "again" soft_gain_param {{ steepness: {} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "again" top: "ip"
  inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }}
"""
SEVERAL = """
import sys
from caffecompat.cli.main import main
for words in sys.stdin.read().splitlines():
    print(f"{words}: exit status {main(words.split())}", flush=True)
"""


def test_the_pages_layer_goes_through_all_verbs(fork):
    """It trains, goes into a deploy net, is exported as ONNX and torch source with the same numbers; diff, summary."""
    Path("net.prototxt").write_text(NET_OF_PICTURES.format(2))
    Path("steeper.prototxt").write_text(NET_OF_PICTURES.format(3))
    commands = [
        "train --proto my_caffe.proto --layers my_layers.py --solver solver.prototxt",
        "export deploy --model net.prototxt --weights own_iter_3.caffemodel out/",
        "export onnx --model out/deploy.prototxt --weights out/deploy.caffemodel net.onnx",
        "export onnx --model out/deploy.prototxt --weights out/deploy.caffemodel --batch dynamic --opset 9 open.onnx",
        "export torch --model out/deploy.prototxt --weights out/deploy.caffemodel own_net.py",
        "summary out/deploy.prototxt",
        "diff net.prototxt steeper.prototxt",
        "check net.prototxt --target tidl",
    ]
    script = [sys.executable, "-c", SEVERAL]
    result = subprocess.run(script, input="\n".join(commands), capture_output=True, text=True)
    statuses = re.findall(r"^(.*): exit status (.)$", result.stdout, re.MULTILINE)
    wanted = [(command, "1" if command.startswith("diff") else "0") for command in commands]
    assert statuses == wanted, result.stderr[-2000:]
    deploy = Path("out/deploy.prototxt").read_text()
    assert deploy.count('type: "SoftGain"') == 2 and "steepness: 2" in deploy
    shares = [float(share) for share in re.findall(r"ip: largest difference \S+ \((\S+) of the", result.stdout)]
    assert len(shares) >= 3 and max(shares) < 1e-5
    assert re.search(r"again +SoftGain +again 1x4x6x6 +4\b", result.stdout)
    assert "soft_gain_param.steepness: 2 -> 3  in again" in result.stdout
    assert "SoftGain is not among TIDL's operators" in result.stdout
    source = Path("own_net.py").read_text()
    assert source.count("def soft_gain(") == 1 and "caffecompat" not in source.split('"""', 2)[2]
    script = [sys.executable, "own_net.py"]
    assert subprocess.run(script, capture_output=True, text=True).stdout == "ip (1, 2)\n"


BORROWING = """syntax = "proto2";
package caffe;
message LayerParameter { optional ShiftParameter shift_param = 147; }
message ShiftParameter {
  optional FillerParameter filler = 1;
  repeated BlobShape shape = 2;
  optional Phase phase = 3 [default = TEST];
}
"""
SHIFT = """
from caffecompat.layers import Layer, register

@register("Shift")
class Shift(Layer):
    bottoms = tops = (2, 2)

    def __init__(self, param, bottom_shapes, context):
        super().__init__(param, bottom_shapes, context)
        assert param.shift_param.phase == 1
        self.add_blob("shift", tuple(param.shift_param.shape[0].dim), param.shift_param.filler)

    def forward(self, first, second):
        return first + self.shift, second - self.shift
"""


def test_a_proto_uses_types_of_the_schema_without_their_definitions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shift.proto").write_text(BORROWING)
    Path("shift.py").write_text(SHIFT)
    Path("net.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "s" type: "Shift" bottom: "a" bottom: "b" top: "c" top: "d" shift_param {'
        '  filler { type: "constant" value: 5 } shape { dim: 3 } } }'
    )
    result = _run("summary", "net.prototxt", "--proto", "shift.proto", "--layers", "shift.py")
    assert "c 2x3" in result.stdout and "d 2x3" in result.stdout, result.stderr
    Path("shift.proto").write_text(BORROWING.replace("BlobShape", "BlobForm"))
    result = _run("summary", "net.prototxt", "--proto", "shift.proto", "--layers", "shift.py")
    assert result.returncode == 2 and '6:12: "BlobForm" is not defined' in result.stderr
    assert "FillerParameter" not in result.stderr


@pytest.mark.parametrize("package", ["", "package caffe;", "package other.parts;"])
def test_a_proto_uses_types_of_one_that_it_imports(tmp_path, monkeypatch, package):
    monkeypatch.chdir(tmp_path)
    Path("parts.proto").write_text(f'syntax = "proto2"; {package} message Part {{ optional float x = 1; }}')
    kind = "other.parts.Part" if "other" in package else "Part"
    Path("mine.proto").write_text(
        'syntax = "proto2"; package caffe; import "parts.proto";'
        f"message LayerParameter {{ optional {kind} part_param = 9001; }}"
    )
    Path("net.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 2 } } part_param { x: 2 } }'
    )
    result = _run("summary", "net.prototxt", "--proto", "mine.proto")
    assert result.returncode == 0 and "part_param" not in result.stderr.replace("no effect", ""), result.stderr


def test_a_field_of_a_message_of_ones_own_is_suggested_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.proto").write_text(
        'syntax = "proto2"; package caffe; message LayerSettings { optional float my_gain = 1; }'
    )
    Path("net.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "a" my_gain: 2 input_param { shape { dim: 2 } } }'
    )
    result = _run("summary", "net.prototxt", "--proto", "mine.proto")
    assert "my_gain" in result.stderr and "a field of LayerSettings (of the schema of one's own)" in result.stderr


def test_a_proto_with_types_of_googles_packages_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.proto").write_text(
        'syntax = "proto2"; package caffe; import "google/protobuf/any.proto";'
        "message LayerParameter { optional google.protobuf.Any any_param = 9001; }"
    )
    Path("net.prototxt").write_text('layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 2 } } }')
    result = _run("summary", "net.prototxt", "--proto", "mine.proto")
    assert result.returncode == 2 and "does not" in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_without_the_layers_the_type_is_named(fork):
    result = _run("train", "--proto", "my_caffe.proto", "-solver", "solver.prototxt")
    assert result.returncode == 2
    assert "SoftGain" in result.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("my_caffe.proto", "message {", "does not compile"),
        ("my_layers.py", "import nothing_of_that_name", r"my_layers.py:1: ModuleNotFoundError"),
        ("my_layers.py", "x = 1", "registers no layer"),
    ],
)
def test_wrong_files_are_explained(fork, file, text, message):
    (fork / file).write_text(text)
    result = _run("train", "--proto", "my_caffe.proto", "--layers", "my_layers.py", "-solver", "solver.prototxt")
    assert result.returncode == 2
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr


def test_missing_files_and_values(fork):
    assert "no such file" in _run("train", "--proto", "no.proto", "-solver", "solver.prototxt").stderr
    assert "no such file" in _run("train", "--layers", "no.py", "-solver", "solver.prototxt").stderr
    assert "--proto needs a file" in _run("train", "--proto").stderr
