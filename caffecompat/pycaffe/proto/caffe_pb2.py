"""What protoc would generate for the merged schema: message classes, enums and their values by name.

The classes are real protobuf classes, so ``text_format.Merge``, ``SerializeToString`` and the like work on them. They
come from :mod:`caffecompat.schema.pb` and hence know the fields of every Caffe fork.

>>> from caffecompat.pycaffe.proto import caffe_pb2
>>> caffe_pb2.PoolingParameter.PoolMethod.Name(caffe_pb2.PoolingParameter.AVE)
'AVE'
"""

from __future__ import annotations

from functools import cache
from typing import Any

from caffecompat.pycaffe.field_values import accept_numbers
from caffecompat.schema import pb, pool

accept_numbers()

DESCRIPTOR = pool.SCHEMA


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        found = _descriptors().get(name)
        if found is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return found
    return getattr(pb, name)


def __dir__() -> list[str]:
    return ["DESCRIPTOR", *pool.names()]


@cache
def _descriptors() -> dict[str, object]:
    """Descriptors under protoc's old private names, ``_V1LAYERPARAMETER_LAYERTYPE``, which scripts look into."""
    found: dict[str, object] = {f"_{name.upper()}": enum for name, enum in pool.SCHEMA.enum_types_by_name.items()}
    waiting = [("", message) for message in pool.SCHEMA.message_types_by_name.values()]
    while waiting:
        prefix, message = waiting.pop()
        name = f"{prefix}_{message.name.upper()}"
        found[name] = message
        found.update((f"{name}_{enum.name.upper()}", enum) for enum in message.enum_types)
        waiting += [(name, nested) for nested in message.nested_types]
    return found
