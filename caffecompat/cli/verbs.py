"""The verbs of the command line, and which of the words typed is the verb."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from caffecompat.cli.flags import FlagParser, UsageError
from caffecompat.wording import nearest

__all__ = ["VERBS", "parser_of", "split_verb", "verb_module"]

# In the order of the help page.
VERBS: dict[str, tuple[str, ...]] = {
    "Train and measure": ("train", "test", "test_detection", "time", "eval", "parse-log", "plot", "device_query"),
    "Data sets": (
        "convert_imageset",
        "convert_annoset",
        "create_label_map",
        "get_image_size",
        "compute_image_mean",
        "extract_features",
        "lmdb",
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
    "Run": ("segment", "detect", "classify", "detect_windows", "run", "demo"),
}


_GROUPS = ("lmdb", "export", "weights", "eval")


def verb_module(verb: str) -> ModuleType:
    """The module of a verb."""
    return importlib.import_module(f"caffecompat.cli.{verb.replace('-', '_')}")


def parser_of(verb: str, notice: Callable[[str], None] | None = None) -> FlagParser:
    """The parser of a verb's flags."""
    module = verb_module(verb)
    parser = FlagParser(prog=f"caffecompat {verb}", description=module.__doc__, notice=notice)
    module.add_flags(parser)
    return parser


def split_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The verb and the other words; gflags allows flags before the verb.

    A word behind a flag may be the flag's value (``--model test summary net.prototxt``): it is the verb where the
    flag takes no value in that verb. The first word that is no flag's value is the verb, known or not.

    Raises:
        UsageError: there is no verb, or none of that name.
    """
    leading = list(_leading(argv))
    sure = next((at for at, flag in leading if flag is None), None)
    for at, flag in leading:
        name = _known(argv[at])
        if flag is None or name is None:
            continue
        takes = parser_of(name).takes_value(flag)
        if takes is False or (takes is None and sure is None):
            sure = at
            break
    if sure is None:
        values = [argv[at] for at, _ in leading if _known(argv[at])]
        why = f" ({values[0]!r} is taken for the value of a flag before it)" if values else ""
        raise UsageError(f"caffecompat: no verb given{why}\nSee 'caffecompat --help'.")
    name = _known(argv[sure])
    if name is None:
        raise UsageError(f"caffecompat: unknown verb {argv[sure]!r}{_meant(argv[sure])}\nSee 'caffecompat --help'.")
    return name, [*argv[:sure], *argv[sure + 1 :]]


def _leading(argv: Sequence[str]) -> Iterator[tuple[int, str | None]]:
    """Words that may be the verb: those behind a flag, with the flag, and the first of its own."""
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
