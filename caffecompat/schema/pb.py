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


def __getattr__(name: str) -> Any:
    value = pool.lookup(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return pool.names()
