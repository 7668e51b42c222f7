"""Fields that the schema does not know, read by their looks alone and laid out evenly, to be kept as text."""

from __future__ import annotations

from caffecompat.schema.cursor import DEEPEST, Cursor
from caffecompat.schema.tokens import END, NAME, NUMBER, STRING

__all__ = ["read_unknown_field"]


def read_unknown_field(cursor: Cursor, depth: int) -> str:
    """Read the field whose name is the next word, `depth` blocks deep; its text, in `write_text`'s layout."""
    lines: list[str] = []
    _field(cursor, lines, "", depth)
    return "\n".join(lines)


def _field(cursor: Cursor, lines: list[str], indent: str, depth: int) -> None:
    _, name, at = cursor.tokens[cursor.i]
    cursor.i += 1
    colon = cursor.takes(":")
    where = cursor.tokens[cursor.i][2]
    if cursor.sees("{<"):
        _block(cursor, name, lines, indent, depth)
    elif cursor.sees("["):
        _list(cursor, name, lines, indent, depth)
    elif not colon or not _scalar(cursor, name, lines, indent):
        expected = "a value" if colon else "':' or '{'"
        cursor.problem(where, f"expected {expected} after {name}, found {cursor.shown()}")
        if cursor.line_of(where) == cursor.line_of(at):
            cursor.skip_line()


def _scalar(cursor: Cursor, name: str, lines: list[str], indent: str) -> bool:
    """Read a number, a name or strings; False where there is none."""
    start = cursor.i
    sign = "-" if cursor.takes("-") else ""
    kind, word, _ = cursor.tokens[cursor.i]
    if kind in (NAME, NUMBER):
        cursor.i += 1
        lines.append(f"{indent}{name}: {sign}{word}")
        return True
    parts = []
    while not sign and cursor.tokens[cursor.i][0] == STRING:
        parts.append(cursor.tokens[cursor.i][1])
        cursor.i += 1
    if parts:
        lines.append(f"{indent}{name}: {' '.join(parts)}")
        return True
    cursor.i = start
    return False


def _block(cursor: Cursor, name: str, lines: list[str], indent: str, depth: int) -> None:
    _, word, bracket = cursor.tokens[cursor.i]
    if depth >= DEEPEST:
        cursor.problem(bracket, f"blocks are nested more than {DEEPEST} deep")
        cursor.skip_block()
        return
    closer = "}" if word == "{" else ">"
    cursor.i += 1
    lines.append(f"{indent}{name} {{")
    while not cursor.takes(closer):
        kind, _, at = cursor.tokens[cursor.i]
        if kind == NAME:
            _field(cursor, lines, indent + "  ", depth + 1)
        elif not cursor.takes(";") and not cursor.takes(","):
            found = cursor.shown()
            cursor.problem(
                at, f"expected a field or '{closer}' in {name} opened at {cursor.spot(bracket)}, found {found}"
            )
            cursor.i += kind != END
            return
    lines.append(indent + "}")


def _list(cursor: Cursor, name: str, lines: list[str], indent: str, depth: int) -> None:
    opened = cursor.tokens[cursor.i][2]
    cursor.i += 1
    before = len(lines)
    while not cursor.takes("]"):
        at = cursor.tokens[cursor.i][2]
        if cursor.sees("{<"):
            _block(cursor, name, lines, indent, depth)
        elif not cursor.takes(",") and not _scalar(cursor, name, lines, indent):
            cursor.problem(at, f"the list of {name} opened at {cursor.spot(opened)} is not closed by ']'")
            return
    if len(lines) == before:
        lines.append(f"{indent}{name}: []")
