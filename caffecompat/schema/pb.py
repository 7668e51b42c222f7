"""Message classes and enum values of the merged Caffe schema, named as protoc's ``caffe_pb2`` names them.

>>> from caffecompat.schema import pb
>>> pb.NetParameter(name="LeNet").name
'LeNet'
>>> pb.TEST, pb.PoolingParameter.AVE
(1, 1)

Classes are made when first asked for, so importing this module costs a few milliseconds.
"""

from __future__ import annotations

from typing import Any

from caffecompat.schema import pool

_handed_out = False


def in_use() -> bool:
    """Whether a class was asked for already, so that the schema can no longer change."""
    return _handed_out


def __getattr__(name: str) -> Any:
    global _handed_out
    value = pool.lookup(name)
    _handed_out = True
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return pool.names()
