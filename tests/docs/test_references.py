"""The generated references leave nothing out: layer types, fields, verbs, public names."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import caffecompat
from caffecompat.cli.verbs import VERBS
from caffecompat.layers import layer_class, layer_types
from caffecompat.schema import pb
from caffecompat.schema.block_readers import BLOCK_READERS
from caffecompat.schema.data_layers import data_layer_types


def _text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", page.read_text()))


def test_layer_types(site: Path) -> None:
    pages = {path.stem: path.read_text() for path in (site / "reference/layers").glob("*.html")}
    for kind in layer_types():
        cls = layer_class(kind)
        if cls is not None and cls.__module__.startswith("caffecompat.layers."):
            page = pages[cls.__module__.rpartition(".")[2]]
            assert f'id="{kind.lower()}"' in page
            section = page[page.index(f'id="{kind.lower()}"') :]
            section = section[: section.find("<h2", 10)]
            assert all(f"<code>{block}</code>" in section for block, kinds in BLOCK_READERS.items() if kind in kinds), (
                kind
            )


_SHAPES = re.compile(r"\([NCRHKT1.](?:, .*)?\)|[Ss]hape|\(time_step")


def test_layer_types_have_shapes(site: Path) -> None:
    """From a recorded case of the original, or in words."""
    pages = {path.stem: _text(path) for path in (site / "reference/layers").glob("*.html")}
    for kind in layer_types():
        cls = layer_class(kind)
        if cls is not None and cls.__module__.startswith("caffecompat.layers."):
            recorded = f'type: "{kind}"' in re.sub(r"\s+", " ", pages[cls.__module__.rpartition(".")[2]])
            assert recorded or _SHAPES.search(cls.__doc__ or ""), kind


def test_fields(site: Path) -> None:
    for page, message in (
        ("reference/solver.html", "SolverParameter"),
        ("reference/data.html", "TransformationParameter"),
        ("reference/data.html", "DataParameter"),
        ("reference/layers/pooling.html", "PoolingParameter"),
    ):
        text = (site / page).read_text()
        for field in getattr(pb, message).DESCRIPTOR.fields:
            assert f"<code>{field.name}</code>" in text, f"{message}.{field.name}"


def test_every_field_and_flag_is_described(site: Path) -> None:
    for page in (site / "reference").rglob("*.html"):
        for table in re.findall(r"<table>.*?</table>", page.read_text(), re.S):
            if re.search(r"<th[^>]*>meaning</th>", table):
                rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in table.split("<tr>")]
                assert not [row[0] for row in rows if row and row[-1].strip() in ("", "Ours")], page


def test_data_layers_verbs_and_names(site: Path) -> None:
    data = (site / "reference/data.html").read_text()
    assert all(f"<code>{kind}</code>" in data for kind in data_layer_types())
    for verb in (verb for verbs in VERBS.values() for verb in verbs):
        assert "Every verb" not in _text(site / f"reference/commands/{verb}.html")
        assert re.search(rf"<h1[^>]*>{re.escape(verb)}", (site / f"reference/commands/{verb}.html").read_text())
    python = (site / "reference/python.html").read_text()
    assert all(re.search(rf"<h2[^>]*>{name}", python) for name in caffecompat.__all__)


def test_docstrings_are_read_as_people_wrote_them(site: Path) -> None:
    """No reStructuredText is left in the text, and no table of it is torn into a paragraph."""
    for page in (site / "reference").rglob("*.html"):
        body = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(), flags=re.S)
        prose = re.sub(r"<[^>]+>", " ", body[body.index("<article") : body.index("</article")])
        assert not re.search(r"``|:class:|:meth:|={6,}|>>> ", unescape(prose)), page
