import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffecompat import wire
from caffecompat.cli.main import main
from tests.formats.protobytes import layer, message, net, packed, shape


def test_the_table_lists_layers_blobs_and_totals(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "show", str(golden / "solvers/sgd/_iter_5.caffemodel")]) == 0
    out = capsys.readouterr().out
    assert "net 'trace'" in out and "format: layer (V2); blobs: 10 float32 packed" in out
    assert "11 layers, 5 with blobs, 583 parameters" in out
    assert [line.split() for line in out.splitlines() if "conv1" in line and "Convolution" in line] == [
        ["1", "conv1", "Convolution", "6x2x3x3", "108", "float32"]
    ]


def test_the_writer_is_named_where_the_file_shows_it(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["weights", "show", str(golden / "solvers_jacinto/sgd/_iter_5.caffemodel")])
    assert "written by: NVCaffe or TI Jacinto" in capsys.readouterr().out


def test_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([0, 1, 2, np.nan], np.float32)
    (tmp_path / "w").write_bytes(net(packed(5, values) + shape(4)))
    assert main(["weights", "show", "-stats", str(tmp_path / "w")]) == 0
    out = capsys.readouterr().out
    assert "mean  1.00000e+00  std  8.16497e-01  min  0.00000e+00  max  2.00000e+00  zeros  25.0%  1 not finite" in out


def test_json_holds_the_same_as_values(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "show", "--json", "--stats", str(golden / "solvers/sgd/_iter_5.caffemodel")]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["parameters"] == 583 and table["format"] == "V2" and len(table["layers"]) == 11
    blob = table["layers"][1]["blobs"][0]
    assert blob["shape"] == [6, 2, 3, 3] and blob["count"] == 108 and blob["diff"] is False and blob["std"] > 0


def test_a_broken_blob_shows_in_the_table_and_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = layer(message(7, packed(5, np.ones(2, np.float32)), shape(2)), name="good")
    (tmp_path / "w").write_bytes(net(packed(5, np.ones(3, np.float32)) + shape(4)) + good)
    assert main(["weights", "show", str(tmp_path / "w")]) == 1
    out = capsys.readouterr().out
    assert "has 4 values, the file holds 3" in out and "good" in out


def test_a_foreign_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w").write_bytes(wire.varint_field(1, 8) + message(7, b"") + message(8, b""))
    assert main(["weights", "show", str(tmp_path / "w")]) == 2
    assert "this is an ONNX model, not a caffemodel" in capsys.readouterr().err


def test_torch_is_not_needed(golden: Path) -> None:
    code = (
        "import sys; from caffecompat.cli.main import main\n"
        f"main(['weights', 'show', {str(golden / 'solvers/sgd/_iter_5.caffemodel')!r}])\n"
        "assert 'torch' not in sys.modules and 'h5py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
