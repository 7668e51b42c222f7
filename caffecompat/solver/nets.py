"""Which nets a SolverParameter names: one to train, any number to test; and whose rules it follows itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caffecompat import data, glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork, ForkChoice, ForkName
from caffecompat.net import Net
from caffecompat.paths import find_file
from caffecompat.schema import NetDocument, detect_fork, find_evidence, open_net, open_solver, pb
from caffecompat.schema.pool import is_repeated
from caffecompat.solver.overrides import LayerSettings

__all__ = ["NetReader", "OwnLayers", "make_test_nets", "make_train_net", "net_of_solver", "shown_fork", "update_fork"]


@dataclass(frozen=True)
class NetReader:
    """How the nets of a solver are read.

    Attributes:
        path: the solver's file, next to which the nets and what they name may lie; None without one.
        strict: unknown fields are errors.
        fork, otherwise: whose rules the nets follow, as for :func:`caffecompat.schema.open_net`.
    """

    path: str | None = None
    strict: bool = False
    fork: ForkName | None = None
    otherwise: ForkChoice | None = None

    def find(self, name: str, field: str) -> str:
        """Where the file of a net is that the solver's `field` names."""
        return find_file(name, self.path, field=f"{self.where}: {field}")

    @property
    def where(self) -> str:
        """The solver's name in messages."""
        return self.path or "solver"

    def file(self, path: str) -> NetDocument:
        return open_net(path, self.strict, fork=self.fork, otherwise=self.otherwise)

    def message(self, message: pb.NetParameter, field: str) -> NetDocument:
        return NetDocument.from_message(message, field, fork=self.fork, otherwise=self.otherwise, relative_to=self.path)


def net_of_solver(path: str, phase: int, *, strict: bool = False) -> NetDocument:
    """The net that a solver's prototxt holds or names, for looking at it; its state is the solver's for that phase.

    Of ``train_net_param``, ``train_net``, ``net_param`` and ``net`` the first that is there; in TEST those that begin
    with ``test_``.

    Raises:
        CaffeCompatError: the solver or its net cannot be read, or it names none.
    """
    param, _ = open_solver(path, strict=strict)
    train, test = ["train_net_param", "train_net"], ["test_net_param", "test_net"]
    reader = NetReader(path, strict)
    for name in (*(train if phase == pb.TRAIN else test), "net_param", "net", *train, *test):
        value = getattr(param, name)
        if is_repeated(param.DESCRIPTOR.fields_by_name[name]):
            value = value[0] if value else None
        elif not param.HasField(name):
            value = None
        if value is None:
            continue
        document = (
            reader.file(reader.find(value, name))
            if isinstance(value, str)
            else reader.message(value, f"{path}: {name}")
        )
        states = [param.train_state] if phase == pb.TRAIN else list(param.test_state)
        _add_state(document.message.state, states[0] if states else pb.NetState())
        glog.info(f"{path} is a solver; this is the net of its {name}")
        return document
    raise CaffeCompatError(f'{path}: is a solver that names no net; add net: "train_val.prototxt"')


def _add_state(state: pb.NetState, more: pb.NetState) -> None:
    """Put a solver's wishes into a net's own state."""
    if more.HasField("level"):
        state.level = more.level
    state.stage.extend(stage for stage in more.stage if stage not in state.stage)


def make_train_net(param: pb.SolverParameter, settings: LayerSettings, reader: NetReader) -> Net:
    """The net of ``net``, ``net_param``, ``train_net`` or ``train_net_param``, in phase TRAIN.

    Raises:
        CaffeCompatError: none of the four is given, or several.
    """
    given = [
        name
        for name, has in (
            ("net", param.HasField("net")),
            ("net_param", param.HasField("net_param")),
            ("train_net", param.HasField("train_net")),
            ("train_net_param", param.HasField("train_net_param")),
        )
        if has
    ]
    where = reader.where
    if not given:
        raise CaffeCompatError(f'{where}: names no net to train; add net: "train_val.prototxt" (or train_net)')
    if len(given) > 1:
        raise CaffeCompatError(f"{where}: names the training net {len(given)} times ({', '.join(given)}); keep one")
    value = getattr(param, given[0])
    if isinstance(value, str):
        file = reader.find(value, given[0])
        glog.info(f"Creating training net from {given[0].replace('_', ' ')} file: {file}", "solver.cpp:102")
        document = reader.file(file)
    else:
        glog.info(f"Creating training net specified in {given[0]}.", "solver.cpp:107")
        document = reader.message(value, given[0])
    return _build(document, pb.TRAIN, param.train_state, settings)


