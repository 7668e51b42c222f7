"""Which Caffes read a prototxt: those that have its layer types and its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message

from caffecompat.forks import Fork
from caffecompat.schema.dialects import field_note, fork_names, is_ours, layer_forks
from caffecompat.schema.pool import PACKAGE
from caffecompat.wording import few

__all__ = ["RECORDED", "readers_of", "readers_table", "who_has"]

RECORDED = (
    Fork.BVLC, Fork.SSD, Fork.JACINTO, Fork.JACINTO16, Fork.JACINTO15, Fork.XILINX, Fork.ENET, Fork.PSPNET,
    Fork.DEEPLAB,
)  # fmt: skip
"""The Caffes that are judged: the schema's comments name every field of theirs beyond BVLC's.

SegNet's is not among them: it left BVLC's in 2015, and what it lacks of BVLC's later fields is not recorded.
"""

_OF_2018 = "PoolingParameter.round_mode"  # which BVLC got when the others had left it


def who_has(message: Message) -> dict[str, tuple[Fork, ...]]:
    """Every layer type and field that a message sets, the messages in it included -> the recorded Caffes that have it.

    Fields are named by their message (``BatchNormParameter.scale_filler``), layer types as ``type "Interp"``.
    """
    return {name: tuple(fork for fork in RECORDED if fork in forks) for name, forks in _parts(message)}


def _parts(message: Message) -> Iterator[tuple[str, tuple[Fork, ...]]]:
    kind = message.DESCRIPTOR.full_name.removeprefix(f"{PACKAGE}.")
    for field, value in message.ListFields():
        name = f"{kind}.{field.name}"
        if is_ours(kind, field.name):
            yield name, ()
            continue
        forks = field_note(kind, field.name).forks
        old = RECORDED if forks == (Fork.BVLC,) else forks
        yield name, (Fork.BVLC,) if name == _OF_2018 else old
        if name == "LayerParameter.type":
            yield f'type "{value}"', layer_forks(value)
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _parts(part)


def readers_of(message: Message) -> tuple[Fork, ...]:
    """The recorded Caffes that have all of its layer types and fields.

    >>> from caffecompat.schema import parse_text, pb
    >>> readers_of(parse_text('layer { type: "Interp" interp_param { zoom_factor: 2 } }', pb.NetParameter()))
    (<Fork.PSPNET: 'PSPNet Caffe'>, <Fork.DEEPLAB: 'DeepLab Caffe'>)
    """
    needed = who_has(message).values()
    return tuple(fork for fork in RECORDED if all(fork in forks for forks in needed))


def readers_table(files: Mapping[str, Message]) -> list[str]:
    """A table for a README: files, the Caffes that read them, or what none of them has.

    Args:
        files: name -> content; files with one answer share a row.
    """
    rows: dict[str, list[str]] = {}
    for name, message in files.items():
        rows.setdefault(_answer(message), []).append(f"`{name}`")
    return ["| files | read by |", "|---|---|", *(f"| {', '.join(names)} | {text} |" for text, names in rows.items())]


def _answer(message: Message) -> str:
    readers = readers_of(message)
    if readers:
        return "all of these" if readers == RECORDED else fork_names(readers)
    return f"caffecompat alone: {_conflict(who_has(message))}"


def _conflict(needed: Mapping[str, Sequence[Fork]]) -> str:
    """What none has; or, where each thing is somebody's, things that nobody has all of."""
    missing = [name for name, forks in needed.items() if not forks]
    if missing:
        return f"none of these has {few(missing)}"
    special = {name: forks for name, forks in needed.items() if set(forks) != set(RECORDED)}
    by_forks = {tuple(forks): name for name, forks in reversed(special.items())}
    texts = [f"{name} is of {fork_names(forks)}" for forks, name in by_forks.items()]
    return f"none of these has all of it: {'; '.join(texts)}"
