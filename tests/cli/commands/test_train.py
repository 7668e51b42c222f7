"""``caffecompat train``: starting, fine-tuning, resuming, stopping, and every mistake a user makes first."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENCODER = ("train", "-solver", "solver_encoder.prototxt", "--set", "max_iter=2")


def _edit(path: str, *changes: tuple[str, str]) -> str:
    text = Path(path).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("edited.prototxt").write_text(text)
    return "net=edited.prototxt"


def _losses(log: str) -> list[float]:
    return [float(value) for value in re.findall(r"Iteration \d+ \(.*loss = (\S+)", log)]


def test_two_stages_as_in_the_tutorial(streets, command):
    first = command(*ENCODER, "--weights", "init_encoder.caffemodel")
    assert first.status == 0
    assert first.out == ""
    assert Path("encoder_iter_2.caffemodel").exists()
    second = command(
        "train", "--solver=solver.prototxt", "--weights", "encoder_iter_2.caffemodel,init_full.caffemodel",
        "--set", "max_iter=1", "--set", "display=1",
    )  # fmt: skip
    assert second.status == 0
    assert "Finetuning from encoder_iter_2.caffemodel" in second.err
    assert "Ignoring source layer score_encoder" in second.err
    assert len(_losses(second.err)) == 1


def test_pasted_dashes_are_read(streets, command):
    result = command("train", "–solver", "solver_encoder.prototxt", "—set", "max_iter=1")
    assert result.status == 0
    assert "typographic dashes" in result.err


def test_resume_auto_takes_the_newest_state_or_starts(streets, command):
    os.remove("encoder_iter_20.solverstate")
    fresh = command(*ENCODER, "--resume", "auto")
    assert "starting from the beginning" in fresh.err
    resumed = command("train", "-solver", "solver_encoder.prototxt", "--resume", "auto", "--set", "max_iter=3")
    assert "Resuming from encoder_iter_2.solverstate" in resumed.err
    assert Path("encoder_iter_3.solverstate").exists()


def test_resume_from_the_originals_state(streets, command):
    result = command("train", "-solver", "solver_encoder.prototxt", "-snapshot", "encoder_iter_20.solverstate",
                     "--set", "max_iter=21")  # fmt: skip
    assert result.status == 0
    assert Path("encoder_iter_21.caffemodel").exists()


def test_dry_run_prints_the_plan_and_trains_nothing(streets, command):
    result = command(*ENCODER, "--dry-run")
    assert result.status == 0
    assert re.search(r"conv1 +Convolution +conv1 2x8x32x48 +216", result.out)
    assert "parameters   " in result.out
    assert "Starting Optimization" not in result.err
    assert not Path("encoder_iter_2.caffemodel").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "needs a solver definition"),
        (("-solver", "no.prototxt"), "no.prototxt"),
        (("-solver", "solver_encoder.prototxt", "-wieghts", "x"), "did you mean --weights"),
        (("-solver", "solver_encoder.prototxt", "-weights", "no.caffemodel"), "no.caffemodel"),
        (("-solver", "solver_encoder.prototxt", "-weights", "a", "-snapshot", "b"), "not both"),
        (("-solver", "solver_encoder.prototxt", "-sigint_effect", "die"), "snapshot, stop or none"),
        (("-solver", "solver_encoder.prototxt", "-snapshot", "solver.prototxt"), "solver.prototxt"),
        (("-solver", "init_encoder.caffemodel"), "init_encoder.caffemodel"),
        (("-solver", "train_val_encoder.prototxt"), "train_val_encoder.prototxt"),
        (("-solver", "solver_encoder.prototxt", "-weights", "train_val.prototxt"), "text"),
        (("-solver", "solver_encoder.prototxt", "--set", "snapshot_prefix=/nowhere/x"), "mkdir -p /nowhere"),
        (("-solver", "solver_encoder.prototxt", "--set", "net=gone.prototxt"), "gone.prototxt"),
        (("-solver", "solver_encoder.prototxt", "--device", "tpu"), "expected cpu, cuda"),
        (("-solver", "solver_encoder.prototxt", "--processes", "2", "--device", "cuda"), "leave out --device cuda"),
    ],
)
def test_wrong_words_and_files_are_explained(streets, command, words, message):
    result = command("train", *words)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_all_unknown_layer_types_at_once(streets, command):
    net = _edit("train_val_encoder.prototxt", ('"ReLU"', '"RelU"'), ('"Concat"', '"DetectNetTransformation"'))
    result = command(*ENCODER, "--set", net)
    assert result.status == 2
    assert len(re.findall(r"edited.prototxt:\d+:\d+: layer 'relu\d' \(RelU\).*did you mean 'ReLU'", result.err)) == 3
    assert re.search(r"layer 'cat' \(DetectNetTransformation\).*(jacinto|Xilinx)", result.err)


def test_a_misspelled_field_is_named_with_its_place(streets, command):
    net = _edit("train_val_encoder.prototxt", ("num_output: 8", "num_outputs: 8"))
    result = command(*ENCODER, "--set", net)
    assert result.status == 2
    assert re.search(r"edited.prototxt:\d+:\d+: .*no field 'num_outputs'; did you mean 'num_output'", result.err)


def test_a_missing_bottom_is_named_with_the_nearest_blob(streets, command):
    net = _edit("train_val_encoder.prototxt", ('bottom: "cat"', 'bottom: "catt"'))
    result = command(*ENCODER, "--set", net)
    assert result.status == 2
    assert re.search(r"edited.prototxt:\d+:\d+: layer 'cls' .*'catt'.*did you mean 'cat'", result.err)


def test_a_label_out_of_range_names_value_and_classes(streets, command):
    net = _edit("train_val_encoder.prototxt", ("num_output: 19", "num_output: 4"), ("group: 19", "group: 4"))
    result = command(*ENCODER, "--set", net)
    assert result.status == 2
    assert re.search(r"label.* \d+ .*4 classes", result.err), result.err[-500:]


def test_a_missing_image_is_named_with_the_lists_line(streets, command):
    (streets / "images" / "03.png").unlink()
    result = command(*ENCODER)
    assert result.status == 2
    assert re.search(r"img_seg.txt:4.*03\.png|03\.png.*img_seg.txt:4", result.err), result.err[-500:]


def test_a_corrupt_image_is_named(streets, command):
    path = streets / "images" / "00.png"
    path.write_bytes(path.read_bytes()[:60])
    result = command(*ENCODER)
    assert result.status == 2
    assert "00.png" in result.err


def test_truncated_weights_are_named_with_the_layer(streets, command):
    data = Path("init_encoder.caffemodel").read_bytes()
    Path("cut.caffemodel").write_bytes(data[: len(data) // 2])
    result = command(*ENCODER, "-weights", "cut.caffemodel")
    assert result.status == 2
    assert "cut.caffemodel" in result.err
    assert re.search(r"cut short|truncated", result.err)


def test_all_mismatched_shapes_at_once_with_the_ways_out(streets, command):
    net = _edit("train_val_encoder.prototxt", ("num_output: 8", "num_output: 9"), ("num_output: 12", "num_output: 13"))
    wrong = command(*ENCODER, "--set", net, "-weights", "init_encoder.caffemodel")
    assert wrong.status == 2
    for layer in ("conv1", "bn1", "conv2", "bn2", "conv3"):
        assert re.search(rf"\b{layer}\b.*8|\b{layer}\b.*12", wrong.err), layer
    assert "--skip-mismatched" in wrong.err
    skipped = command(*ENCODER, "--set", net, "-weights", "init_encoder.caffemodel", "--skip-mismatched")
    assert skipped.status == 0


def _start(*words: str, **kwargs: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caffecompat", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        **kwargs,
    )


def test_ctrl_c_writes_a_snapshot_that_resumes(streets, command):
    process = _start("train", "-solver", "solver_encoder.prototxt", "--set", "max_iter=100000", "--set", "display=1")
    assert process.stderr is not None
    for line in process.stderr:
        if "Iteration 3 " in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Optimization stopped early." in rest
    state = re.findall(r"solver state to binary proto file (\S+)", rest)[-1]
    stopped = int(re.findall(r"_iter_(\d+)\.", state)[0])
    result = command(
        "train", "-solver", "solver_encoder.prototxt", "-snapshot", state, "--set", f"max_iter={stopped + 1}"
    )
    assert result.status == 0


@pytest.mark.parametrize("gpu", ["x", "0,x", "0;1", "1.5", "-2", "0,-1", "ALL"])
def test_a_gpu_that_is_no_number_is_an_error(streets, command, gpu):
    result = command(*ENCODER, "--gpu", gpu)
    assert result.status == 2 and f"--gpu {gpu}: expected the number of a GPU" in result.err


@pytest.mark.parametrize("weights", ["", ",", " , "])
def test_empty_weights_are_no_start_from_scratch(streets, command, weights):
    """`--weights "$W"` of a script whose variable is empty."""
    for words in (("--weights", weights), (f"-weights={weights}",)):
        result = command(*ENCODER, *words)
        assert result.status == 2 and "--weights is empty" in result.err


def test_a_last_snapshot_that_fails_is_no_success(streets, command):
    """Also where the last iteration is one at which a snapshot is due anyway."""
    limit = 1000  # a file size limit is a full disk for one process
    process = _start(
        *ENCODER, "--set", "snapshot=1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "Training goes on" in error and "error: snapshots could not be written:\n  of iteration 1: " in error
    assert "  of iteration 2: encoder_iter_2.caffemodel: cannot be written: File too large" in error
    assert not list(Path().glob("encoder_iter_[12].*"))


def test_a_run_that_is_at_its_end_says_so_and_writes_nothing(streets, command):
    assert command(*ENCODER).status == 0
    files = {path: path.stat().st_mtime_ns for path in Path().glob("encoder_iter_*")}
    result = command(*ENCODER, "--snapshot", "encoder_iter_2.solverstate", "--set", "max_iter=1")
    assert result.status == 0 and "nothing to train: this is iteration 2 already, and max_iter is 1" in result.err
    assert files == {path: path.stat().st_mtime_ns for path in Path().glob("encoder_iter_*")}


def test_a_killed_training_leaves_its_snapshots_whole(streets, command):
    words = ("train", "-solver", "solver_encoder.prototxt", "--set", "max_iter=100000", "--set", "snapshot=1")
    process = _start(*words)
    while not list(Path().glob("encoder_iter_?.solverstate")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    result = command(*words[:-4], "--resume", "auto", "--set", "max_iter=0")
    assert result.status == 0
    for path in Path().glob("encoder_iter_*.caffemodel"):
        assert command("weights", "show", path).status == 0


def test_a_full_disk_keeps_the_old_snapshot(streets, command):
    assert command(*ENCODER).status == 0
    before = Path("encoder_iter_2.caffemodel").read_bytes()
    # A file size limit is a full disk for one process: writes fail with EFBIG.
    limit = len(before) // 2
    process = _start(*ENCODER, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "encoder_iter_2.caffemodel" in error.splitlines()[-1] or "encoder_iter_2.caffemodel" in error
    assert "Traceback" not in error
    assert Path("encoder_iter_2.caffemodel").read_bytes() == before
    assert command("weights", "show", "encoder_iter_2.caffemodel").status == 0


def test_checkpointed_activations_give_the_same_snapshot(streets, command):
    made = []
    for flags in ((), ("--checkpoint-activations",)):
        assert command(*ENCODER, "--set", "random_seed=1", *flags).status == 0
        made.append(Path("encoder_iter_2.caffemodel").read_bytes())
    assert made[0] == made[1]


def test_ways_to_compute_that_do_not_go_together(streets, command):
    assert "not both" in command(*ENCODER, "--compile", "--checkpoint-activations").err
    assert "--cuda-graphs needs --compile" in command(*ENCODER, "--cuda-graphs").err
    result = command(*ENCODER, "--tf32", "--dry-run")
    assert result.status == 0
    assert "--tf32 has no effect on the CPU" in result.err
