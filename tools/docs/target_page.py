"""What a DPU and TIDL run, from the tables that `check` and `export onnx --target` go by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from page_text import code, plain, table

from caffecompat.deploy.targets.table import TargetTable, load_table

__all__ = ["target_page", "target_verdicts"]

_TARGETS = {"dpu": "AMD's DPU", "tidl": "TI's TIDL"}


class _AsNamed(dict[str, object]):
    """Facts by their names, whatever form a text wants them in."""

    def __missing__(self, name: str) -> object:
        return _Name(name)


class _Name(str):
    def __format__(self, form: str) -> str:
        return "`" + self + "`"

    def __getattr__(self, name: str) -> _Name:
        return _Name(self)


def target_verdicts(kind: str, page: str) -> Iterator[tuple[str, str]]:
    """Name and verdicts of each target on a layer type, with a link to `page`."""
    for target, name in _TARGETS.items():
        verdicts = dict.fromkeys(case["verdict"] for case in _own_cases(load_table(target), kind))
        anchor = name.lower().replace(" ", "-").replace("'", "")
        yield name, f"[{', '.join(verdicts) or 'not in its table'}]({page}#{anchor})"


def target_page() -> Iterator[tuple[str, str]]:
    """Path and text of the page."""
    text = (
        "# What targets run\n\nThe tables that `check` and `export --target` go by; "
        "`check` judges the layers of a net by them, with their sizes. The first case that holds judges a layer; where "
        "a limit is broken, its verdict counts. A remedy says what to change about the net.\n"
    )
    for target, name in _TARGETS.items():
        found = load_table(target)
        text += f"\n## {name}\n\n{plain(found.title)}; `--target {target}`, version {found.version}.\n\n"
        text += table(["source", "document"], [[code(key), plain(what)] for key, what in found.documents.items()])
        text += "\n" + table(["type", "if", "verdict", "why", "limits", "source"], _rows(found))
    yield "reference/targets.md", text


def _own_cases(found: TargetTable, kind: str) -> list[dict[str, Any]]:
    """The cases of a layer type, without that of all types that are not listed."""
    listed = len(found.layers["otherwise"])
    return found.cases(kind)[:-listed]


def _rows(found: TargetTable) -> Iterator[list[str]]:
    facts = _AsNamed(found.constants)
    for kind in sorted(set(found.layers) - {"otherwise"}):
        for case in _own_cases(found, kind):
            limits = "; ".join(_with_remedy(limit, facts) for limit in found.limits_of(case))
            text = _with_remedy(case, facts)
            yield [code(kind), code(case.get("when", "")), case["verdict"], text, limits, code(case.get("source", ""))]


def _with_remedy(entry: dict[str, Any], facts: _AsNamed) -> str:
    """The text of a case or limit, and what to change about a net for it."""
    remedy = f" *(remedy: {plain(entry['remedy'].format_map(facts))})*" if "remedy" in entry else ""
    return plain(entry["text"].format_map(facts)) + remedy
