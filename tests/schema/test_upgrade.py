"""Old forms of nets and solvers."""

from __future__ import annotations

import pytest

from caffecompat.schema import (
    NetDocument,
    PrototxtError,
    open_net,
    open_solver,
    parse_text,
    pb,
    read_message,
    read_solver,
    write_text,
)

pytestmark = pytest.mark.usefixtures("log")


def upgraded(text: str):
    return NetDocument.from_message(parse_text(text, pb.NetParameter())).message


def net(text: str):
    return parse_text(text, pb.NetParameter())


def opened(tmp_path, text: str) -> NetDocument:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return open_net(path)


V0 = """
name: "old"
layers {
  layer { name: "data" type: "images" source: "list" meanfile: "m" batchsize: 4 scale: 0.5 cropsize: 227 mirror: true
          rand_skip: 3 shuffle_images: true new_height: 8 new_width: 9 }
  top: "data" top: "label"
}
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
  layer { name: "conv1" type: "conv" num_output: 6 kernelsize: 5 stride: 2 group: 2 biasterm: false
          weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0. }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } bottom: "conv1" top: "norm" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "norm" top: "pool" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "pool" bottom: "label" }
"""


def test_v0():
    want = net("""
    name: "old"
    layer {
      name: "data" type: "ImageData" top: "data" top: "label"
      transform_param { scale: 0.5 mean_file: "m" crop_size: 227 mirror: true }
      image_data_param { source: "list" batch_size: 4 rand_skip: 3 shuffle: true new_height: 8 new_width: 9 }
    }
    layer {
      name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
      param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
      convolution_param { num_output: 6 bias_term: false pad: 2 kernel_size: 5 group: 2 stride: 2
                          weight_filler { type: "gaussian" std: 0.01 } }
    }
    layer { name: "norm" type: "LRN" bottom: "conv1" top: "norm"
            lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } }
    layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool"
            pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" }
    """)
    assert upgraded(V0) == want


def test_places_survive_the_upgrades(tmp_path):
    document = opened(tmp_path, V0)
    lines = [int(document.where(index).rsplit(":", 2)[1]) for index in range(len(document.message.layer))]
    assert lines == [3, 9, 14, 15, 16]
    assert document.upgraded


def test_input_layer_stands_where_the_input_is_named(tmp_path):
    document = opened(tmp_path, 'name: "x"\ninput: "data"\ninput_dim: [1, 3, 8, 8]\nlayer { name: "a" type: "ReLU" }')
    assert [document.where(index).split(":", 1)[1] for index in range(2)] == ["2:1", "4:1"]


def test_v0_problems_come_together(tmp_path):
    with pytest.raises(PrototxtError) as caught:
        opened(
            tmp_path,
            """layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "p" }
            layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }
            layers { layer { name: "q" type: "quark" } }""",
        )
    first, second = caught.value.problems
    assert "net.prototxt:2:13" in first.where and "only conv and pool" in first.message
    assert "net.prototxt:3:13" in second.where and "no layer type 'quark'" in second.message


def test_v0_settings_of_another_type_are_told(log):
    upgraded('layers { layer { name: "r" type: "relu" num_output: 3 } }')
    assert any("'num_output' means nothing to layer 'r' of type 'relu'" in line for line in log)


def test_v1():
    text = """
    layers {
      name: "d" type: DATA top: "data" include { phase: TRAIN }
      data_param { source: "db" batch_size: 2 scale: 0.5 crop_size: 9 mean_file: "m" mirror: true }
    }
    layers {
      name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" loss_weight: 0.5
      blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
      param: "w" param: "b" blob_share_mode: PERMISSIVE
      inner_product_param { num_output: 3 }
    }
    layers { name: "eu" type: EUCLIDEAN_LOSS bottom: "ip" bottom: "data" future_thing: 3 }
    """
    want = """
    layer {
      name: "d" type: "Data" top: "data" include { phase: TRAIN }
      transform_param { scale: 0.5 crop_size: 9 mean_file: "m" mirror: true }
      data_param { source: "db" batch_size: 2 }
    }
    layer {
      name: "ip" type: "InnerProduct" bottom: "data" top: "ip" loss_weight: 0.5
      param { name: "w" lr_mult: 1 decay_mult: 1 share_mode: PERMISSIVE }
      param { name: "b" lr_mult: 2 decay_mult: 0 }
      inner_product_param { num_output: 3 }
    }
    layer { name: "eu" type: "EuclideanLoss" bottom: "ip" bottom: "data" future_thing: 3 }
    """
    assert upgraded(text) == net(want)


def test_new_layers_keep_their_ineffective_transforms():
    text = 'layer { type: "ImageData" image_data_param { mirror: true scale: 2 } }'
    assert upgraded(text) == net(text)


def test_both_forms_are_refused(tmp_path):
    with pytest.raises(PrototxtError, match=r"1:1: the net has 'layers' .* and 'layer' \(at .*:2:1\)"):
        opened(tmp_path, 'layers { type: RELU }\nlayer { type: "ReLU" }')


