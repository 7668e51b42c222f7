"""What an unknown field may have been meant as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from caffecompat.schema import pool
from caffecompat.schema.dialects import field_note, fork_names, is_ours
from caffecompat.schema.fields import Table
from caffecompat.schema.pool import PACKAGE
from caffecompat.wording import distance, nearest

__all__ = ["Suggestion", "suggest"]


@dataclass(frozen=True)
class Suggestion:
    """What is to say of a field that its message does not have.

    Attributes:
        hint: the tail of the message, beginning with its own punctuation; may be empty.
        mistaken: it is plainly a mistake: a known field of that message written wrong, or a field of a message that no
            other Caffe has.
    """

    hint: str
    mistaken: bool


@cache
def suggest(table: Table, name: str) -> Suggestion:
    """Look for the field that the writer of `name` meant: one like it in the message, or its namesakes elsewhere."""
    near = nearest(name, table.fields)
    if near is not None and _misspells(name, near):
        return Suggestion(f"; did you mean '{near}'?", True)
    if is_ours(table.name):
        return Suggestion(f"; it has {', '.join(table.fields)}", True)
    longer = [repr(field) for field in table.fields if field.startswith(f"{name}_")]
    if 0 < len(longer) <= 3:
        return Suggestion(f"; did you mean {' or '.join(longer)}?", False)
    owners = _owners().get(name, [])
    if owners:
        shown = ", ".join(f"{owner} ({_whose(owner, name)})" for owner in owners[:3])
        more = f" and {len(owners) - 3} more" if len(owners) > 3 else ""
        return Suggestion(f", which is a field of {shown}{more}", False)
    hint = f"; did you mean '{near}'?" if near else ""
    return Suggestion(f", nor has any Caffe fork known here{hint}", False)


def _whose(owner: str, name: str) -> str:
    if is_ours(owner, name):
        return "ours"
    try:
        return fork_names(field_note(owner, name).forks)
    except KeyError:
        return "of the schema of one's own"


@cache
def _owners() -> dict[str, list[str]]:
    """Every field name of the schema -> the messages that have it, named as within package ``caffe``."""
    owners: dict[str, list[str]] = {}
    waiting = list(pool.SCHEMA.message_types_by_name.values())
    while waiting:
        message = waiting.pop(0)
        waiting.extend(message.nested_types)
        for field in message.fields if message.name != "V1LayerParameter" else ():  # all are LayerParameter's, too
            owners.setdefault(field.name, []).append(message.full_name.removeprefix(f"{PACKAGE}."))
    return owners


def _misspells(name: str, near: str) -> bool:
    """Whether `name` is a slip of the pen for `near`, rather than another field of the same family.

    One letter wrong, missing, doubled or swapped with its neighbor, two in names of eight letters or more, the first
    letter being right and ``_param`` not counting. Digits (``crop_size2``), whole words (``stride_h``) and another
    first letter (``gelu_param``) make other names of the same family.
    """
    a, b = name.lower(), near.lower()
    if a.endswith("_param") and b.endswith("_param"):
        a, b = a.removesuffix("_param"), b.removesuffix("_param")
    if a == b:
        return True
    if a[:1] != b[:1] or [c for c in a if c.isdigit()] != [c for c in b if c.isdigit()]:
        return False
    if a.startswith(b + "_") or b.startswith(a + "_") or a.endswith("_" + b) or b.endswith("_" + a):
        return False
    return distance(a, b) <= (2 if min(len(a), len(b)) >= 8 else 1)
