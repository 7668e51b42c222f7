"""For the DPU's quantizer (vai_q_onnx, Quark): the list of calibration pictures, and a reader that prepares them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.onnx.pictures import is_picture
from caffecompat.deploy.targets.side_files import SideFiles, write_file
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.image_list import read_pair_list

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.write import Exported

__all__ = ["calibration_pictures", "calibration_reader", "write_calibration"]


def write_calibration(done: Exported, path: str, *, cut: bool, pictures: Sequence[str]) -> SideFiles:
    """Write the list of pictures and their reader next to the model at `path`; of a net without pictures nothing.

    Args:
        pictures: their paths; without any there is no list.

    Raises:
        WriteError: a file cannot be written.
    """
    blob = next(iter(done.export.inputs))
    shape = done.net.fed_shapes[blob]
    if not is_picture(shape):
        return SideFiles()
    stem, options = os.path.splitext(path)[0], done.options
    list_file = f"{stem}_calibration.txt"
    reader = calibration_reader(
        path, done.export.inputs[blob], shape, options.preprocess, list_file, baked=options.bake, rgb=options.rgb
    )
    made = SideFiles([write_file(f"{stem}_calibration.py", reader)])
    if options.preprocess is None and not options.bake:
        made.notes.append(
            "warning: nothing says how this net's pictures are prepared (no --mean or --scale, no data layer, no "
            f"transform_param of an Input layer): fill in MEAN and SCALE in {stem}_calibration.py, or export again"
        )
    if pictures:
        made.paths.append(write_file(list_file, "".join(f"{picture}\n" for picture in pictures)))
    return made


def calibration_pictures(source: str | os.PathLike[str], count: int) -> list[str]:
    """At most `count` pictures from all over a list (the first column of its lines) or a folder.

    Those that are here are paths that can be opened from any folder, others as the list has them.

    Raises:
        CaffeCompatError: the list cannot be read, or there are no pictures.
    """
    name = os.fspath(source)
    if os.path.isdir(name):
        kinds = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")
        files = sorted(file for file in os.listdir(name) if file.lower().endswith(kinds))
        paths = [os.path.abspath(os.path.join(name, file)) for file in files]
    else:
        paths = [entry.image for entry in read_pair_list(name, labels=False)]
    if not paths:
        raise CaffeCompatError(f"{name}: there are no calibration pictures")
    count = min(len(paths), count)
    return [_from_anywhere(paths[at * len(paths) // count], name) for at in range(count)]


def _from_anywhere(path: str, list_file: str) -> str:
    for candidate in (path, os.path.join(os.path.dirname(list_file), path)):
        if os.path.isfile(candidate):
            return os.path.abspath(candidate)
    return path


_READER = '''"""Calibration pictures for the DPU's quantizer{prepared}.

With AMD Quark (power-of-two scales, as the DPU has them):

    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config, get_default_config
    from {module} import CalibrationReader

    config = Config(global_quant_config=get_default_config("XINT8"))
    ModelQuantizer(config).quantize_model("{model}", "quantized.onnx", CalibrationReader())

With Vitis AI 3.5's vai_q_onnx:

    vai_q_onnx.quantize_static("{model}", "quantized.onnx", CalibrationReader(), quant_format=...)
"""

import os

import cv2
import numpy as np

INPUT, HEIGHT, WIDTH, CHANNELS = {input!r}, {height}, {width}, {channels}
# (pixel - MEAN) * SCALE - SUBTRACT; channels are {order}
MEAN, SCALE, SUBTRACT = {numbers}


def prepare(path):
    """One picture as the model's input, (1, CHANNELS, HEIGHT, WIDTH) float32."""{known}
    picture = cv2.imread(path, cv2.IMREAD_COLOR if CHANNELS == 3 else cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(path)
    pixels = cv2.resize(picture.astype(np.float32), (WIDTH, HEIGHT)).reshape(HEIGHT, WIDTH, CHANNELS){swap}
    pixels = (pixels - np.float32(MEAN)) * np.float32(SCALE) - np.float32(SUBTRACT)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


class CalibrationReader:
    """What quantizers of onnxruntime's kind ask for one input after another."""

    def __init__(self, list_file=os.path.join(os.path.dirname(os.path.abspath(__file__)), {list_file!r})):
        with open(list_file, encoding="utf-8") as lines:
            self.paths = iter([line.strip() for line in lines if line.strip()])

    def get_next(self):
        """The next input, or None after the last."""
        path = next(self.paths, None)
        return None if path is None else {{INPUT: prepare(path)}}
'''


_UNKNOWN = "None, 1.0, [0.0]  # not known: fill in MEAN, as [104, 117, 123], and SCALE; [0.0] and 1.0 are raw pixels"
_REFUSAL = """
    if MEAN is None:
        raise ValueError("fill in MEAN and SCALE: how this net's pictures are prepared was not known")"""


def calibration_reader(
    model: str,
    blob: str,
    shape: Sequence[int],
    preprocess: Preprocess | None,
    list_file: str,
    *,
    baked: bool,
    rgb: bool,
) -> str:
    """Source of the reader: a Python file that needs numpy and OpenCV alone.

    Args:
        model: the ONNX file.
        blob: the model's input, of `shape` (N, C, H, W).
        preprocess: None where it is not known: the reader then stops until its user has filled it in.
        baked: the graph prepares the pixels itself.
    """
    p = Preprocess() if baked else preprocess
    stem = os.path.splitext(os.path.basename(model))[0]
    return _READER.format(
        module=f"{stem}_calibration",
        model=os.path.basename(model),
        input=blob,
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        prepared=", prepared as the net was trained" if p else "; how they are prepared is to be filled in",
        numbers=f"{list(p.mean) or [0.0]}, {_factors(p)}, {list(p.subtract) or [0.0]}" if p else _UNKNOWN,
        known="" if p else _REFUSAL,
        order="R, G, B" if rgb else "B, G, R",
        swap="[:, :, ::-1]" if rgb else "",
        list_file=os.path.basename(list_file),
    )


def _factors(preprocess: Preprocess) -> str:
    """scale / std as Python text: a number, or a list with one a channel."""
    texts = [f"{factor:.8g}" for factor in preprocess.factors]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
