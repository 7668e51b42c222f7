"""Two nets compared: what counts, what does not, and how layers find each other."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffecompat.schema import NetDocument, open_net, open_solver, parse_text, pb, read_solver
from caffecompat.schema.diff import NetDiff, diff_documents, diff_solvers
from caffecompat.schema.document import kind_of
from caffecompat.schema.problems import PrototxtError

TUTORIAL = "real/vitis-tutorial-05-seg/model"


def net(text: str) -> NetDocument:
    return NetDocument.from_message(parse_text(text, pb.NetParameter()))


def conv(name: str, bottom: str, top: str | None = None, more: str = "num_output: 4 kernel_size: 3") -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top or name}"'
        f" convolution_param {{ {more} }} }}\n"
    )


INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def changes(diff: NetDiff) -> list[tuple[str, str, str | None, str | None]]:
    return [(row.b.name, c.path, c.a, c.b) for row in diff.layers if row.b for c in row.changes]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("num_output: 4 kernel_size: 3", "kernel_h: 3 kernel_w: 3 num_output: 4"),
        ("num_output: 4 kernel_size: 3", "num_output: 4 kernel_size: 3 kernel_size: 3 pad: 0 stride: 1 group: 1"),
        ("num_output: 4 kernel_size: 3", "num_output: 4 kernel_size: 3 bias_term: true weight_filler { }"),
        ("num_output: 4 kernel_size: 3 pad_h: 1 pad_w: 1", "num_output: 4 kernel_size: 3 pad: 1 dilation: 1"),
    ],
)
def test_spellings_do_not_count(a: str, b: str) -> None:
    assert diff_documents(net(INPUT + conv("c", "data", more=a)), net(INPUT + conv("c", "data", more=b))).empty


def test_what_is_assumed_does_not_count() -> None:
    loss = 'layer {{ name: "l" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "l" {} }}'
    told = net(INPUT + loss.format("loss_weight: 1 param { }"))
    assert diff_documents(net(INPUT + loss.format("")), told).empty
    halved = diff_documents(told, net(INPUT + loss.format("loss_weight: 0.5")))
    assert changes(halved) == [("l", "loss_weight", None, "0.5")]


def test_order_of_branches_does_not_count() -> None:
    join = 'layer { name: "e" type: "Eltwise" bottom: "%s" bottom: "%s" top: "e" }'
    a = net(INPUT + conv("x", "data") + conv("y", "data") + join % ("x", "y"))
    assert diff_documents(a, net(INPUT + conv("y", "data") + conv("x", "data") + join % ("y", "x"))).empty
    joined = INPUT + conv("x", "data") + conv("y", "data") + join.replace("Eltwise", "Concat")
    swapped = diff_documents(net(joined % ("x", "y")), net(joined % ("y", "x")))
    assert [(row.kind, row.rewired) for row in swapped.of_kind("changed")] == [("changed", (["x", "y"], ["y", "x"]))]


def test_fields_are_told_with_both_values() -> None:
    a = net('name: "n"' + INPUT + conv("c", "data", more="num_output: 4 kernel_size: 3 pad: 1"))
    b = net(INPUT + conv("c", "data", more='num_output: 8 kernel_size: 3 weight_filler { type: "msra" }'))
    diff = diff_documents(a, b)
    assert changes(diff) == [
        ("c", "convolution_param.num_output", "4", "8"),
        ("c", "convolution_param.pad", "1", "0"),
        ("c", "convolution_param.weight_filler.type", '"constant"', '"msra"'),
    ]
    assert [(c.path, c.a, c.b) for c in diff.fields] == [("name", '"n"', None)]


def test_blobs_of_another_name_are_no_rewiring() -> None:
    pool = 'layer { name: "p" type: "Pooling" bottom: "%s" top: "p" pooling_param { kernel_size: 2 } }'
    a = net(INPUT + conv("c", "data") + pool % "c")
    assert changes(diff_documents(a, net(INPUT + conv("c", "data", "other") + pool % "other"))) == [
        ("c", "top", "c", "other")
    ]
    renamed = diff_documents(a, net(INPUT + conv("d", "data") + pool % "d"))
    assert [(row.a.name, row.b.name, row.kind) for row in renamed.renamed] == [("c", "d", "renamed")]
    assert changes(renamed) == []


def test_a_layer_that_moved() -> None:
    relu = 'layer { name: "r" type: "ReLU" bottom: "%s" top: "r" }'
    tanh = 'layer { name: "t" type: "TanH" bottom: "%s" top: "t" }'
    end = 'layer { name: "s" type: "Sigmoid" bottom: "%s" top: "s" }'
    start = INPUT + conv("c", "data")
    a = net(start + relu % "c" + tanh % "r" + conv("m", "t") + end % "m")
    b = net(start + tanh % "c" + conv("m", "t") + relu % "m" + end % "r")
    diff = diff_documents(a, b)
    assert [row.b.name for row in diff.of_kind("moved")] == ["r"]
    assert not diff.blocks and not diff.renamed


def test_a_layer_in_between_is_one_addition() -> None:
    a = net(INPUT + conv("c1", "data") + conv("c2", "c1") + conv("c3", "c2"))
    b = net(INPUT + conv("c1", "data") + conv("new", "c1", more="num_output: 9 kernel_size: 1") + conv("c2", "new")
            + conv("c3", "c2"))  # fmt: skip
    diff = diff_documents(a, b)
    assert [(block.added, [layer.name for layer in block.layers]) for block in diff.blocks] == [(True, ["new"])]
    assert (diff.blocks[0].behind, diff.blocks[0].before) == (["c1"], ["c2"])
    assert [row.kind for row in diff.layers] == ["same", "same", "added", "same", "same"]


def test_counted_names_that_shift() -> None:
    """A layer more at the front, and a generator's later names all count on: one addition, the others renamed."""
    sizes = [5, 3, 1, 7, 3, 9]
    a = INPUT + "".join(conv(f"conv{i + 1}", f"conv{i}" if i else "data", more=f"num_output: {n + 20} kernel_size: {n}")
                        for i, n in enumerate(sizes))  # fmt: skip
    b = INPUT + "".join(conv(f"conv{i + 1}", f"conv{i}" if i else "data", more=f"num_output: {n + 20} kernel_size: {n}")
                        for i, n in enumerate([11, *sizes]))  # fmt: skip
    diff = diff_documents(net(a), net(b))
    assert [layer.fields["convolution_param.kernel_size"] for block in diff.blocks for layer in block.layers] == ["11"]
    assert len(diff.renamed) == len(sizes) and not changes(diff)


