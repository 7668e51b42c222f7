"""What a quantization needs and does not get: one clear error, before anything is calibrated."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat import CaffeCompatError, QuantizeSettings, quantize_net
from caffecompat.quantize.quantizer import quantize_stated
from tests.api_examples import write_examples


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples()
    with pytest.raises(CaffeCompatError, match=r"deploy\.prototxt: no data layer fills data.*PICTURES OUT"):
        quantize_stated("deploy.prototxt", "net.caffemodel", "fixed")
    for weights in (None, 5, []):
        with pytest.raises(CaffeCompatError, match="expected a path, or a list of paths"):
            quantize_net("deploy.prototxt", weights, "list.txt", "fixed")  # type: ignore[arg-type]
    with pytest.raises(CaffeCompatError, match="data_bits: '8' bits; expected 1 to 32"):
        QuantizeSettings(data_bits="8")  # type: ignore[arg-type]
