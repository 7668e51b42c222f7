"""Words that puzzled readers stay out of messages, docstrings and the pages; names in backticks may have them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "caffecompat").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "proto/caffe.proto")),
    *(ROOT / "docs").glob("*.md"),
]
TABLES = sorted((ROOT / "caffecompat/deploy/targets").rglob("*.json"))

# A pattern, and what to write instead.
ODD = {
    r"behind": "after; next to",
    r"anew": "again; start over",
    r"as (it|they) stands?": "as it is, as they are",
    r"(is|are) told of": "is reported, logged, called with",
    r"told by (its|their|the)": "recognized by",
    r"goes? with(?!out)": "belongs to; needs",
    r"(?<!there )(is|are) none of": "is not one of",
    r"take[sn]? off": "subtract",
    r"to mend|mends?|mended": "fix",
    r"misspelt|spelt|learnt|whilst|amongst": "misspelled, spelled, learned, while, among",
    r"\w*(colour|grey|neighbour|behaviour|favour|honour)\w*": "American spelling: -or, gray",
    r"\w*(labelled|labelling|modelled|cancelled|travelled)\w*": "American spelling: one l",
    r"\w*(normal|initial|optim|recogn|summar|quant|serial|random|regular|organ)is(e|es|ed|er|ing|ation)\w*": "-ize",
    r"cent(re|red|res|ring)": "center",
    r"(judgement|licence|artefact|catalogue|towards)s?": "judgment, license, artifact, catalog, toward",
}
# Names that keep an older spelling: what programs read, and what others call so.
NAMES = re.compile(r"\{\w+\}|``[^`]*``|`[^`]*`|miou_labelled|swap-colours|as_grey|(labelled|judgement)(?= is now)")


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all strings of more than one word in a module, names in f-strings left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from enumerate(node.value.split("\n"), node.lineno)


@pytest.mark.parametrize("word", ODD)
def test_odd_words_are_not_there(word: str) -> None:
    pattern = re.compile(rf"\b({word})\b", re.IGNORECASE)
    lines = [(path, line, text) for path in MODULES for line, text in _texts(path)]
    for path in [*PAGES, *TABLES]:
        whole = enumerate(path.read_text().splitlines(), 1)
        lines += [(path, line, text) for line, text in whole if path in PAGES or '"text"' in text]
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()}"
        for path, line, text in lines
        if pattern.search(NAMES.sub("", text))
    ]
    assert not found, f"write {ODD[word]}:\n" + "\n".join(found)
