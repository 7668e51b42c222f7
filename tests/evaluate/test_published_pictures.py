"""The segmentation tutorial's published pictures come out of its own weights, pixel for pixel.

Preprocessing and palette are those of the scripts that made them (pixel * 0.022 - offset; colors written with red
and blue swapped). Up to three pixels may differ where the two best scores are equal but for rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.data.preprocess import Preprocess
from caffecompat.evaluate import Segmenter
from caffecompat.evaluate.segmenter import scores_to_classes
from caffecompat.formats.picture import read_picture
from caffecompat.report.palette import load_palette

_PREPROCESS = Preprocess(scale=0.022, subtract=(0.284, 0.325, 0.287))
_MOST, _TIE = 3, 1e-3

_NETS = {
    "ESPNet": ("espnet/deploy", "espnet/final_models/pretrained", "ESPNet", "ConvNd_85"),
    "ESPNet encoder": (
        "espnet/deploy_encoder",
        "espnet/encoder_models/pretrained_encoder",
        "ESPNet_encoder",
        "deconv_encoder6_0_0",
    ),
    "ENet": ("enet/deploy", "enet/final_models/pretrained", "_enet", "ConvNd_91"),
    "ENet encoder": (
        "enet/deploy_encoder",
        "enet/encoder_models/pretrained_encoder",
        "_enet_encoder",
        "deconv_encoder6_0_0",
    ),
}


def _photo(shared: Path) -> Path:
    return shared / "real/timosaemann-enet/example_image/munich_000000_000019_leftImg8bit.png"


@pytest.mark.parametrize("name", _NETS)
def test_published_picture(name: str, shared: Path, record_property) -> None:
    model, weights, suffix, blob = _NETS[name]
    tutorial = shared / "real/vitis-tutorial-05-seg"
    expected = read_picture(tutorial / f"expected/munich_000000_000019_leftImg8bit{suffix}.png")
    segmenter = Segmenter(tutorial / f"model/{model}.prototxt", str(tutorial / f"model/{weights}.caffemodel"))
    assert segmenter.scores == blob
    assert segmenter.loaded and not segmenter.loaded.missing
    scores = segmenter.score(segmenter.prepare(read_picture(_photo(shared)), _PREPROCESS))
    drawn = load_palette("cityscapes-swapped").paint(scores_to_classes(scores)[0])
    different = (drawn != expected).any(2)
    best = np.sort(scores[0].numpy(), axis=0)[-2:]
    gaps = (best[1] - best[0])[different]
    record_property(
        "measured",
        f"published picture, {name}: {different.sum()} of {different.size} pixels differ"
        + (f", the two best scores there at most {gaps.max():.2g} apart" if gaps.size else ""),
    )
    assert different.sum() <= _MOST
    assert (gaps < _TIE).all()


def test_the_verb_writes_the_published_picture(shared: Path, tmp_path: Path) -> None:
    tutorial = shared / "real/vitis-tutorial-05-seg"
    model = tutorial / "model/espnet"
    flags = ["--scale", "0.022", "--subtract", "0.284,0.325,0.287", "--palette", "cityscapes-swapped"]
    flags += ["--at", "net", "--colors", "--out", str(tmp_path)]
    weights = model / "final_models/pretrained.caffemodel"
    assert (
        main(["segment", "--model", f"{model}/deploy.prototxt", "--weights", str(weights), str(_photo(shared)), *flags])
        == 0
    )
    written = read_picture(tmp_path / "munich_000000_000019_leftImg8bit_colors.png")
    expected = read_picture(tutorial / "expected/munich_000000_000019_leftImg8bitESPNet.png")
    assert (written != expected).any(2).sum() <= _MOST