def test_input_fields():
    want = net("""
    layer { name: "input" type: "Input" top: "a" top: "b"
            input_param { shape { dim: [1, 2, 3, 4] } shape { dim: [5, 6, 7, 8] } } }
    layer { name: "r" type: "ReLU" bottom: "a" top: "c" }
    """)
    rest = 'layer { name: "r" type: "ReLU" bottom: "a" top: "c" }'
    assert upgraded('input: "a" input: "b" input_dim: [1, 2, 3, 4, 5, 6, 7, 8]' + rest) == want
    assert upgraded('input: ["a", "b"] input_shape { dim: [1,2,3,4] } input_shape { dim: [5,6,7,8] }' + rest) == want
    assert upgraded('input: "a"' + rest) == net(rest)
    with pytest.raises(PrototxtError, match="a net with 2 input needs 8 input_dim, four for each input; it has 4"):
        upgraded('input: "a" input: "b" input_dim: [1, 2, 3, 4]' + rest)


def test_input_dim_of_c3d_has_five_an_input(log):
    pool = 'layers { name: "p" type: POOLING3D bottom: "a" top: "c" pooling_param { kernel_size: 2 kernel_depth: 2 } }'
    made = upgraded('input: "a" input: "b" input_dim: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]' + pool)
    assert [list(shape.dim) for shape in made.layer[0].input_param.shape] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    assert "no effect" not in "".join(log)
    with pytest.raises(PrototxtError, match="a net with 1 input needs 5 input_dim, five for each input; it has 4"):
        upgraded('input: "a" input_dim: [1, 2, 3, 4]' + pool)


@pytest.mark.parametrize(("dims", "place"), [
    ("input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\ninput_dim: 5", "2:1: input_dim beyond the 4 that 1"),
    ("input_shape { dim: [1, 2, 3, 4] }\n input_shape { dim: 5 }", "2:2: input_shape beyond the 1 that 1"),
])  # fmt: skip
def test_shapes_beyond_those_of_the_inputs_are_said_to_be_without_effect(dims, place, tmp_path, log):
    made = opened(tmp_path, f'input: "a" {dims}\nlayer {{ name: "r" type: "ReLU" bottom: "a" top: "c" }}').message
    assert [list(shape.dim) for shape in made.layer[0].input_param.shape] == [[1, 2, 3, 4]]
    assert f"net.prototxt:{place}" in "".join(log)


def test_batch_norm_statistics_are_frozen():
    layer = 'layer { type: "BatchNorm" param { lr_mult: 1 } param { } param { decay_mult: 1 name: "x" } }'
    (upgraded_layer,) = upgraded(layer).layer
    assert [(param.lr_mult, param.decay_mult) for param in upgraded_layer.param] == [(0, 0)] * 3
    assert upgraded_layer.param[2].name == "x"
    jacinto = 'layer { type: "BatchNorm" batch_norm_param { scale_bias: true } param { } param { } param { } }'
    assert upgraded(jacinto) == net(jacinto)


def test_a_net_of_today_is_left_alone(tmp_path, log):
    text = 'layer { type: "ReLU" }'
    document = opened(tmp_path, text)
    assert (document.message, document.upgraded, log) == (net(text), False, [])


@pytest.mark.parametrize(
    ("enum", "name"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_solver_types(tmp_path, enum, name):
    path = tmp_path / "solver.prototxt"
    path.write_text(f'solver_type: {enum} snapshot_prefix: "x"')
    solver = read_solver(path)
    assert (solver.type, solver.HasField("solver_type")) == (name, False)


def test_both_solver_types_are_refused(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text('type: "SGD"\nsolver_type: SGD')
    with pytest.raises(PrototxtError, match=r"solver.prototxt:2:1: .*solver.prototxt:1:1"):
        read_solver(path)


def test_snapshot_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snapshots").mkdir()
    for name, text, want in [
        ("net/my.solver.prototxt", "", "net/my.solver"),
        ("a.prototxt", 'snapshot_prefix: ""', ""),
        ("a.prototxt", 'snapshot_prefix: "snapshots"', "snapshots/a"),
        ("a.prototxt", 'snapshot_prefix: "snapshots/"', "snapshots/a"),
        ("a.prototxt", 'snapshot_prefix: "other/"', "other/"),
        ("a.prototxt", 'snapshot_prefix: "x"', "x"),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        assert read_solver(name).snapshot_prefix == want


def test_the_originals_upgrades(shared):
    """Each old file comes out as the original's own upgrade tools wrote it."""
    recorded = shared / "golden" / "upgrade"
    files = sorted(path for path in recorded.rglob("*.prototxt"))
    assert len(files) == 167
    different = []
    for path in files:
        source = shared / "real" / path.relative_to(recorded)
        if "solver" in path.name:
            ours, want = open_solver(source)[0], read_message(path, pb.SolverParameter())
        else:
            ours, want = open_net(source).message, read_message(path, pb.NetParameter())
        if ours != want:
            different.append(str(path.relative_to(recorded)))
    assert not different


@pytest.mark.parametrize(
    "text",
    [
        'layers { layer { name: "r" type: "relu" bottom: "other" odd: 3 } bottom: "data" top: "r" }',
        'layers { name: "r" type: RELU bottom: "data" top: "r" propagate_down: false odd: 3 }',
    ],
    ids=["V0", "V1"],
)
def test_a_field_without_effect_has_none_in_the_upgraded_text(text: str) -> None:
    # bottom is no field of V0's inner layer, nor propagate_down one of V1's; today's layer has both.
    layer = upgraded(text).layer[0]
    again = parse_text(write_text(layer), pb.LayerParameter())
    assert list(again.bottom) == ["data"]
    assert not again.propagate_down
    assert "odd: 3" in write_text(again)
