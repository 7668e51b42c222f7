"""``--set``: what the same text in the file would mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import NetDocument, open_net, pb
from caffecompat.solver import Solver
from caffecompat.solver.overrides import LayerSettings


@pytest.mark.parametrize("prefix", ["out/", "out", "out/net", "./", ""])
def test_a_prefix_means_what_it_means_in_the_file(workdir: Path, log: list[str], prefix: str) -> None:
    (workdir / "out").mkdir()
    text = (workdir / "solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(text.replace('snapshot_prefix: "snap"', f'snapshot_prefix: "{prefix}"'))
    in_the_file = Solver("solver.prototxt").param.snapshot_prefix
    (workdir / "solver.prototxt").write_text(text)
    assert Solver("solver.prototxt", overrides=[f"snapshot_prefix={prefix}"]).param.snapshot_prefix == in_the_file
    assert in_the_file == {"out/": "out/solver", "out": "out/solver", "./": "./solver"}.get(prefix, prefix)


def test_a_folder_gets_snapshots_named_after_the_solver(workdir: Path, log: list[str]) -> None:
    (workdir / "out").mkdir()
    Solver("solver.prototxt", overrides=["snapshot_prefix=out/", "max_iter=5"]).train()
    assert (workdir / "out/solver_iter_5.solverstate").exists()


def test_settings_of_a_repeated_field_add_up_and_replace_the_file(workdir: Path, log: list[str]) -> None:
    def values(*settings: str) -> list[int]:
        overrides = ["lr_policy=multistep", "gamma=0.1", *settings]
        return list(Solver("solver.prototxt", overrides=overrides).param.stepvalue)

    text = (workdir / "solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(f"{text} stepvalue: 1")
    assert values() == [1]
    assert values("stepvalue=2") == [2]
    assert values("stepvalue=2", "stepvalue=3") == [2, 3]
    assert values("stepvalue=2,3", "stepvalue=4") == [2, 3, 4]
    assert Solver("solver.prototxt", overrides=["base_lr=1", "base_lr=2"]).param.base_lr == 2


def _document(tmp_path: Path, text: str) -> NetDocument:
    (tmp_path / "n.prototxt").write_text(text)
    return open_net(tmp_path / "n.prototxt")


def test_repeated_fields_of_layers(tmp_path: Path) -> None:
    text = """layer { name: "d" type: "Data" top: "d" transform_param { mean_value: 9 } include { phase: TRAIN } }
