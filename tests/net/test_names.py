"""Names of layers and blobs that would break what names them: files, lines, code."""

from __future__ import annotations

import pytest

from caffecompat.net import Net, NetError
from caffecompat.schema import parse_text, pb

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'


@pytest.mark.parametrize("broken", ["\\000", "\\n", "\\r"])
@pytest.mark.parametrize("which", ["name", "top"])
def test_line_ends_and_nul_are_refused(broken: str, which: str) -> None:
    names = {"name": "relu", "top": "y", which: f"a{broken}b"}
    text = f'{INPUT} layer {{ name: "{names["name"]}" type: "ReLU" bottom: "x" top: "{names["top"]}" }}'
    with pytest.raises(NetError, match="has a line end or a NUL in it; rename it"):
        Net(parse_text(text, pb.NetParameter()), "TEST", log=False)


def test_other_odd_names_are_names() -> None:
    text = f'{INPUT} layer {{ name: "a b/\\033[1m/../é" type: "ReLU" bottom: "x" top: "__y" }}'
    assert Net(parse_text(text, pb.NetParameter()), "TEST", log=False).outputs == ["__y"]
