"""Sources of which each process that trains has its own: ``train_%r_lmdb``, where %r is the number of the process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from google.protobuf.message import Message

from caffecompat.data.share import Share
from caffecompat.errors import CaffeCompatError
from caffecompat.paths import look_up
from caffecompat.schema import pb

__all__ = ["with_own_paths"]

_OWN = re.compile(r"%(\d*)r")
_NUMBERS = re.compile(r"%(\d*)([rn])")


def with_own_paths(
    layer: pb.LayerParameter, share: Share, relative_to: str | os.PathLike[str] | None, *, train: bool = True
) -> pb.LayerParameter | None:
    """A data layer with this process's number for %r, and how many there are for %n, in its paths; None without any %r.

    A width can be between: ``big_lmdb/shard-%05r-of-%05n`` are the shards of ``lmdb build --shards``. A path that is
    there as it is written is no pattern.

    Raises:
        CaffeCompatError: the layer is of a test net; one process trains alone; or there is a source for one more
            process than there are.

    >>> layer = pb.LayerParameter(type="Data", data_param={"source": "train_%r_lmdb"})
    >>> with_own_paths(layer, Share(1, 2), None).data_param.source
    'train_1_lmdb'
    """
    own = pb.LayerParameter()
    own.CopyFrom(layer)
    found = False
    for message, field, text in _texts(own):
        if not _OWN.search(text) or look_up(text, relative_to) is not None:
            continue
        found = True
        if not train:
            raise CaffeCompatError(f"{field} {text!r}: %r is for TRAIN layers; all processes test with the same data")
        if share.size == 1:
            raise CaffeCompatError(
                f"{field} {text!r}: %r is the number of the process, and this one trains alone; start several "
                "(--processes, --gpu with several numbers, torchrun) or name one source"
            )
        beyond = look_up(_filled(text, share.size, share.size), relative_to)
        if beyond is not None:
            raise CaffeCompatError(
                f"{field} {text!r}: {share.size} processes read the numbers 0 to {share.size - 1}, and there is "
                f"{beyond}, too; start as many processes as there are sources"
            )
        setattr(message, field, _filled(text, share.rank, share.size))
    return own if found else None


def _texts(message: Message) -> Iterator[tuple[Message, str, str]]:
    """The texts that are set in the messages of a layer: the message, the field and the text of each."""
    for _, value in message.ListFields():
        if isinstance(value, Message):
            for inner, inner_value in value.ListFields():
                if isinstance(inner_value, str):
                    yield value, inner.name, inner_value


def _filled(text: str, rank: int, size: int) -> str:
    return _NUMBERS.sub(lambda match: f"{rank if match[2] == 'r' else size:{match[1]}d}", text)
