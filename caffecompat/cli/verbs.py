"""The verbs of the command line, and which of the words typed is the verb."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from caffecompat.cli.common.flags import FlagParser, UsageError
from caffecompat.wording import nearest

__all__ = ["VERBS", "parser_of", "split_verb", "verb_module"]

# In the order of the help page.
VERBS: dict[str, tuple[str, ...]] = {
    "Train and measure": (
        "new",
        "train",
        "test",
        "test_detection",
        "time",
        "bench",
        "eval",
        "parse-log",
        "plot",
        "report",
        "device_query",
    ),
    "Data sets": (
        "convert_imageset",
        "convert_annoset",
        "create_label_map",
        "get_image_size",
        "compute_image_mean",
        "extract_features",
        "lmdb",
        "list",
        "video",
    ),
    "Files": (
        "diff",
        "check",
        "summary",
        "draw",
        "weights",
        "export",
        "merge-bn",
        "dump-blobs",
        "compare-blobs",
        "upgrade_net_proto_text",
        "upgrade_net_proto_binary",
        "upgrade_solver_proto_text",
    ),
    "Fixed point and sparsity": ("quantize", "vai_q_caffe", "optimize", "sparsify", "threshold"),
    "Run": ("segment", "detect", "classify", "detect_windows", "run", "demo"),
    "Setup": ("doctor", "completion"),
}


_GROUPS = ("vai_q_caffe", "lmdb", "list", "video", "export", "weights", "eval")


def verb_module(verb: str) -> ModuleType:
    """The module of a verb."""
    return importlib.import_module(f"caffecompat.cli.commands.{verb.replace('-', '_')}")


def parser_of(verb: str, notice: Callable[[str], None] | None = None) -> FlagParser:
    """The parser of a verb's flags."""
    module = verb_module(verb)
    parser = FlagParser(prog=f"caffecompat {verb}", description=module.__doc__, notice=notice)
    module.add_flags(parser)
    return parser


def split_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The verb and the other words; gflags allows flags before the verb, and before the part of a group's.

    A word after a flag may be the flag's value (``--model test summary net.prototxt``): it is the verb where the
    flag takes no value in that verb. The first word that is no flag's value is the verb, known or not.

    Raises:
        UsageError: there is no verb, or none of that name.
    """
    leading = list(_leading(argv))
    at = _find(argv, _known, parser_of)
    if at is None:
        values = [argv[at] for at, _ in leading if _known(argv[at])]
        why = f" ({values[0]!r} is taken for the value of a flag before it)" if values else ""
        raise UsageError(f"caffecompat: no verb given{why}\nSee 'caffecompat --help'.")
    name = _known(argv[at])
    if name is None:
        raise UsageError(f"caffecompat: unknown verb {argv[at]!r}{_meant(argv[at])}\nSee 'caffecompat --help'.")
    rest = [*argv[:at], *argv[at + 1 :]]
    return name, _part_first(name, rest) if name in _GROUPS else rest


def _part_first(group: str, words: list[str]) -> list[str]:
    """The words of a group (``export``) with its part (``onnx``) before the flags, as argparse wants it."""
    parts = parser_of(group).parts()
    at = _find(words, lambda word: word if word in parts else None, parts.__getitem__)
    return words if at is None else [words[at], *words[:at], *words[at + 1 :]]


def _find(argv: Sequence[str], known: Callable[[str], str | None], parser: Callable[[str], FlagParser]) -> int | None:
    """Where the word is that chooses a parser; None where all of them are values of flags."""
    leading = list(_leading(argv))
    sure = next((at for at, flag in leading if flag is None), None)
    for at, flag in leading:
        name = known(argv[at])
        if flag is None or name is None:
            continue
        takes = parser(name).takes_value(flag)
        if takes is False or (takes is None and sure is None):
            return at
    return sure


def _leading(argv: Sequence[str]) -> Iterator[tuple[int, str | None]]:
    """Words that may be the verb: those after a flag, with the flag, and the first of its own."""
    flag = None
    for at, token in enumerate(argv):
        if token.startswith("-"):
            flag = None if "=" in token else token
            continue
        yield at, flag
        if flag is None:
            return
        flag = None


def _known(verb: str) -> str | None:
    plain = verb.replace("-", "_")
    return next((name for names in VERBS.values() for name in names if name.replace("-", "_") == plain), None)


def _meant(word: str) -> str:
    """The verb, or the one of a group (``export onnx``), that is most like a word."""
    near = nearest(word, [name for names in VERBS.values() for name in names])
    if near is None:
        parts = {part: f"{group} {part}" for group in _GROUPS for part in parser_of(group).parts()}
        near = parts.get(nearest(word, parts) or "")
    return f"; did you mean {near}?" if near else ""