layer { name: "d" type: "Data" top: "d" include { phase: TEST } }"""
    document = _document(tmp_path, text)
    LayerSettings([f"d.transform_param.mean_value={value}" for value in (104, 117, 123)]).apply(document)
    assert [list(layer.transform_param.mean_value) for layer in document.message.layer] == [[104, 117, 123]] * 2


NET_OF_WINDOWS = """layer { name: "c" type: "Convolution" convolution_param { kernel_size: 3 hole: 2 } }
layer { name: "p" type: "Pooling" pooling_param { kernel_size: 3 round_mode: CEIL } }"""


@pytest.mark.parametrize(
    ("settings", "dilation", "mode"),
    [
        (["c.convolution_param.hole=4"], [4], pb.PoolingParameter.CEIL),
        (["c.convolution_param.hole_h=4", "c.convolution_param.hole_w=3"], [4, 3], pb.PoolingParameter.CEIL),
        (["p.pooling_param.ceil_mode=false"], [2], pb.PoolingParameter.FLOOR),
        (["c.convolution_param.dilation=5", "p.pooling_param.round_mode=FLOOR"], [5], pb.PoolingParameter.FLOOR),
    ],
)
def test_forks_fields_take_the_place_of_bvlcs(
    tmp_path: Path, settings: list[str], dilation: list[int], mode: int
) -> None:
    document = _document(tmp_path, NET_OF_WINDOWS)
    LayerSettings(settings).apply(document)
    convolution, pooling = (document.message.layer[0].convolution_param, document.message.layer[1].pooling_param)
    assert list(convolution.dilation) == dilation and not convolution.HasField("hole")
    assert pooling.round_mode == mode and not pooling.HasField("ceil_mode")


def test_settings_that_disagree(tmp_path: Path) -> None:
    settings = LayerSettings(["c.convolution_param.dilation=5", "c.convolution_param.hole=4"])
    with pytest.raises(CaffeCompatError, match=r"layer 'c' \(Convolution\): hole: 4 is dilation \[4\]"):
        settings.apply(_document(tmp_path, NET_OF_WINDOWS))


def test_a_layer_in_none_of_the_nets(tmp_path: Path) -> None:
    settings = LayerSettings(["conv.top=x"])
    settings.apply(_document(tmp_path, 'layer { name: "comv" type: "ReLU" bottom: "a" top: "b" }'))
    with pytest.raises(CaffeCompatError, match=r"--set conv\.top=x: .*n\.prototxt has no layer of that name.*comv"):
        settings.check_all_used()


@pytest.mark.parametrize("prefix", ["a\x01b", "a\0b", "\x1b[1m"])
def test_control_characters_in_the_prefix_are_refused(workdir, prefix: str) -> None:
    with pytest.raises(CaffeCompatError, match="control characters"):
        Solver("solver.prototxt", overrides=[f"snapshot_prefix={prefix}"]).train()
    assert sorted(path.name for path in workdir.iterdir() if path.name[-1] == "b") == []


NET_OF_PATTERNS = """layer { name: "c.a" type: "Convolution" convolution_param { kernel_size: 3 } }
layer { name: "c.a_bn" type: "BatchNorm" } layer { name: "c.b_bn" type: "BatchNorm" }
layer { name: "x_bn" type: "ReLU" } layer { name: "c.b" type: "Convolution" } layer { name: "odd*" type: "Pooling" }
layer { name: "mine_bn" type: "OfAUser" }"""


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("*_bn.batch_norm_param.use_global_stats=true", ["c.a_bn", "c.b_bn", "mine_bn"]),  # not the ReLU
        ("c.*.batch_norm_param.use_global_stats=true", ["c.a_bn", "c.b_bn"]),
        ("c.?_bn.batch_norm_param.eps=0.5", ["c.a_bn", "c.b_bn"]),
        ("c.a*.batch_norm_param.eps=0.5", ["c.a_bn"]),
        ("@BatchNorm.batch_norm_param.eps=0.5", ["c.a_bn", "c.b_bn"]),
        ("@Conv*.convolution_param.dilation=2", ["c.a", "c.b"]),
        ("*.convolution_param.dilation=2", ["c.a", "c.b", "mine_bn"]),
        ("*.phase=TEST", ["c.a", "c.a_bn", "c.b_bn", "x_bn", "c.b", "odd*", "mine_bn"]),
        ("odd*.pooling_param.kernel_size=3", ["odd*"]),  # a name comes before a pattern
    ],
)
def test_patterns(tmp_path: Path, setting: str, changed: list[str]) -> None:
    document = _document(tmp_path, NET_OF_PATTERNS)
    before = [layer.SerializeToString() for layer in document.message.layer]
    settings = LayerSettings([setting])
    settings.apply(document)
    settings.check_all_used()
    pairs = zip(before, document.message.layer, strict=True)
    assert [layer.name for old, layer in pairs if old != layer.SerializeToString()] == changed


def test_settings_of_a_pattern_add_up(tmp_path: Path) -> None:
    document = _document(tmp_path, NET_OF_PATTERNS)
    LayerSettings(["@Convolution.convolution_param.dilation=2", "@Convolution.convolution_param.dilation=3"]).apply(
        document
    )
    assert [list(document.message.layer[index].convolution_param.dilation) for index in (0, 4)] == [[2, 3]] * 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("y*.batch_norm_param.eps=1", "has no layer whose name matches 'y*' and that reads batch_norm_param"),
        ("c*.pooling_param.pad=1", "has no layer whose name matches 'c*' and that reads pooling_param"),
        ("@BatchNrom.batch_norm_param.eps=1", "has no layer of type 'BatchNrom'; did you mean BatchNorm?"),
        ("*_bn.batch_norm_parm.eps=1", "LayerParameter has no field 'batch_norm_parm'"),
        ("*_bn.batch_norm_param.epsilon=1", "BatchNormParameter has no field 'epsilon'"),
    ],
)
def test_patterns_that_change_nothing_are_errors(tmp_path: Path, setting: str, message: str) -> None:
    settings = LayerSettings([setting])
    with pytest.raises(CaffeCompatError) as raised:
        settings.apply(_document(tmp_path, NET_OF_PATTERNS))
        settings.check_all_used()
    assert message in str(raised.value) and f"--set {setting}" in str(raised.value)


def test_a_pattern_on_the_command_line(workdir: Path, log: list[str]) -> None:
    solver = Solver(
        "solver.prototxt", overrides=["@HDF5*.hdf5_data_param.batch_size=2", "i?.inner_product_param.num_output=7"]
    )
    assert solver.net.blob_shapes["ip"] == (2, 7) and solver.test_nets[0].blob_shapes["ip"] == (2, 7)


_DATA = """
layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { source: "x" batch_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
"""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.transform_param.short_side=8", ""),
        ("data.transform_param.distort_param={brightness_prob: 0.5}", ""),
        ("ip.inner_product_param.num_output=4", ""),
        ("ip.transform_param.short_side=8", "transform_param.short_side has no effect here"),
        ("ip.transform_param.distort_param={brightness_prob: 0.5}", "transform_param.distort_param (SSD Caffe"),
        ("ip.pooling_param.kernel_size=3", "pooling_param has no effect here: only layers of type Pooling"),
        ("ip.param={compression: PRUNE}", "param.compression (Xilinx Caffe) has no effect here"),
        ("@InnerProduct.param={compression: PRUNE}", "param.compression (Xilinx Caffe) has no effect here"),
    ],
)
def test_a_setting_without_effect_in_its_layer_is_reported(
    tmp_path: Path, log: list[str], setting: str, said: str
) -> None:
    (tmp_path / "net.prototxt").write_text(_DATA)
    document = open_net(tmp_path / "net.prototxt")
    log.clear()
    LayerSettings([setting]).apply(document)
    found = [line for line in log if "no effect" in line]
    assert bool(found) == bool(said)
    assert all(line.startswith(f"--set {setting}:1:") for line in found)
    assert said in "".join(found)
