"""Sources of which each process has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caffecompat import CaffeCompatError, Solver, data
from caffecompat.data.own_paths import with_own_paths
from caffecompat.data.share import ALL, Share, share_records
from caffecompat.schema import pb
from caffecompat.solver.epochs import count_all_records
from caffecompat.solver.ranks import Ranks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    share_records(ALL)
    data.seed(None)


def listed(source: str) -> pb.LayerParameter:
    return pb.LayerParameter(
        name="data", type="ImageData", top=["data", "label"], image_data_param={"source": source, "batch_size": 2}
    )


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("train_%r.txt", "train_1.txt"),
        ("%02r/of_%n.txt", "01/of_3.txt"),
        ("big/shard-%05r-of-%05n", "big/shard-00001-of-00003"),
        ("plain_%n.txt", None),
        ("100%.txt", None),
    ],
)
def test_paths(folder: Path, source: str, path: str | None) -> None:
    own = with_own_paths(listed(source), Share(1, 3), None)
    assert (own and own.image_data_param.source) == path


def test_a_path_that_is_there_is_no_pattern(folder: Path) -> None:
    (folder / "train_%r.txt").write_text("")
    assert with_own_paths(listed("train_%r.txt"), Share(1, 3), None) is None


def test_one_process_has_none(folder: Path) -> None:
    with pytest.raises(CaffeCompatError, match=r'layer "data" .*%r is the number of the process.*--processes'):
        data.make_source(listed("train_%r.txt"), "TRAIN")


def test_a_test_net_has_none(folder: Path) -> None:
    share_records(Share(0, 2))
    with pytest.raises(CaffeCompatError, match="%r is for TRAIN layers"):
        data.make_source(listed("train_%r.txt"), "TEST")


def test_more_sources_than_processes(folder: Path) -> None:
    for number in range(3):
        (folder / f"train_{number}.txt").write_text("a.png 0\n")
    share_records(Share(0, 2))
    with pytest.raises(CaffeCompatError, match=r"2 processes read the numbers 0 to 1, and there is train_2\.txt, too"):
        data.make_source(listed("train_%r.txt"), "TRAIN")


def test_fewer_sources_than_processes(folder: Path) -> None:
    (folder / "train_0.txt").write_text("a.png 0\n")
    share_records(Share(1, 2))
    with pytest.raises(CaffeCompatError, match=r"train_1\.txt"):
        data.make_source(listed("train_%r.txt"), "TRAIN")


def test_other_random_numbers_in_each(folder: Path) -> None:
    from tests.solver.rank_runs import write_files

    write_files(folder)
    orders = []
    for rank in range(2):
        (folder / f"all_{rank}.txt").write_text((folder / "list.txt").read_text())
        share_records(Share(rank, 2))
        data.seed(3)
        layer = listed("all_%r.txt")
        layer.image_data_param.shuffle = True
        with data.make_source(layer, "TRAIN") as source:
            assert source.own and source.records == 22
            orders.append([source.next() and source.describe(row) for _ in range(11) for row in range(2)])
    assert orders[0] != orders[1]


def test_epochs_count_the_records_of_all(folder: Path) -> None:
    class Others(Ranks):
        def all(self, value: object) -> list[object]:
            return [value, 8]

    from tests.solver.rank_runs import write_files

    write_files(folder)
    solver = Solver("sgd_solver.prototxt")
    source = solver.net.layers[0].source
    assert isinstance(source, data.Source)
    count_all_records(solver.net, Others())
    assert source.records == 22  # the same source for all
    source.own = True
    count_all_records(solver.net, Others())
    assert source.records == 30
    solver.net.close()