def test_phases_apart() -> None:
    data = (
        'layer {{ name: "d" type: "DummyData" top: "d" include {{ phase: {} }}'
        " dummy_data_param {{ shape {{ dim: {} }} }} }}"
    )
    a = net(data.format("TRAIN", 8) + data.format("TEST", 4) + conv("c", "d"))
    b = net(data.format("TRAIN", 8) + data.format("TEST", 2) + conv("c", "d"))
    assert diff_documents(a, b, pb.TRAIN).empty
    assert changes(diff_documents(a, b)) == [("d", "dummy_data_param.shape", "4", "2")]
    assert changes(diff_documents(a, b, pb.TEST)) == [("d", "dummy_data_param.shape", "4", "2")]


def test_a_phase_more_is_no_rewiring() -> None:
    data = 'layer {{ name: "{0}" type: "DummyData" top: "d" include {{ phase: {0} }} dummy_data_param {{ num: 1 }} }}'
    both = data.format("TRAIN") + data.format("TEST")
    relu = 'layer { name: "r" type: "ReLU" bottom: "d" top: "r" %s }'
    diff = diff_documents(net(both + relu % "include { phase: TRAIN }"), net(both + relu % ""))
    assert changes(diff) == [("r", "include", "{ phase: TRAIN }", None)] and not any(row.rewired for row in diff.layers)


def test_fields_that_no_schema_knows() -> None:
    layer = 'layer {{ name: "x" type: "Mine" bottom: "data" top: "x" mine_param {{ depth: {} }} }}'
    a, b = net(INPUT + layer.format(1)), net(INPUT + layer.format(2))
    assert diff_documents(a, a).empty
    assert len(changes(diff_documents(a, b))) == 1


def test_solvers() -> None:
    a = parse_text('base_lr: 0.1 lr_policy: "step" stepvalue: 1 stepvalue: 2', pb.SolverParameter())
    b = parse_text('lr_policy: "step" base_lr: 0.1 stepvalue: 1 stepvalue: 3 type: "SGD"', pb.SolverParameter())
    assert [(c.path, c.a, c.b) for c in diff_solvers(a, b)] == [("stepvalue", "[1, 2]", "[1, 3]")]


