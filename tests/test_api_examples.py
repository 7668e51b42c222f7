"""The examples in the docstrings of the public API run, and give what they say."""

from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import caffecompat
from tests.api_examples import write_examples


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)  # that the example of export_torch imports
    write_examples()
    return tmp_path


@pytest.mark.parametrize("name", caffecompat.__all__)
def test_examples(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    public = getattr(caffecompat, name)
    doc = public.__doc__ or ""
    test = doctest.DocTestParser().get_doctest(doc, {}, name, None, None)
    assert test.examples and not any(doctest.SKIP in example.options for example in test.examples), "no example"
    result = doctest.DocTestRunner().run(test)
    assert not result.failed, capfd.readouterr().out


ACCURACY = 'layer { name: "right" type: "Accuracy" bottom: "fc" bottom: "label" top: "right" include { phase: TEST } }'


def test_a_net_scores_its_own_data_and_others(folder: Path) -> None:
    Path("own.prototxt").write_text(Path("train_val.prototxt").read_text() + ACCURACY)
    caffecompat.build_database("list.txt", "pictures_lmdb")
    results = [
        caffecompat.evaluate_classification(model, "net.caffemodel", data, ks=(1, 2))
        for model, data in (
            ("own.prototxt", None),
            ("own.prototxt", "list.txt"),
            (caffecompat.read_net("deploy.prototxt"), "list.txt"),
            ("deploy.prototxt", "pictures_lmdb"),
        )
    ]
    assert [result.counts.tolist() for result in results] == [[[2, 0], [0, 2]]] * 4
    half = caffecompat.evaluate_classification("own.prototxt", "net.caffemodel", iterations=1)
    assert half.total == 2


def test_segmentation_data_in_every_form(folder: Path) -> None:
    caffecompat.build_database("pairs.txt", "pairs", encoding="png")
    for data in ("pairs.txt", "pairs", ("pairs/image", "pairs/label")):
        matrix = caffecompat.evaluate_segmentation("segment.prototxt", "segment.caffemodel", data)
        assert matrix.counts.diagonal().sum() == matrix.counts.sum() == 64
    wrong = caffecompat.evaluate_segmentation("segment.prototxt", "segment.caffemodel", "pairs.txt", ignore=(0,))
    assert wrong.counts.sum() == 42


def test_detection_data_in_two_forms(folder: Path) -> None:
    caffecompat.build_database("boxes.txt", "boxes_lmdb")
    for data in ("boxes.txt", "boxes_lmdb"):
        tally = caffecompat.evaluate_detection("detect.prototxt", "detect.caffemodel", data)
        assert [tally.mean_average_precision(rule) for rule in ("11point", "MaxIntegral", "Integral")] == [1, 1, 1]
        assert tally.mean_average_precision(threshold=1.01) == 0
        assert tally.coco().ap50 == 1


def test_what_is_deployed_is_written_in_a_tools_form(folder: Path) -> None:
    lines: list[str] = []
    done = caffecompat.export_deploy(
        "bn.prototxt", ["bn.caffemodel"], "out/", target="tidl-caffe", calibration="list.txt", on_note=lines.append
    )
    assert done.same and lines == done.notes and any("folded 2 layers" in line for line in lines)
    assert done.paths == ["out/tidl_import.txt", "out/deploy.prototxt", "out/deploy.caffemodel"]
    assert all(difference.relative < 1e-5 for difference in done.differences) and len(done.differences) == 1
    assert [layer.type for layer in caffecompat.read_net("out/deploy.prototxt").layer] == ["Input", "Convolution"]
    plain = caffecompat.export_deploy("train_val.prototxt", None, "plain")
    assert plain.paths == ["plain.prototxt"] and not Path("plain.caffemodel").exists()


def test_a_net_can_be_given_as_it_was_read(folder: Path) -> None:
    net = caffecompat.read_net("deploy.prototxt")
    assert caffecompat.summarize(net).parameters == caffecompat.summarize("deploy.prototxt").parameters
    made = caffecompat.Net(net, "TEST", log=False, weights="net.caffemodel")
    assert [layer.zeros for layer in caffecompat.summarize(made).layers] == [
        0,
        108,
        384,
        0,
    ]  # one weight of each position of a picture, one bias
    assert not caffecompat.diff_nets(net, "deploy.prototxt", weights=["net.caffemodel", "net.caffemodel"]).differs
    loading = caffecompat.diff_nets(net, "deploy.prototxt", weights="net.caffemodel").weights
    assert loading is not None and (loading.file, loading.loaded) == ("net.caffemodel", ["conv", "fc"])
    net.layer[1].convolution_param.num_output = 5
    assert caffecompat.deploy_net(net).inputs == {"data": (1, 3, 8, 8)}
    done = caffecompat.export_torch(net, None, "five.py")
    assert (done.weights, done.missing, done.net.blob_shapes["conv"]) == ("five.pt", "", (1, 5, 8, 8))


MISTAKES = [
    (lambda c: c.export_torch("deploy.prototxt", None, "net.txt"), r"net\.txt: expected a name that ends in \.py"),
    (lambda c: c.diff_nets("deploy.prototxt", "deploy.prototxt", "TRIAN"), "phase 'TRIAN': expected TRAIN or TEST"),
    (
        lambda c: c.diff_nets("deploy.prototxt", "deploy.prototxt", weights=["a", "b", "c"]),
        "weights are those of A, or of A and",
    ),
    (lambda c: c.summarize("deploy.prototxt", 7), "phase 7: expected TRAIN"),
    (lambda c: c.summarize(c.Net("deploy.prototxt", 1, log=False), size=(8, 8)), "made already"),
    (lambda c: c.check("deploy.prototxt", "gpu"), "there is no target 'gpu'"),
    (lambda c: c.export_deploy("deploy.prototxt", None, "a", target="vitus"), "target 'vitus': expected 'vitis' or"),
    (lambda c: c.export_deploy("deploy.prototxt", None, "a", merge_batch_norm=True), "needs weights"),
    (lambda c: c.merge_batch_norm("train_val.prototxt", "net.caffemodel", "a", "b"), "reads data"),
    (lambda c: c.evaluate_segmentation("segment.prototxt", "segment.caffemodel"), "fed from outside: give the data"),
    (lambda c: c.evaluate_segmentation("segment.prototxt", None, "pairs.txt", resize="up"), "resize 'up': expected"),
    (lambda c: c.evaluate_detection("detect.prototxt", "detect.caffemodel"), "fed from outside: give the data"),
    (lambda c: c.evaluate_classification("deploy.prototxt", "net.caffemodel"), "fed from outside: give the data"),
    (lambda c: c.evaluate_classification("deploy.prototxt", "bn.caffemodel", "list.txt"), "bn.caffemodel"),
    (lambda c: c.build_database("list.txt", "db", encoding="gif"), "unknown encoding 'gif'"),
    (lambda c: c.build_database("list.txt", "0.png"), "0.png exists already"),
    (lambda c: c.deploy_net("deploy.prototxt", fork="cafe"), "cafe"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_say_what_is_wrong(call: Callable[[Any], object], message: str, folder: Path) -> None:
    with pytest.raises(caffecompat.CaffeCompatError, match=message):
        call(caffecompat)
    assert not {"a", "b", "db", "net.txt"} & {path.name for path in folder.iterdir()}
