"""The pages of the site as their tests see them: fenced blocks, in order, with what comments before them say.

A comment on the line before a fence says how the block is tested::

    <!-- not run: needs two GPUs -->     its commands are read by the parsers of their flags, and not run
    <!-- exit 1 -->                      the last command of the block ends with this status
    <!-- prints -->                      of a block of output: each of its lines is in what the block before it printed;
                                         "..." in a line is any text

A comment ``<!-- files: NAME -->`` at a page's beginning names the module of `tests.docs.worlds` that writes what lies
in the page's folder before; ``<!-- nightly -->`` says that the page takes long and runs in `make nightly` alone. A
fence with ``title="net.prototxt"`` is a file, which is written there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

__all__ = ["DOCS", "PAGES", "Block", "blocks_of", "is_long", "write_world"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$", re.M | re.S)
_COMMENT = re.compile(r"<!-- *(.*?) *-->")
_WORLD = re.compile(r"<!-- files: (\w+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page, line: where it begins.
        language: the first word after the fence; "" where there is none.
        title: the name of the file that it is, or "".
        text: what it holds, without the page's indentation.
        not_run: why it is not run; "" where it is.
        status: how its last command ends.
        prints: whether it shows what the block before it prints.
    """

    page: Path
    line: int
    language: str
    title: str
    text: str
    not_run: str = ""
    status: int = 0
    prints: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    return [_block(page, text, match) for match in _FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    indent, _, info, body = match.groups()
    before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
    comment = _COMMENT.fullmatch(before.strip())
    said = comment[1] if comment else ""
    title = re.search(r'title="([^"]*)"', info)
    lines = body.splitlines()
    return Block(
        page,
        text.count("\n", 0, match.start()) + 1,
        info.split()[0] if info.split() else "",
        title[1] if title else "",
        "".join(f"{line.removeprefix(indent)}\n" for line in lines),
        said.removeprefix("not run: ") if said.startswith("not run: ") else "",
        int(said.removeprefix("exit ")) if said.startswith("exit ") else 0,
        said == "prints",
    )


def write_world(page: Path) -> None:
    """Write what lies in a page's folder before its first block into the current folder."""
    found = _WORLD.search(page.read_text())
    if found:
        import_module(f"tests.docs.worlds.{found[1]}").write()


def is_long(page: Path) -> bool:
    """Whether the page runs in `make nightly` alone."""
    return "<!-- nightly -->" in page.read_text()
