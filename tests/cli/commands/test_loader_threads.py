"""``--loader-threads``: how many threads read the data of a verb's nets."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.cli.main import main
from caffecompat.data import loaded_source
from tests.data.batches import make_database, picture


@pytest.mark.parametrize(("flags", "threads"), [(["--loader-threads", "3"], 3), ([], 2)])
def test_the_flag_wins_over_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], threads: int
) -> None:
    make_database(tmp_path / "db", [picture(6, 5)])
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" data_param {{ source: "{tmp_path}/db" '
        "backend: LMDB batch_size: 2 threads: 2 } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_after_train: false '
        f'solver_mode: CPU snapshot_prefix: "{tmp_path}/n"'
    )
    made = []

    class Watched(loaded_source.Loader):
        def __init__(self, reader, depth, threads, share):  # type: ignore[no-untyped-def]
            made.append(threads)
            super().__init__(reader, depth, threads, share)

    monkeypatch.setattr(loaded_source, "Loader", Watched)
    assert main(["train", "--solver", str(tmp_path / "solver.prototxt"), *flags]) == 0
    assert made == [threads]


@pytest.mark.parametrize("count", ["0", "-1", "600", "many"])
def test_numbers_that_make_no_sense(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", "s.prototxt", f"--loader-threads={count}"]) == 2
    assert f"must be a whole number from 1 to 512, it is {count}" in capsys.readouterr().err
