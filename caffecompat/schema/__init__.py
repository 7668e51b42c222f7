"""Reading and writing Caffe's messages: the merged schema, prototxt text, upgrades of old formats.

>>> from caffecompat.schema import parse_text, pb, write_text
>>> print(write_text(parse_text('name: "LeNet" layer { type: "ReLU" }', pb.NetParameter())), end="")
name: "LeNet"
layer {
  type: "ReLU"
}
"""

from caffecompat.schema import pb
from caffecompat.schema.detect import detect_fork, find_evidence
from caffecompat.schema.document import (
    NetDocument,
    NetSource,
    as_document,
    kind_of,
    open_net,
    open_net_binary,
    open_solver,
    read_message,
    read_net,
    read_solver,
    solver_locations,
)
from caffecompat.schema.phase import as_phase
from caffecompat.schema.problems import Problem, PrototxtError
from caffecompat.schema.text_reader import parse_block, parse_text
from caffecompat.schema.text_writer import write_text
from caffecompat.schema.unknown_fields import without_unknown_fields

__all__ = [
    "NetDocument",
    "NetSource",
    "Problem",
    "PrototxtError",
    "as_document",
    "as_phase",
    "detect_fork",
    "find_evidence",
    "kind_of",
    "open_net",
    "open_net_binary",
    "open_solver",
    "parse_block",
    "parse_text",
    "pb",
    "read_message",
    "read_net",
    "read_solver",
    "solver_locations",
    "without_unknown_fields",
    "write_text",
]
