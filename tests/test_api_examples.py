"""The examples in the docstrings of the public API run, and give what they say."""

from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
    if name == "list_sbd":
        pytest.importorskip("scipy")
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
    (lambda c: c.read_net("deploy.prototxt", fork=5), "there is no fork 5"),
    (lambda c: c.deploy_net("train_val.prototxt", head="sofmax"), "head 'sofmax': expected softmax or argmax"),
    (lambda c: c.deploy_net("train_val.prototxt", stages="deploy"), "stages 'deploy': expected a list of names"),
    (lambda c: c.draw_net("deploy.prototxt", "a.svg", stages=["a", 5]), r"stages \['a', 5\]: expected a list of names"),
    (
        lambda c: c.time_net("deploy.prototxt", level=10**12),
        "level 1000000000000: expected a whole number that fits 32",
    ),
    (lambda c: c.build_database("list.txt", "db", names="cat"), "names 'cat': expected a list of names"),
    (lambda c: c.build_database("list.txt", "db", threads=-1), "threads -1: expected a whole number of at least 0"),
    (lambda c: c.split_database("db", "a", "b", fraction=float("nan")), "fraction nan: expected a number above 0"),
    (lambda c: c.summarize("deploy.prototxt", channels=0), "channels 0: expected a whole number of at least 1"),
    (lambda c: c.check("deploy.prototxt", "dpu", channels=1.5), "channels 1.5: expected a whole number"),
    (lambda c: c.export_torch("deploy.prototxt", None, "a.py", batch=0), "batch 0: expected a whole number"),
    (
        lambda c: c.evaluate_classification("deploy.prototxt", None, "list.txt", iterations=-1),
        "iterations -1: expected",
    ),
    (lambda c: c.evaluate_classification("deploy.prototxt", None, "list.txt", ks=(0,)), "ks: a k of 0: expected"),
    (lambda c: c.evaluate_segmentation("segment.prototxt", None, "pairs.txt", iterations=0), "iterations 0: expected"),
    (lambda c: c.evaluate_detection("detect.prototxt", None, "boxes.txt", iterations=1.5), "iterations 1.5: expected"),
    (lambda c: c.verify_database("db", classes=-1), "classes -1: expected a whole number of at least 0"),
    (lambda c: c.inspect_database("db", limit=True), "limit True: expected a whole number of at least 0"),
    (lambda c: c.Preprocess(mean=(104, float("nan"))), "expected finite numbers, one or one a channel"),
    (lambda c: c.Preprocess(scale="x"), "scale 'x': expected a finite number"),
    (lambda c: c.write_text("deploy.prototxt"), "expected a message, as read_net gives it, not str"),
    (lambda c: c.summarize(c.read_solver("solver.prototxt")), "expected a NetParameter, .* this is a SolverParameter"),
    (lambda c: c.Solver(c.read_net("deploy.prototxt")), "expected a SolverParameter, .* this is a NetParameter"),
    (lambda c: c.save_caffemodel("a", c.read_net("deploy.prototxt"), {"conv": ["x"]}), "layer 'conv': .* not str"),
    (lambda c: c.save_caffemodel("a", "deploy.prototxt", {}), "expected a NetParameter, as read_net gives it; this is"),
    (lambda c: c.save_caffemodel("a", c.read_net("deploy.prototxt"), {}, fork="cafe"), "there is no fork 'cafe'"),
    (lambda c: c.dump_blobs("deploy.prototxt", None, "names.txt", seed=1), "names.txt: expected a folder, this is a"),
    (lambda c: c.dump_blobs("deploy.prototxt", None, "", seed=1), "the folder '' cannot be made"),
    (lambda c: c.dump_blobs("deploy.prototxt", None, "a", inputs="0.png"), "'data' is str; expected an array"),
]


