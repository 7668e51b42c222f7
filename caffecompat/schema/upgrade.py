"""Old forms of nets and solvers brought to today's, in the order of BVLC Caffe's upgrade_proto.cpp."""

from __future__ import annotations

import os

from caffecompat import glog
from caffecompat.forks import Fork
from caffecompat.schema import pb
from caffecompat.schema.fork_fields import forks_fields, rename_forks_fields
from caffecompat.schema.fork_types import fork_types, rename_fork_types
from caffecompat.schema.fused_layers import fused_fields, split_fused_layers
from caffecompat.schema.problems import PrototxtError, SourceLocations
from caffecompat.schema.upgrade_v0 import is_v0, upgrade_v0
from caffecompat.schema.upgrade_v1 import has_old_transform, is_v1, upgrade_transform, upgrade_v1

__all__ = ["Origin", "needs_upgrade", "rewrite_snapshot_prefix", "upgrade_net", "upgrade_solver"]

Origin = tuple[str, int]  # field of the original message and index in it: what a layer was made from

_SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")  # in order of the enum
_C3D_TYPES = frozenset({"Convolution3D", "Deconvolution3D", "Pooling3D"})


def upgrade_net(net: pb.NetParameter, locations: SourceLocations, fork: Fork = Fork.BVLC) -> list[Origin]:
    """Bring a NetParameter to today's form, in place.

    V0 layers, then V1 data transformations, V1 layers, ``input`` fields, forks' names of BVLC's fields and layer types,
    Intel's fused layers, and (not where ``fork.learns_batch_norm``) the three ``param`` of BatchNorm layers, which are
    frozen. Each step that has something to do says so in the log.

    Returns:
        for each layer of the result, what it was made from.

    Raises:
        PrototxtError: the net mixes forms, an old form is not well made, or a fork's field and BVLC's disagree.
    """
    origins: list[Origin] = [("layer", index) for index in range(len(net.layer))]
    if is_v1(net):
        stays = list(range(len(net.layers)))
        if is_v0(net):
            _say(locations, "V0LayerParameter")
            stays = upgrade_v0(net, locations)
        if has_old_transform(net):
            _say(locations, "transformation parameters")
            upgrade_transform(net)
        _say(locations, "V1LayerParameter")
        upgrade_v1(net, locations)
        origins = [("layers", index) for index in stays]
    if _has_input_fields(net):
        _say(locations, "input fields")
        if _upgrade_input(net, locations):
            origins.insert(0, ("input", 0))
    foreign = _foreign_fields(net)
    if foreign:
        _say(locations, ", ".join(foreign))
        rename_forks_fields(net, locations, origins)
    types = fork_types(net)
    if types:
        _say(locations, f"layer types of forks ({', '.join(types)})")
        rename_fork_types(net, locations, origins)
    fused = fused_fields(net)
    if fused:
        _say(locations, f"fused layers ({', '.join(fused)})")
        origins = split_fused_layers(net, locations, origins)
    for layer in _old_batch_norms(net, fork):
        for param in layer.param:
            param.lr_mult = param.decay_mult = 0
    return origins


def needs_upgrade(net: pb.NetParameter, fork: Fork = Fork.BVLC) -> bool:
    """Whether ``upgrade_net`` has anything to do."""
    return (
        is_v1(net)
        or _has_input_fields(net)
        or bool(_foreign_fields(net) or fork_types(net) or fused_fields(net) or _old_batch_norms(net, fork))
    )


def _foreign_fields(net: pb.NetParameter) -> list[str]:
    """Forks' fields, each once, that today's layers set where BVLC has another."""
    return list(dict.fromkeys(name for layer in net.layer for name in forks_fields(layer)))


def _has_input_fields(net: pb.NetParameter) -> bool:
    return bool(net.input or net.input_dim or net.input_shape)


def _old_batch_norms(net: pb.NetParameter, fork: Fork) -> list[pb.LayerParameter]:
    """BatchNorm layers that name a param for each of their three statistics, which must stay frozen."""
    if fork.learns_batch_norm:
        return []
    return [layer for layer in net.layer if layer.type == "BatchNorm" and len(layer.param) == 3]


def _say(locations: SourceLocations, what: str) -> None:
    glog.info(f"Upgrading {locations.name}, which is specified using deprecated {what}", "upgrade_proto.cpp:53")


def _upgrade_input(net: pb.NetParameter, locations: SourceLocations) -> bool:
    """Turn ``input`` with its shapes into an Input layer at the front; names without any shape are dropped.

    Of ``input_dim``, four belong to each input; five in C3D (v1.0, net.cpp), whose blobs have a length.
    """
    names, shapes, dims = list(net.input), list(net.input_shape), list(net.input_dim)
    axes = 5 if any(layer.type in _C3D_TYPES for layer in net.layer) else 4
    if shapes or dims:
        given, needed = (len(shapes), len(names)) if shapes else (len(dims), axes * len(names))
        field, each = ("input_shape", "one") if shapes else ("input_dim", {4: "four", 5: "five"}[axes])
        if given < needed:
            what = f"a net with {len(names)} input needs {needed} {field}, {each} for each input; it has {given}"
            raise PrototxtError([locations.problem("input", 0, what)])
        if given > needed:
            what = f"{field} beyond the {needed} that {len(names)} input take ({each} each) have no effect, as in Caffe"
            glog.warning(f"{locations.problem(field, needed, what).where}: {what}", "upgrade_proto.cpp:1028")
        layer = pb.LayerParameter(name="input", type="Input", top=names)
        layer.input_param.SetInParent()
        for index in range(len(names)):
            shape = layer.input_param.shape.add()
            shape.dim.extend(shapes[index].dim if shapes else dims[axes * index : axes * (index + 1)])
        net.layer.insert(0, layer)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
    return bool(shapes or dims)


def upgrade_solver(solver: pb.SolverParameter, locations: SourceLocations) -> bool:
    """Turn the enum ``solver_type`` into the string ``type``, in place; True where there was something to do.

    Raises:
        PrototxtError: the solver has both.
    """
    if not solver.HasField("solver_type"):
        return False
    if solver.HasField("type"):
        text = f"solver_type (the older form) and type (at {locations.where('type')}) are both given; keep type only"
        raise PrototxtError([locations.problem("solver_type", 0, text)])
    _say(locations, "solver_type")
    solver.type = _SOLVER_TYPES[solver.solver_type]
    solver.ClearField("solver_type")
    return True


def rewrite_snapshot_prefix(solver: pb.SolverParameter, path: str) -> None:
    """Complete ``snapshot_prefix`` from the solver's file name, in place, as BVLC Caffe does.

    Absent, it becomes the file's path without extension; a folder that exists, that folder and the file's name
    without extension. A prefix given as "" stays "": its snapshots are named ``_iter_N.caffemodel``.
    """
    stem = os.path.splitext(path)[0]
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = stem
        glog.info(f"snapshot_prefix was not specified and is set to {stem}", "upgrade_proto.cpp:1111")
    elif os.path.isdir(solver.snapshot_prefix):
        solver.snapshot_prefix = os.path.join(solver.snapshot_prefix, os.path.basename(stem))
        glog.info(
            f"snapshot_prefix was a directory and is replaced to {solver.snapshot_prefix}", "upgrade_proto.cpp:1119"
        )