def make_test_nets(param: pb.SolverParameter, settings: LayerSettings, reader: NetReader) -> list[Net]:
    """The test nets: test_net_param, then test_net, then the generic net for the test_iters that remain.

    Raises:
        CaffeCompatError: test_iter, test_state and the test nets do not agree in number, or test_interval is missing.
    """
    documents = list(_test_documents(param, reader))
    if not documents:
        return []
    where = reader.where
    if len(param.test_iter) != len(documents):
        raise CaffeCompatError(f"{where}: {len(documents)} test nets but {len(param.test_iter)} test_iter")
    if not param.test_interval:
        raise CaffeCompatError(f"{where}: test_iter is given but test_interval is not; add test_interval: N")
    if len(param.test_state) not in (0, len(documents)):
        raise CaffeCompatError(f"{where}: {len(param.test_state)} test_state for {len(documents)} test nets")
    nets = []
    for index, (label, document) in enumerate(documents):
        glog.info(f"Creating test net (#{index}) specified by {label}", "solver.cpp:190")
        state = param.test_state[index] if param.test_state else pb.NetState()
        nets.append(_build(document, pb.TEST, state, settings))
    return nets


def _test_documents(param: pb.SolverParameter, reader: NetReader) -> Iterator[tuple[str, NetDocument]]:
    for message in param.test_net_param:
        yield "test_net_param", reader.message(message, "test_net_param")
    for name in param.test_net:
        file = reader.find(name, "test_net")
        yield f"test_net file: {file}", reader.file(file)
    rest = len(param.test_iter) - len(param.test_net_param) - len(param.test_net)
    for _ in range(rest):
        if param.HasField("net_param"):
            yield "net_param", reader.message(param.net_param, "net_param")
        elif param.HasField("net"):
            file = reader.find(param.net, "net")
            yield f"net file: {file}", reader.file(file)
        else:
            raise CaffeCompatError(f"{reader.where}: more test_iter than test nets, and no generic net")


def _build(document: NetDocument, phase: int, solver_state: pb.NetState, settings: LayerSettings) -> Net:
    settings.apply(document)
    level = solver_state.level if solver_state.HasField("level") else None
    phase = solver_state.phase if solver_state.HasField("phase") else phase
    return Net(document, phase, level=level, stages=tuple(solver_state.stage), sources=data.make_source,
               learning=settings.learning, amp=settings.amp)  # fmt: skip


def shown_fork(param: pb.SolverParameter, path: str | None) -> ForkChoice | None:
    """What a solver's own fields say of the fork."""
    found = find_evidence(param)
    return ForkChoice(found.fork, f"as {found.what} in {path or 'the solver'} shows") if found else None


def update_fork(param: pb.SolverParameter, net: Net) -> Fork:
    """The fork whose update rules hold: named, or shown by the solver, the net, or the weights it began with.

    Texts of NVCaffe's solvers can look like BVLC's; weights in its own blob format then tell them apart.
    """
    if net.fork_choice.named:
        return net.fork
    shown = [detect_fork(param), net.fork, net.weights_writer or Fork.BVLC]
    return next((fork for fork in shown if fork is not Fork.BVLC), Fork.BVLC)


class OwnLayers:
    """The layers of a solver's nets, as they are when it is made: it updates, shares and stores their parameters."""

    def __init__(self, nets: Sequence[Net]) -> None:
        self._nets = nets
        self._modules = [(layer, layer.module) for net in nets for layer in net.layers]

    def require(self) -> None:
        """Make sure that the nets compute with these layers.

        Raises:
            CaffeCompatError: a layer was replaced or removed, or a module with parameters was added.
        """
        for net in self._nets:
            net.require_own_layers()
        for layer, module in self._modules:
            if layer.module is not module:
                raise CaffeCompatError(
                    f"layer {layer.name!r} ({layer.type}) was replaced in a net that a solver trains; write into the "
                    "blobs of the layer that was there, or load its weights from a file"
                )
