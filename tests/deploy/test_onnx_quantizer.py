"""Files for the DPU through a static quantizer: it reads the model, the list of pictures and their preparation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from caffecompat.cli.main import main
from caffecompat.deploy.onnx.run import run_model
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import decode_datum


@pytest.fixture
def digits(shared: Path, tmp_path: Path) -> Path:
    """A folder with 20 of MNIST's test pictures, each named after what it shows."""
    folder = tmp_path / "digits"
    folder.mkdir()
    database = open_database(shared / "real/mnist-leveldb-test", "leveldb", "r")
    for number, key in zip(range(20), database.keys(), strict=False):
        datum = decode_datum(database.get(key))
        cv2.imwrite(str(folder / f"{number:02d}_{datum.label}.png"), datum.array().reshape(28, 28))
    database.close()
    return folder


def reader_of(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lenet_keeps_its_answers(shared: Path, digits: Path, tmp_path: Path) -> None:
    out, small = tmp_path / "lenet.onnx", tmp_path / "int8.onnx"
    done = main(["export", "onnx", "--model", str(shared / "real/bvlc/examples/mnist/lenet.prototxt"),
                 "--weights", str(shared / "real/lenet-v2/lenet_iter_10000.caffemodel"), "--batch", "1", "--scale",
                 "0.00390625", "--target", "dpu", "--calibration", str(digits), str(out)])  # fmt: skip
    assert done == 0
    module = reader_of(tmp_path / "lenet_calibration.py")
    # As vai_q_onnx quantizes for the DPU: one symmetric int8 scale a tensor.
    quantize_static(
        out, small, module.CalibrationReader(), quant_format=QuantFormat.QDQ, per_channel=False, reduce_range=False,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )  # fmt: skip
    operators = {node.op_type for node in onnx.load(small).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"} <= operators
    paths = (tmp_path / "lenet_calibration.txt").read_text().split()
    assert len(paths) == 20
    for path in paths:
        inputs = {module.INPUT: module.prepare(path)}
        whole, rounded = (run_model(model, inputs)["prob"][0] for model in (out, small))
        assert whole.argmax() == rounded.argmax() == int(Path(path).stem[-1])
        np.testing.assert_allclose(rounded, whole, atol=0.1)
