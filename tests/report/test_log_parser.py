"""Training logs of all kinds as rows."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest

from caffecompat.report.log_parser import LogError, parse_lines, parse_log

# The regular expressions that public tools search training logs with (BVLC's tools/extra/parse_log.py).
ITERATION = re.compile(r"Iteration (\d+)")
OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = ([\.\deE+-]+)")
RATE = re.compile(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)")


def found_by_public_tools(text: str) -> dict[str, list[tuple]]:
    """What these expressions find: (iteration, name, value) of train and test outputs, (iteration, rate)."""
    iteration, found = None, {"Train": [], "Test": [], "lr": []}
    for line in text.splitlines():
        at, output, rate = ITERATION.search(line), OUTPUT.search(line), RATE.search(line)
        iteration = int(at[1]) if at else iteration
        if iteration is None:
            continue
        if output:
            found[output[1]].append((iteration, output[3], float(output[4])))
        if rate:
            found["lr"].append((iteration, float(rate[1])))
    return found


def found_by_us(text: str) -> dict[str, list[tuple]]:
    log = parse_lines(text.splitlines())
    rates = {row.iteration: row.rate for row in log.train if row.values}
    return {
        "Train": [(row.iteration, name, value) for row in log.train for name, value in row.outputs],
        "Test": [(row.iteration, name, value) for row in log.test for name, value in row.outputs],
        "lr": list(rates.items()),
    }


@pytest.mark.parametrize("name", ["train.log", "resume.log"])
def test_the_same_is_found_as_by_public_tools(golden: Path, name: str) -> None:
    text = (golden / "cli" / name).read_text()
    theirs = found_by_public_tools(text)
    assert len(theirs["Train"]) >= 12 and len(theirs["Test"]) >= 16
    assert found_by_us(text) == theirs


def lines(*messages: str, day: str = "0706", clock: str = "13:22:{:02}.500000") -> list[str]:
    return [f"I{day} {clock.format(i)}  4945 solver.cpp:270] {m}\n" for i, m in enumerate(messages)]


def test_bvlc(golden: Path) -> None:
    log = parse_log(golden / "cli/train.log")
    assert log.start_found and log.runs == 1
    assert log.losses == {"l2", "loss"}
    assert log.names() == ["l2", "loss"] and log.names(test=True) == ["accuracy", "l2", "loss", "top3"]
    assert [row.iteration for row in log.train] == [*range(0, 100, 10), 100]
    second = log.train[1]
    assert (second.loss, second.values, second.rate) == (1.53377, {"l2": 0.905387, "loss": 0.844292}, 0.002)
    assert second.speed == 3333.33 and second.seconds == pytest.approx(0.004103)
    # The learning rate is that of the row's iteration although it is printed after the row.
    assert [row.rate for row in log.train[2:5]] == [0.002, 0.001, 0.001]
    assert [(row.iteration, row.rate) for row in log.test[:4]] == [(0, 0.002), (20, 0.002), (40, 0.001), (60, 0.0005)]
    assert len(log.table()) == 10, "the loss after the last iteration has no outputs"
    assert list(log.table(test=True)[0]) == ["NumIters", "Seconds", "LearningRate", *log.names(test=True)]


def test_xilinx_vectors_become_columns() -> None:
    log = parse_lines(lines(
        "Solving net",
        "Iteration 50 (0.03268 iter/s, 1529.99s/50 iter), loss = 0.21909, remaining 1 hours and 31 minutes",
        "    Train net output #0: acc = 0.9",
        "    Train net output #1: loss = 0.3 (* 1 = 0.3 loss)",
        "    Train net output #2: per_acc = 0.1",
        "    Train net output #3: per_acc = 0.2",
        "Iteration 50, lr = 0.0005",
    ))  # fmt: skip
    (row,) = log.train
    assert row.values == {"acc": 0.9, "loss": 0.3, "per_acc_0": 0.1, "per_acc_1": 0.2}
    assert (row.loss, row.speed, row.rate, row.seconds) == (0.21909, 0.03268, 0.0005, 2)


def test_jacinto_forms() -> None:
    log = parse_lines(lines(
        "Solving net",
        "Iteration 0, Testing net (#0)",
        "class AP 1: 0.5",
        "class AP 2: 0.25",
        "Test net output mAP #0: detection_eval = 0.375",
        "[MultiGPU] Tests completed in 0.8s",
        'Iteration 100 (61.3996 iter/s, 1.6s/98 iter), 0.1/80ep, loss = 0.25',
        "    Train net output #0: loss = 0.26 (* 1 = 0.26 loss)",
        "Iteration 100, lr = 0.01, m = 0.9, wd = 0.0001, gs = 1",
        "Iteration 200, Testing net (#0)",
        "Test net output Class IoU #0: iou class 0 = 0.5",
        "Test net output Class IoU #1: iou class 1 = 0.7",
        "Test net output Mean IoU #0: iou = 0.6",
        "Total Sparsity (zero_weights/count) =  (2.1715e+06/2.69117e+06) 0.807",
    ))  # fmt: skip
    assert log.test[0].values == {"class1": 0.5, "class2": 0.25, "detection_eval": 0.375}
    assert log.test[1].values == {"iou_0": 0.5, "iou_1": 0.7, "iou": 0.6}
    assert (log.train[0].loss, log.train[0].rate) == (0.25, 0.01)
    assert log.sparsity == [(200, 13, 0.807)]


def test_nan_inf_and_windows_numbers() -> None:
    values = {"nan": "nan", "-nan": "nan", "inf": "inf", "-inf": "-inf", "-1.#IND": "nan", "1.#INF": "inf"}
    for text, meant in values.items():
        output = f"    Train net output #0: loss = {text} (* 1 = x loss)"
        log = parse_lines(lines(f"Iteration 1, loss = {text}", output))
        assert repr(log.train[0].loss) == repr(log.train[0].values["loss"]) == meant


def test_blank_and_foreign_lines_and_no_solving() -> None:
    messages = lines("starting", "Iteration 0, loss = 2", "    Train net output #0: loss = 2")
    text = [messages[0], "\n", "2024 job: hello\n", *messages[1:2], "\n", "  solver_mode: GPU\n", *messages[2:]]
    log = parse_lines(["trainer_1  | " + line for line in text])
    assert not log.start_found
    assert [(row.iteration, row.seconds, row.values) for row in log.train] == [(0, 2, {"loss": 2})]


def test_runs_in_one_file() -> None:
    first = lines("Solving net", "Iteration 0, loss = 3", "    Train net output #0: loss = 3", "Iteration 0, lr = 0.1",
                  "Iteration 10, loss = 2", "    Train net output #0: loss = 2", "Iteration 10, lr = 0.1")  # fmt: skip
    again = lines("Solving net", "Iteration 10, Testing net (#0)", "    Test net output #0: loss = 5",
                  "Iteration 10, loss = 1", "    Train net output #0: loss = 1", "Iteration 10, lr = 0.01",
                  clock="14:00:{:02}")  # fmt: skip
    log = parse_lines(first + again)
    assert log.runs == 2
    assert [(row["NumIters"], row["LearningRate"], row["loss"], row["Run"]) for row in log.table()] == [
        (0, 0.1, 3, 0), (10, 0.1, 2, 0), (10, 0.01, 1, 1)
    ]  # fmt: skip
    assert log.test[0].rate == 0.01, "not the rate of the run before"
    # Without 'Solving' lines iterations that step back begin a run.
    assert parse_lines(first[1:] + first[1:]).runs == 2


def test_several_test_nets() -> None:
    log = parse_lines(lines("Iteration 0, Testing net (#0)", "    Test net output #0: loss = 5",
                            "Iteration 0, Testing net (#1)", "    Test net output #0: loss = 7"))  # fmt: skip
    assert [(row["TestNet"], row["loss"]) for row in log.table(test=True)] == [(0, 5), (1, 7)]


@pytest.mark.parametrize(
    ("days", "seconds"),
    [
        (["1231", "0101"], 86400),
        (["0228", "0301"], 86400),
        (["0228", "0229", "0301"], 172800),
    ],
)
def test_new_year_and_leap_days(days: list[str], seconds: float) -> None:
    text = [f"I{day} 10:00:00.000000  1 solver.cpp:1] Iteration {i}, loss = 1\n" for i, day in enumerate(days)]
    assert parse_lines(text).train[-1].seconds == seconds


def test_a_prefix_with_the_year() -> None:
    text = [f"I20240{month}01 10:00:00.000000  1 solver.cpp:1] Iteration {month}, loss = 1\n" for month in (3, 4)]
    assert parse_lines(text).train[-1].seconds == 31 * 86400


def test_a_file_that_is_no_log(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is no training log: no 'Iteration N' line"):
        parse_log(golden / "cli/test.log")
    with pytest.raises(LogError, match=r"cannot read the log .*: No such file"):
        parse_log(tmp_path / "absent.log")


REAL = {
    # log: training rows with outputs, test rows, runs, value of the last training row, of the last test row
    "everpeace-v1/cifar10/train_log.txt": (50, 12, 2, ("loss", 0.482015), ("accuracy", 0.7491)),
    "vitis-tutorial-05-seg/logs/unet-full/final_models/example_log.txt": (53, 0, 1, ("per_acc_18", None), None),
    "vitis-tutorial-05-seg/logs/enet/encoder_models/example_log.txt": (4, 0, 1, ("per_class_accuracy_18", None), None),
    "vitis-tutorial-14-ssd/workspace/VGG16-SSD/train.log": (
        29, 1, 1, ("mbox_loss", 1.91829), ("detection_eval", 0.766879)),
    "jacinto-models/image_classification/imagenet_jacintonet11v2/initial/run.log": (
        27, 2, 1, ("loss", None), ("accuracy/top1", 0.608705)),
    "jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/sparse/run.log": (
        11, 1, 1, ("loss", 0.0607646), ("accuracy/top1", 0.954073)),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_logs(name: str, shared: Path) -> None:
    train, test, runs, last_train, last_test = REAL[name]
    path = shared / "real" / name
    log = parse_log(path)
    assert (len(log.table()), len(log.test), log.runs) == (train, test, runs)
    for row, expected in ((log.table()[-1], last_train), (log.table(test=True)[-1:], last_test)):
        if expected:
            cells = row if isinstance(row, dict) else row[0]
            assert expected[0] in cells and (expected[1] is None or cells[expected[0]] == expected[1])
    assert not any(math.isnan(row.seconds) or math.isnan(row.rate) for row in log.train)
    ours, theirs = found_by_us(path.read_text()), found_by_public_tools(path.read_text())
    assert (ours["Train"], ours["Test"]) == (theirs["Train"], theirs["Test"])


def test_every_real_training_log_gives_a_table(shared: Path) -> None:
    logs = [path for path in (shared / "real").rglob("*") if path.name.endswith((".log", ".txt"))]
    training = [path for path in logs if "Iteration " in (text := path.read_text(errors="replace")) and "lr = " in text]
    assert len(training) >= 16
    for path in training:
        log = parse_log(path)
        rows = log.table()
        assert rows, path
        assert {"NumIters", "Seconds", "LearningRate"} <= rows[0].keys() and len(rows[0]) > 3, path
        for run in range(log.runs):
            numbers = [row.iteration for row in log.train if row.run == run]
            assert numbers == sorted(set(numbers)), path


OLD = """\
I0320 10:00:00.000001  4945 caffe.cpp:91] Starting Optimization
I0320 10:00:00.100000  4945 solver.cpp:160] Solving LeNet
I0320 10:00:00.200000  4945 solver.cpp:247] Iteration 0, Testing net{net}
I0320 10:00:01.200000  4945 solver.cpp:298] Test score #0: 0.0932
I0320 10:00:01.200001  4945 solver.cpp:298] Test score #1: 2.3103
I0320 10:00:01.300000  4945 solver.cpp:191] Iteration 100, loss = 0.3
I0320 10:00:01.300001  4945 solver.cpp:404] Iteration 100, lr = 0.01
I0320 10:00:02.300000  4945 solver.cpp:247] Iteration 500, Testing net{net}
I0320 10:00:03.300000  4945 solver.cpp:298] Test score #0: 0.98
I0320 10:00:03.300001  4945 solver.cpp:298] Test score #1: -nan
I0320 10:00:03.400000  4945 solver.cpp:191] Iteration 500, loss = 0.08
"""


@pytest.mark.parametrize("net", ["", " (#0)"])
def test_logs_of_2014_number_their_scores(net: str) -> None:
    log = parse_lines(OLD.format(net=net).splitlines())
    rows = [(row.iteration, row.test_net, row.seconds, row.values["score_0"]) for row in log.test]
    assert rows == [(0, 0, pytest.approx(1.1), 0.0932), (500, 0, pytest.approx(3.2), 0.98)]
    assert [row["loss"] for row in log.table()] == [0.3, 0.08]
    assert log.test[0].values["score_1"] == 2.3103 and math.isnan(log.test[1].values["score_1"])
    assert [(row.iteration, row.loss) for row in log.train] == [(100, 0.3), (500, 0.08)]
    assert log.names(test=True) == ["score_0", "score_1"]


@pytest.mark.parametrize("number", ["9" * 19, "9" * 400, "9" * 5000])
def test_numbers_beyond_any_iteration_are_passed_over(number: str) -> None:
    log = parse_lines(
        [
            "I0101 00:00:01.0 1 solver.cpp:1] Iteration 10, loss = 0.5\n",
            f"I0101 00:00:02.0 1 solver.cpp:1] Iteration {number}, loss = 0.25\n",
            f"I0101 00:00:02.0 1 solver.cpp:1]     Train net output #{number}: loss = 0.25\n",
            f"I0101 00:00:03.0 1 solver.cpp:1] Iteration 20, Testing net (#{number})\n",
            f"I0101 00:00:03.0 1 solver.cpp:1]     Test net output #0: loss = {number} (* 1 = 0.5 loss)\n",
        ]
    )
    assert [row.iteration for row in log.train] == [10]
    assert [row["NumIters"] for row in log.table() + log.table(test=True)] == [10.0, 20.0]


def test_lines_of_any_length_take_no_time() -> None:
    lines = ["Iteration 0, Testing net (#0)\n", "Test net output #1: " * 20000, "Iteration 10, loss = 0.5\n"]
    began = time.process_time()
    assert [row.iteration for row in parse_lines(lines).train] == [10]
    assert time.process_time() - began < 10
