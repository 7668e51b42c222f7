"""Numbers in flags: out of bounds, no numbers, too large to be read."""

from __future__ import annotations

import pytest

from caffecompat.cli.verbs import VERBS, parser_of

WRONG = {
    "iterations": ("0", "-1", "many", "9" * 30, "1e3", "9" * 5000),
    "threads": ("-5", "100000"),
    "resize-height": ("-1", "200000"),
    "size": ("100000x100001", "0x5", "²x3", "9" * 5000 + "x5"),
    "tolerance": ("nan", "inf", "much"),
    "batch": ("0", "-3"),
    "seed": ("-1",),
}
COMMANDS = [
    ("time --model net.prototxt", "iterations"),
    ("test --model net.prototxt --weights w", "iterations"),
    ("lmdb build list.txt db", "threads"),
    ("convert_imageset / list.txt db", "resize-height"),
    ("summary net.prototxt", "size"),
    ("export torch --model net.prototxt out.py", "size"),
    ("compare-blobs a b", "tolerance"),
    ("weights diff a b", "tolerance"),
    ("export torch --model net.prototxt out.py", "batch"),
    ("lmdb split a b c", "seed"),
]


@pytest.mark.parametrize(("words", "flag", "value"), [(w, f, v) for w, f in COMMANDS for v in WRONG[f]],
                         ids=lambda text: text[:24])  # fmt: skip
def test_wrong_numbers_are_messages(command, tmp_path, monkeypatch, words: str, flag: str, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
    )
    result = command(*words.split(), f"--{flag}={value}")
    assert result.status == 2 and f"--{flag}" in result.err and len(result.err) < 10000, result.err[:500]


def test_every_verb_bounds_its_numbers() -> None:
    """No flag takes an int or a float as it comes."""
    found = []
    for name in (name for names in VERBS.values() for name in names):
        parsers = [parser_of(name, lambda line: None)]
        for parser in parsers:
            for action in parser._actions:
                choices = getattr(action, "choices", None)
                if isinstance(choices, dict):
                    parsers += choices.values()
                elif action.type in (int, float):
                    found.append(f"{parser.prog} {action.option_strings or action.dest}")
    assert found == []
