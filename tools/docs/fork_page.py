"""What shows that a text was written for a fork, from the code that decides it."""

from __future__ import annotations

from collections.abc import Iterator

from page_text import code, table

from caffecompat.schema import dialects
from caffecompat.schema.detect import evidence_fields

__all__ = ["fork_page"]


def fork_page() -> Iterator[tuple[str, str]]:
    """Path and text of the page."""
    text = (
        "# What shows a fork\n\nThe first of these that a net or solver has decides whose rules hold; `--fork` names "
        "another. The log names the field and its place.\n\n"
    )
    rows = [
        [fork.value, *(", ".join(map(code, names)) for names in (fields.solver, fields.net, fields.layer))]
        for fork, fields in evidence_fields().items()
    ]
    text += table(["fork", "of a solver", "of a net", "of a layer"], rows)
    text += "\n## Layer types that single forks have\n\n"
    types = [[code(kind), dialects.fork_names(forks)] for kind, forks in dialects.layer_types().items()]
    text += table(["type", "registered by"], [row for row in types if "BVLC" not in row[1]])
    yield "reference/shown-forks.md", text
