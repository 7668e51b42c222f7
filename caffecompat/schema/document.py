"""Files of nets and solvers, read and brought to today's form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.message import DecodeError, Message

from caffecompat import glog
from caffecompat.arguments import expect_message
from caffecompat.files import decode_text, is_utf16, read_whole
from caffecompat.forks import Fork, ForkChoice, ForkName
from caffecompat.schema import pb
from caffecompat.schema.detect import choose_fork
from caffecompat.schema.fields import table_of
from caffecompat.schema.problems import Problem, PrototxtError, SourceLocations, Text
from caffecompat.schema.text_reader import Reading, read_text, warn
from caffecompat.schema.unknown_fields import AnyMessage
from caffecompat.schema.upgrade import Origin, needs_upgrade, rewrite_snapshot_prefix, upgrade_net, upgrade_solver
from caffecompat.wording import nearest

__all__ = [
    "NetDocument",
    "NetSource",
    "as_document",
    "kind_of",
    "open_net",
    "open_net_binary",
    "open_solver",
    "read_message",
    "read_net",
    "read_solver",
    "solver_locations",
]

PathLike = str | os.PathLike[str]

_LOOKED_AT = 1000  # characters, for what no prototxt begins with
_RAW = "expected a prototxt; download the file itself (on GitHub: Raw), not the page that shows it"
_FOREIGN = (
    ("<?xml", "an XML file; expected a prototxt"),
    ("<", f"a web page (HTML); {_RAW}"),
    ("404: not found", "what a server says when it lacks the file; expected a prototxt: download it again"),
    ("version https://git-lfs", "a Git LFS pointer; fetch the file itself with 'git lfs pull'"),
)


@dataclass
class NetDocument:
    """A net in today's form, and where it came from.

    Attributes:
        message: the upgraded ``pb.NetParameter``.
        path: the file's name as the user wrote it, or a name for a net made in memory.
        relative_to: the file next to which the net's relative paths may lead: `path`, or the solver's for a net inside
            it.
        fork_choice: whose rules the net follows, and why.
        upgraded: the net was in an older form.
    """

    message: pb.NetParameter
    path: str
    fork_choice: ForkChoice
    upgraded: bool
    _locations: SourceLocations = field(repr=False)
    _origins: list[Origin] = field(repr=False)
    relative_to: str = ""

    def __post_init__(self) -> None:
        self.relative_to = self.relative_to or self.path

    @property
    def fork(self) -> Fork:
        """The Caffe whose rules the net follows."""
        return self.fork_choice.fork

    @classmethod
    def from_message(
        cls,
        message: pb.NetParameter,
        path: str = "<net>",
        *,
        fork: ForkName | None = None,
        otherwise: ForkChoice | None = None,
        like: ForkChoice | None = None,
        relative_to: str | None = None,
    ) -> NetDocument:
        """A document of a net made in memory; `message` itself is left as it is.

        Args:
            fork: whose rules it follows, where the caller names it.
            otherwise: whose, where neither a person nor the text says anything.
            like: the choice made for the net that this is a changed copy of: the text may no longer show it.
            relative_to: the file that the message was read from, next to which its relative paths may lead.
        """
        copy = pb.NetParameter()
        copy.CopyFrom(message)
        locations = SourceLocations(path)
        if like is None:
            like = _choose(copy, locations, fork, otherwise)
        made = cls._upgraded(copy, locations, like)
        made.relative_to = relative_to or path
        return made

    @classmethod
    def _upgraded(cls, message: pb.NetParameter, locations: SourceLocations, choice: ForkChoice) -> NetDocument:
        old = needs_upgrade(message, choice.fork)
        origins = upgrade_net(message, locations, choice.fork)
        return cls(message, locations.name, choice, old, locations, origins)

    def keeping(self, layers: Sequence[int]) -> NetDocument:
        """The same net with only these layers (indices into ``message.layer``), each still knowing its place."""
        message = pb.NetParameter()
        message.CopyFrom(self.message)
        del message.layer[:]
        message.layer.extend(self.message.layer[index] for index in layers)
        origins = [self._origins[index] for index in layers]
        return NetDocument(
            message, self.path, self.fork_choice, self.upgraded, self._locations, origins, self.relative_to
        )

    def where(self, layer_index: int) -> str:
        """``file:line:column`` of ``message.layer[layer_index]`` as the user wrote it; the name alone in memory."""
        return self._locations.where(*self._origins[layer_index])

    def where_field(self, field: str) -> str:
        """The same of a field of the net as a whole."""
        return self._locations.where(field)


def _choose(
    message: pb.NetParameter, locations: SourceLocations, fork: ForkName | None, otherwise: ForkChoice | None
) -> ForkChoice:
    choice = choose_fork(message, locations, fork, otherwise)
    if choice.why:
        glog.info(f"{locations.name}: {choice}")
    return choice


def open_net(
    path: PathLike, strict: bool = False, *, fork: ForkName | None = None, otherwise: ForkChoice | None = None
) -> NetDocument:
    """Read a net's prototxt of any age, bring it to today's form and remember where its layers are.

    Args:
        strict: fields that no schema knows are errors.
        fork: whose rules the net follows ("jacinto", ``Fork.JACINTO``); None is what ``--fork`` or
            ``caffecompat.pycaffe.set_fork`` named, else what the text shows.
        otherwise: whose, where neither a person nor the text says anything.

    Raises:
        PrototxtError: the file cannot be read or is not a net; every problem is in it.
        CaffeCompatError: no fork has that name.
    """
    message, locations = _read(path, pb.NetParameter(), strict)
    return NetDocument._upgraded(message, locations, _choose(message, locations, fork, otherwise))


def read_net(path: PathLike, *, strict: bool = False, fork: ForkName | None = None) -> pb.NetParameter:
    """The ``pb.NetParameter`` of a prototxt, in today's form (V0 and V1 layers, input fields, BatchNorm upgraded).

    Args:
        path: of the file.
        strict: fields that no schema knows are errors; else they are kept, with a warning each.
        fork: the Caffe whose rules hold ("jacinto", ``Fork.JACINTO``) where the text cannot show it.

    Raises:
        PrototxtError: the file cannot be read or is not a net; every problem is in it.
        CaffeCompatError: no fork has that name.

    >>> import caffecompat
    >>> net = caffecompat.read_net("deploy.prototxt")
    >>> [(layer.name, layer.type) for layer in net.layer]
    [('data', 'Input'), ('conv', 'Convolution'), ('fc', 'InnerProduct'), ('prob', 'Softmax')]
    """
    return open_net(path, strict, fork=fork).message


def read_solver(path: PathLike, *, strict: bool = False) -> pb.SolverParameter:
    """The ``pb.SolverParameter`` of a prototxt; ``solver_type`` becomes ``type``, ``snapshot_prefix`` is completed.

    The prefix follows BVLC Caffe: absent, it is the file's path without extension; an existing folder, that folder
    and the file's stem; anything else, "" too, is taken as it is.

    Args:
        path: of the file.
        strict: fields that no schema knows are errors; else they are kept, with a warning each.

    Raises:
        PrototxtError: the file cannot be read or is not a solver; every problem is in it.

    >>> import caffecompat
    >>> solver = caffecompat.read_solver("solver.prototxt")
    >>> (solver.net, solver.lr_policy, solver.snapshot_prefix)
    ('train_val.prototxt', 'fixed', 'solver')
    """
    solver, _ = open_solver(path, strict=strict)
    rewrite_snapshot_prefix(solver, os.fspath(path))
    return solver


NetSource: TypeAlias = "PathLike | NetDocument | pb.NetParameter"  # what a net can be given as


def as_document(net: NetSource, *, strict: bool = False, fork: ForkName | None = None) -> NetDocument:
    """A net given in any way: the path of a prototxt, a ``pb.NetParameter``, or a document, which is returned as it is.

    Args:
        strict: of a path: unknown fields are errors.
        fork: the Caffe whose rules hold, where the text cannot show it; a document has its own.

    Raises:
        PrototxtError: the file cannot be read or is not a net.
        CaffeCompatError: no fork has that name.
    """
    if isinstance(net, NetDocument):
        return net
    if isinstance(net, Message):
        expect_message(net, "NetParameter", "or the path of a net's prototxt")
        return NetDocument.from_message(net, fork=fork)
    return open_net(net, strict, fork=fork)


def open_solver(path: PathLike, *, strict: bool = False) -> tuple[pb.SolverParameter, bool]:
    """The ``pb.SolverParameter`` of a prototxt, its ``snapshot_prefix`` as written; whether it was of an older form.

    Raises:
        PrototxtError: the file cannot be read or is not a solver; every problem is in it.
    """
    solver, locations = _read(path, pb.SolverParameter(), strict)
    return solver, upgrade_solver(solver, locations)


def solver_locations(path: PathLike) -> SourceLocations:
    """Where the fields of a solver's prototxt stand, for messages about their values.

    Raises:
        PrototxtError: the file cannot be read or is not a solver.
    """
    return _read(path, pb.SolverParameter(), False)[1]


def read_message(path: PathLike, message: AnyMessage, *, strict: bool = False) -> AnyMessage:
    """Read a prototxt into `message` as it is, nothing upgraded (label maps, solvers to rewrite); returns it.

    Raises:
        PrototxtError: the file cannot be read or is no such message.
    """
    return _read(path, message, strict)[0]


def open_net_binary(path: PathLike) -> NetDocument:
    """The net of a binary file of any age (a caffemodel, blobs included), in today's form.

    Weights are loaded by ``caffecompat.formats``, which is faster and knows the forks' files; this is for upgrading.

    Raises:
        PrototxtError: the file cannot be read or is not a binary net.
    """
    name, data = os.fspath(path), _bytes(path)
    net = pb.NetParameter()
    try:
        net.ParseFromString(data)
    except DecodeError:
        what = " (it looks like text)" if _guess_binary(data) is None else ""
        raise PrototxtError([Problem(name, 0, 0, f"not a binary net{what}, or cut off")]) from None
    locations = SourceLocations(name)
    return NetDocument._upgraded(net, locations, _choose(net, locations, None, None))


def kind_of(path: PathLike) -> str:
    """ "net" or "solver": as which of them a prototxt has fewer unknown fields (a net where both would do).

    Raises:
        PrototxtError: the file cannot be read as text.
    """
    text = Text(os.fspath(path), _decode(os.fspath(path), _bytes(path)))
    as_net = read_text(text, pb.NetParameter()).unknown_at_top
    return "solver" if as_net and len(read_text(text, pb.SolverParameter()).unknown_at_top) < len(as_net) else "net"


def _read(path: PathLike, message: AnyMessage, strict: bool) -> tuple[AnyMessage, SourceLocations]:
    text = Text(os.fspath(path), _decode(os.fspath(path), _bytes(path)))
    reading = read_text(text, message, strict)
    _check_kind(text, message, reading)
    if reading.problems:
        raise PrototxtError(reading.problems)
    _warn_once(text, reading)
    return message, SourceLocations(text.name, text, reading.offsets)


_warned: set[tuple[str, int]] = set()  # files and their contents


def _warn_once(text: Text, reading: Reading) -> None:
    """Warn of what a file holds, not again where it is read again (for training and for testing)."""
    seen = os.path.abspath(text.name), hash(text.characters)
    if seen not in _warned:
        _warned.add(seen)
        warn(reading)


def _check_kind(text: Text, message: Message, reading: Reading) -> None:
    """A solver given for a net, or the reverse, is one mistake, not one a line."""
    strangers = reading.unknown_at_top
    if not strangers or len(reading.offsets) >= len(strangers):
        return
    kinds = {"NetParameter": "net", "SolverParameter": "solver", "LabelMap": "label map"}
    wanted = kinds.get(message.DESCRIPTOR.name, message.DESCRIPTOR.name)
    for kind, found in kinds.items():
        known = table_of(getattr(pb, kind).DESCRIPTOR).fields
        if found != wanted and all(name in known for name in strangers):
            shown = ", ".join(dict.fromkeys(strangers[:3]))
            raise PrototxtError([Problem(text.name, 0, 0, f"this is a {found} (it has {shown}); expected a {wanted}")])


def _bytes(path: PathLike) -> bytes:
    name = os.fspath(path)
    try:
        return read_whole(name)
    except FileNotFoundError:
        raise PrototxtError([Problem(name, 0, 0, f"there is no such file{_near(name)}")]) from None
    except IsADirectoryError:
        raise PrototxtError([Problem(name, 0, 0, "this is a folder; expected a file")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PrototxtError([Problem(name, 0, 0, f"cannot be read: {reason}")]) from None


def _near(name: str) -> str:
    """The rest of "there is no such file": what is like it there, or where it was looked for."""
    folder, base = os.path.split(name)
    try:
        found = nearest(base, os.listdir(folder or "."))
    except OSError:
        return f"; the folder {folder} does not exist either"
    if found:
        return f"; did you mean {os.path.join(folder, found)}?"
    return "" if os.path.isabs(name) else f" (looked for from {os.getcwd()})"


def _decode(name: str, data: bytes) -> str:
    guess = None if is_utf16(data) else _guess_binary(data)
    if guess:
        raise PrototxtError([Problem(name, 0, 0, f"this is a binary file ({guess}); expected prototxt text")])
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        text = data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    start = text[:_LOOKED_AT].lstrip().lower()
    for beginning, what in _FOREIGN:
        if start.startswith(beginning):
            raise PrototxtError([Problem(name, 0, 0, f"this is {what}")])
    return text


def _guess_binary(data: bytes) -> str | None:
    """What kind of binary file it is, or None for text."""
    head = data[:4096]
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return None
    for magic, kind in ((b"\x89HDF", "HDF5"), (b"\x89PNG", "a PNG picture"), (b"\xff\xd8", "a JPEG picture")):
        if head.startswith(magic):
            return kind
    return "perhaps a caffemodel" if head[:1] in (b"\x0a", b"\x12", b"\xa2") else "not text"
