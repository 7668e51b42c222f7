"""A prototxt that makes no net: every problem at once, each with its place and a way out."""

import time
from pathlib import Path

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net, NetError
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net, problems_of


def test_everything_at_once_with_places(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        INPUT
        + layer("Convolutoin", "data", "a")
        + layer("ReLU", "data2", "b")
        + layer("ProposalX", "a", "c")
        + conv("d", "data", more="loss_weight: 1 loss_weight: 2"),
    )
    assert [problem.split(" ")[0] for problem in found] == ["2:1:", "3:1:", "4:1:", "5:1:"]
    assert "layer 'a' (Convolutoin): is of no type that any known Caffe has; did you mean 'Convolution'?" in found[0]
    assert "did you mean 'data'?" in found[1]
    assert "2 loss_weight for 1 tops" in found[3]


def test_type_of_another_fork_is_named_with_the_fork(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, INPUT + layer("DenseCRF", "data", "c"))
    assert "is a layer of PSPNet Caffe, DeepLab Caffe that caffecompat does not implement" in problem


def test_layers_behind_a_broken_one_are_not_blamed(tmp_path: Path) -> None:
    found = problems_of(tmp_path, INPUT + layer("Nonsense", "data", "a") + conv("b", "a") + layer("ReLU", "b", "r"))
    assert len(found) == 1


def test_layer_rules_carry_the_place(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, INPUT + 'layer { name: "e" type: "Axpy" bottom: "data" top: "e" }')
    assert problem.startswith("2:1: layer 'e' (Axpy):")


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    big = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 9 } }'
    other = INPUT.replace("data", "other").replace("dim: 6", "dim: 5")
    found = problems_of(
        tmp_path, INPUT + other + big + 'layer { name: "s" type: "Eltwise" bottom: "data" bottom: "other" top: "s" }'
    )
    assert ["layer 'p' (Pooling)" in found[0], "layer 's' (Eltwise)" in found[1]] == [True, True]


def test_data_layers_need_sources(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, 'layer { name: "d" type: "Data" top: "x" }')
    assert "made without data sources" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'layer { name: "d" type: "Input" top: "a" top: "b" top: "c" input_param { shape { } shape { } } }',
            "2 shapes for 3 tops",
        ),
        ('layer { name: "d" type: "MemoryData" top: "a" top: "b" memory_data_param { batch_size: 1 } }', "above 0"),
        (
            INPUT + conv("c", "data", more="propagate_down: true propagate_down: false"),
            "2 propagate_down for 1 bottoms",
        ),
        (INPUT + conv("c", "data") + conv("c", "data", "e"), "has the name of another layer with parameters"),
        (INPUT + 'layer { name: "x" bottom: "data" top: "y" }', "has no type"),
    ],
)
def test_other_rules(tmp_path: Path, text: str, said: str) -> None:
    [problem] = problems_of(tmp_path, text)
    assert said in problem


def test_only_the_phase_asked_for_is_checked() -> None:
    broken = 'layer { name: "x" type: "Nonsense" bottom: "data" top: "x" include { phase: TRAIN } }'
    assert make_net(INPUT + broken, pb.TEST).outputs == ["data"]
    with pytest.raises(NetError):
        make_net(INPUT + broken, pb.TRAIN)


def test_sources_of_a_net_that_fails_are_closed() -> None:
    closed = []

    class Batches:
        top_shapes = ((1, 3, 4, 4),)

        def next(self) -> tuple:
            raise AssertionError

        def close(self) -> None:
            closed.append(True)

    text = 'layer { name: "d" type: "Data" top: "data" }' + layer("Nonsense", "data", "x")
    with pytest.raises(NetError):
        make_net(text, sources=lambda *args: Batches())
    assert closed == [True]


def test_missing_file() -> None:
    with pytest.raises(CaffeCompatError, match="no such file"):
        Net("nowhere.prototxt", pb.TEST, log=False)


def test_running_without_an_input_names_it() -> None:
    with pytest.raises(CaffeCompatError, match="needs inputs for 'data'"):
        make_net(INPUT).forward()


def test_a_file_without_layers_is_no_net(tmp_path: Path) -> None:
    (tmp_path / "empty.prototxt").write_text("")
    with pytest.raises(NetError, match=r"empty\.prototxt: has no layers"):
        Net(tmp_path / "empty.prototxt", pb.TEST)


STAGED = """
layer { name: "d" type: "DummyData" top: "x" include { phase: TEST stage: "on-val" }
        dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
"""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            'include { phase: TEST stage: "on-val" }',
            "layer 'd' makes it, but only with stage 'on-val' (--stage on-val)",
        ),
        (
            'include { stage: "a" stage: "b" } include { phase: TRAIN }',
            "only with stage 'a', 'b' (--stage a,b)",
        ),
        ("include { phase: TRAIN }", "only with phase TRAIN"),
        ('include { phase: TRAIN stage: "s" }', "only with phase TRAIN and stage 's' (--stage s)"),
        ("include { min_level: 3 }", "only with level 3 (--level)"),
        ("exclude { phase: TEST }", "its rule exclude { phase: TEST } leaves it out"),
    ],
)
def test_a_blob_that_only_a_state_lacks_says_which(tmp_path: Path, rule: str, said: str) -> None:
    [problem] = problems_of(tmp_path, STAGED.replace('include { phase: TEST stage: "on-val" }', rule))
    assert problem.startswith("4:1: layer 'ip' (InnerProduct): bottom 'x' is not made by any layer above; ")
    assert said in problem


def test_the_maker_nearest_to_the_state_is_named(tmp_path: Path) -> None:
    train = STAGED.splitlines()[1].replace('"d"', '"t"').replace('phase: TEST stage: "on-val"', "phase: TRAIN")
    [problem] = problems_of(tmp_path, train + "dummy_data_param { shape { dim: 2 } } }" + STAGED)
    assert "layer 'd' makes it, but only with stage 'on-val'" in problem


def test_a_net_without_its_input_is_offered_one(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, layer("ReLU", "data", "r"))
    assert 'add layer { name: "data" type: "Input" top: "data"' in problem


def test_an_unset_num_output_names_the_setting(tmp_path: Path) -> None:
    last = 'layer { name: "ip2" type: "InnerProduct" bottom: "data" top: "ip2" }'
    assert "--set ip2.inner_product_param.num_output=N" in problems_of(tmp_path, INPUT + last)[0]


def test_long_lists_of_problems_are_bounded_in_size_and_time(tmp_path: Path) -> None:
    bad = "".join(layer("ReLU", f"dataa{i}", f"c{i}") for i in range(3000))
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + bad)
    start = time.process_time()
    with pytest.raises(NetError) as caught:
        Net(path, pb.TEST, log=False)
    assert time.process_time() - start < 4
    assert len(caught.value.problems) == 3000
    assert len(str(caught.value)) < 8000
    assert str(caught.value).endswith("... and 2980 more problems")


def test_a_net_in_reverse_is_explained_in_linear_time(tmp_path: Path) -> None:
    rows = [layer("ReLU", f"c{i - 1}" if i else "data", f"c{i}") for i in range(3000)]
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + "".join(reversed(rows)))
    start = time.process_time()
    with pytest.raises(NetError, match="makes it further down: move that layer up") as caught:
        Net(path, pb.TEST, log=False)
    assert time.process_time() - start < 4
    assert "layer 'c2998' makes it further down" in caught.value.problems[0]