SIZED: list[Callable[..., object]] = [
    lambda c, size: c.summarize("deploy.prototxt", size=size),
    lambda c, size: c.check("deploy.prototxt", "dpu", size=size),
    lambda c, size: c.diff_nets("deploy.prototxt", "deploy.prototxt", size=size),
    lambda c, size: c.deploy_net("deploy.prototxt", size=size),
    lambda c, size: c.export_onnx("deploy.prototxt", None, "a", size=size),
    lambda c, size: c.classify("deploy.prototxt", None, "0.png", size=size),
    lambda c, size: c.evaluate_classification("deploy.prototxt", None, "list.txt", resize=size),
    lambda c, size: c.dump_blobs("deploy.prototxt", None, "a", seed=1, size=size),
    lambda c, size: c.build_database("list.txt", "db", size=size),
    lambda c, size: c.convert_imageset("", "list.txt", "db", size=size),
]


@pytest.mark.parametrize("call", SIZED)
def test_sizes_are_two_lengths(call: Callable[..., object], folder: Path) -> None:
    for size in ((8,), (8, 8, 8), (0, 8), (8, -1), (8.5, 8), (float("nan"), 8), "88", 8):
        with pytest.raises(caffecompat.CaffeCompatError, match=r"size .*: expected \(height, width\) in pixels"):
            call(caffecompat, size)


DEVICES: list[Callable[..., object]] = [
    lambda c, device: c.Solver("solver.prototxt", device=device),
    lambda c, device: c.classify("deploy.prototxt", None, "0.png", device=device),
    lambda c, device: c.time_net("deploy.prototxt", iterations=1, device=device),
    lambda c, device: c.evaluate_net("test.prototxt", iterations=1, device=device),
    lambda c, device: c.extract_features("test.prototxt", None, {"fc": "a"}, batches=1, device=device),
]


@pytest.mark.parametrize("call", DEVICES)
def test_devices_are_those_of_this_machine(call: Callable[..., object], folder: Path) -> None:
    for device in ("gpu", "", "meta", "cuda:99"):
        with pytest.raises(caffecompat.CaffeCompatError, match="device '"):
            call(caffecompat, device)


OVER_INPUTS: list[Callable[[Any], object]] = [
    lambda c: c.export_onnx("deploy.prototxt", "net.caffemodel", "deploy.prototxt"),
    lambda c: c.export_onnx("deploy.prototxt", ["net.caffemodel"], "net.caffemodel"),
    lambda c: c.merge_batch_norm("bn.prototxt", "bn.caffemodel", "bn.prototxt", "merged.caffemodel"),
    lambda c: c.merge_batch_norm("bn.prototxt", "bn.caffemodel", "merged.prototxt", Path("bn.caffemodel")),
    lambda c: c.export_deploy("deploy.prototxt", "net.caffemodel", "deploy"),
    lambda c: c.convert_weights("net.caffemodel", "./net.caffemodel", model="deploy.prototxt"),
    lambda c: c.create_label_map("names.txt", "names.txt"),
    lambda c: c.get_image_size("", "list.txt", "list.txt"),
]


@pytest.mark.parametrize("call", OVER_INPUTS)
def test_no_function_writes_over_what_it_reads(call: Callable[[Any], object], folder: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = contents()
    with pytest.raises(caffecompat.CaffeCompatError, match="is not written over: it is read"):
        call(caffecompat)
    assert contents() == before


def test_arrays_of_other_types_are_taken(folder: Path) -> None:
    """Pixels as uint8 and NumPy's float64 are what people have; a mean may be an array or one number."""
    for values in (np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 8), np.uint8), torch.zeros(1, 3, 8, 8).byte()):
        assert caffecompat.dump_blobs("deploy.prototxt", "net.caffemodel", "blobs", inputs=values) == 4
    assert caffecompat.Preprocess(mean=np.array([1, 2, 3])) == caffecompat.Preprocess(mean=(1, 2, 3))  # type: ignore[arg-type]
    assert caffecompat.Preprocess(mean=4).mean == (4,)  # type: ignore[arg-type]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_say_what_is_wrong(call: Callable[[Any], object], message: str, folder: Path) -> None:
    with pytest.raises(caffecompat.CaffeCompatError, match=message):
        call(caffecompat)
    assert not {"a", "b", "db", "net.txt"} & {path.name for path in folder.iterdir()}