def test_a_branch_that_begins_otherwise_is_paired_in_its_order() -> None:
    """Two people's branch between the same two layers: one has a normalization more in front and another join."""
    join = 'layer { name: "%s" type: "Eltwise" bottom: "%s" bottom: "%s" top: "%s" }'
    norm = 'layer { name: "%s" type: "BatchNorm" bottom: "%s" top: "%s" }'
    a = INPUT + conv("c", "data") + norm % ("n1", "c", "n1") + conv("x", "n1") + norm % ("n2", "x", "n2")
    a += conv("y", "n2", more="num_output: 4 kernel_size: 1") + join % ("e", "c", "y", "e")
    b = INPUT + conv("p", "data") + conv("q", "p") + conv("r", "q", more="num_output: 4 kernel_size: 1")
    diff = diff_documents(net(a), net(b + join % ("f", "p", "r", "f")))
    assert {x.name: y.name for x, y in diff.pairs} == {"data": "data", "c": "p", "x": "q", "y": "r", "e": "f"}
    assert [[layer.name for layer in block.layers] for block in diff.blocks] == [["n1"], ["n2"]]


def test_like_branches_are_told_apart_by_what_follows() -> None:
    up = 'layer { name: "%s" type: "Deconvolution" bottom: "%s" top: "%s" convolution_param { num_output: 4 } }'
    pool = 'layer { name: "%s" type: "Pooling" bottom: "%s" top: "%s" }'
    a = INPUT + conv("a1", "data") + conv("a2", "data") + up % ("a3", "a1", "a3") + pool % ("a4", "a2", "a4")
    b = INPUT + conv("b1", "data") + conv("b2", "data") + up % ("b3", "b2", "b3") + pool % ("b4", "b1", "b4")
    pairs = {x.name: y.name for x, y in diff_documents(net(a), net(b)).pairs}
    assert pairs == {"data": "data", "a1": "b2", "a2": "b1", "a3": "b3", "a4": "b4"}


def test_neighbors_that_change_places() -> None:
    pool = 'layer { name: "p" type: "Pooling" bottom: "%s" top: "p" pooling_param { kernel_size: 2 } }'
    norm = 'layer { name: "n" type: "LRN" bottom: "%s" top: "n" }'
    diff = diff_documents(
        net(INPUT + norm % "data" + pool % "n" + conv("c", "p")),
        net(INPUT + pool % "data" + norm % "p" + conv("c", "n")),
    )
    assert [(first.b.name, second.b.name) for first, second in diff.swapped] == [("p", "n")]


def test_thousands_of_layers_take_seconds(record_property) -> None:
    """A chain of residual blocks, every name another in B and one block more."""
    import time

    def chain(blocks: int, prefix: str) -> NetDocument:
        text, last = [INPUT], "data"
        for i in range(blocks):
            name = f"{prefix}{i}"
            text.append(
                conv(f"{name}a", last) + f'layer {{ name: "{name}r" type: "ReLU" bottom: "{name}a" top: "{name}a" }}'
            )
            text.append(conv(f"{name}b", f"{name}a", more="num_output: 8 kernel_size: 1"))
            text.append(f'layer {{ name: "{name}" type: "Eltwise" bottom: "{last}" bottom: "{name}b" top: "{name}" }}')
            last = name
        return net("".join(text))

    a, b = chain(500, "res"), chain(501, "unit")
    start = time.process_time()
    diff = diff_documents(a, b)
    seconds = time.process_time() - start
    assert len(diff.renamed) == 2000 and [len(block.layers) for block in diff.blocks] == [4]
    record_property("measured", f"diff of two nets of 2000 layers, all renamed: {seconds:.2f} s")
    assert seconds < 10


# ------------------------------------------------------------------------------------------------ real files


def nets_of(shared: Path) -> list[Path]:
    files = sorted((shared / "real").rglob("*.prototxt"))
    return [path for path in files if "labelmap" not in path.name and kind_of(path) == "net"]


def test_nothing_differs_from_itself(shared: Path, record_property) -> None:
    compared = 0
    for path in nets_of(shared):
        try:
            document = open_net(path)
        except PrototxtError:
            continue  # a few recorded files are broken on purpose
        diff = diff_documents(document, NetDocument.from_message(document.message, str(path)))
        assert diff.empty and not diff.blocks, path
        compared += 1
    record_property("measured", f"diff of a real net with itself is empty: {compared} nets")
    assert compared > 180


