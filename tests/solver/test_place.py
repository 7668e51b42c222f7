"""The place of a process in its group, as torchrun and srun give it."""

from __future__ import annotations

import pytest

from caffecompat import CaffeCompatError
from caffecompat.solver.place import Place, nodes_first, place_of


def test_places_that_torchrun_and_srun_give() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29400"}
    assert place_of(torchrun) == Place(3, 4, 1, "a", 29400)
    assert place_of({**torchrun, "LOCAL_WORLD_SIZE": "2"}) == Place(3, 4, 1, "a", 29400, 2)
    srun = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "712345",
            "SLURM_JOB_NODELIST": "gpu[07-08]"}  # fmt: skip
    assert place_of(srun) == Place(5, 8, 1, "gpu07", 22345)
    assert place_of({**srun, "LOCAL_WORLD_SIZE": "2"}) == place_of(srun), "srun gives each process cores of its own"
    assert place_of({}) is None and place_of({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) is None
    for change in ({"RANK": "4"}, {"RANK": "x"}, {"MASTER_ADDR": ""}):
        with pytest.raises(CaffeCompatError, match=r"RANK|process 4"):
            place_of({**torchrun, **change})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a", "a"),
        ("a1,b2", "a1"),
        ("node[01-04,07]", "node01"),
        ("node[01-04,07],login1", "node01"),
        ("n[03,5],x", "n03"),
        ("a,n[3-5]", "a"),
        ("n[1-2]-ib", "n1-ib"),
        ("rack[2-3]node[007-12,20]", "rack2node007"),
        ("n[9]", "n9"),
        ("", ""),
    ],
)
def test_the_first_of_a_list_of_nodes(nodes: str, first: str) -> None:
    assert nodes_first(nodes) == first