def test_a_solver_is_told_from_a_net(shared: Path) -> None:
    for path in sorted((shared / "real").rglob("*solver*.prototxt")):
        if "consolidated" in path.name:
            continue
        assert kind_of(path) == "solver", path
        assert diff_solvers(open_solver(path)[0], read_solver(path)) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [("TestImageNet_2.v0_proto", "TestImageNet_2.expected_v2_proto"), ("TestImageNet_2.expected_v1_proto",
     "TestImageNet_2.expected_v2_proto")],
)  # fmt: skip
def test_the_age_of_the_format_does_not_count(shared: Path, old: str, new: str) -> None:
    folder = shared / "real/bvlc-testnets/upgrade"
    assert diff_documents(*(open_net(folder / f"{name}.prototxt") for name in (old, new))).empty


@pytest.mark.parametrize(
    ("network", "counts", "behind", "extra"),
    [
        ("espnet", {"Convolution": 9, "BatchNorm": 6, "ReLU": 5, "Deconvolution": 3, "Concat": 3, "Eltwise": 3},
         ["Threshold_6", "Concat_15", "Threshold_1"], 73),
        ("enet", {"ReLU": 20, "BatchNorm": 17, "Convolution": 15, "Deconvolution": 5, "Eltwise": 5},
         ["Threshold_93"], 0),
    ],
)  # fmt: skip
def test_an_encoder_and_its_full_net(shared: Path, network, counts, behind, extra: int) -> None:
    folder = shared / TUTORIAL / network
    diff = diff_documents(open_net(folder / "train_val.prototxt"), open_net(folder / "train_val_encoder.prototxt"))
    decoder, deconvolution = diff.blocks
    assert not decoder.added and decoder.is_decoder and dict(decoder.types) == counts
    assert sorted(decoder.behind) == sorted(behind) and decoder.before == ["loss", "acc"]
    assert deconvolution.added and [layer.name for layer in deconvolution.layers] == ["deconv_encoder6_0_0"]
    assert not diff.of_kind("moved") and not any(row.rewired for row in diff.layers)
    refilled = [path for _, path, *_ in changes(diff) if path == "convolution_param.weight_filler.type"]
    assert len(refilled) == extra  # ESPNet's two stages start from different fillers


def test_the_losses_of_enet_are_renamed(shared: Path) -> None:
    folder = shared / TUTORIAL / "enet"
    diff = diff_documents(open_net(folder / "train_val_encoder.prototxt"), open_net(folder / "train_val.prototxt"))
    assert [(row.a.name, row.b.name) for row in diff.renamed] == [("score", "loss"), ("accuracy", "acc")]


def test_two_people_s_enet(shared: Path) -> None:
    """The tutorial's ENet without a name in common with TimoSaemann's finds its counterparts along the graph."""
    theirs = open_net(shared / "real/timosaemann-enet/prototxts/enet_train_encoder_decoder.prototxt")
    diff = diff_documents(theirs, open_net(shared / TUTORIAL / "enet/train_val.prototxt"))
    pairs = {x.name: y.name for x, y in diff.pairs}
    assert len(pairs) == 293
    assert {name: pairs[name] for name in ("conv0_1", "pool0_1", "prelu1_0_4", "conv4_1_1", "deconv6_0_0")} == {
        "conv0_1": "ConvNd_1", "pool0_1": "MaxPool2d_1", "prelu1_0_4": "Threshold_5", "conv4_1_1": "ConvNd_79",
        "deconv6_0_0": "ConvNd_91",
    }  # fmt: skip
    told = {(path, a, b) for _, path, a, b in changes(diff)}
    assert ("type", "PReLU", "ReLU") in told and ("pooling_param.kernel_size", "2", "3") in told
    removed = [layer for block in diff.blocks if not block.added for layer in block.layers]
    assert sum(layer.type == "Python" for layer in removed) == 27  # its spatial dropout


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["espnet/train_val", "enet/deploy", "FPN/train_val", "unet-full/deploy"]), st.data())
def test_one_name_changed_is_one_rename(shared: Path, network: str, data: st.DataObject) -> None:
    a = open_net(shared / TUTORIAL / f"{network}.prototxt")
    message = copy.deepcopy(a.message)
    at = data.draw(st.integers(0, len(message.layer) - 1))
    old = message.layer[at].name
    tops_too = data.draw(st.booleans()) and list(message.layer[at].top) == [old]
    message.layer[at].name = "another"
    if tops_too:
        for layer in message.layer:
            for blobs in (layer.bottom, layer.top):
                blobs[:] = ["another" if blob == old else blob for blob in blobs]
    diff = diff_documents(a, NetDocument.from_message(message))
    assert [(row.a.name, row.b.name, row.kind) for row in diff.renamed] == [(old, "another", "renamed")]
    assert [row.kind for row in diff.layers if row.kind != "same"] == ["renamed"]
    assert not diff.blocks
