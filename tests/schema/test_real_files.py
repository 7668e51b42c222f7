"""Every prototxt of other people next to the checkout: read, written, read again."""

from __future__ import annotations

import time

from caffecompat.schema import open_net, parse_text, pb, read_message, write_text

# Of 2014, in no Caffe any more: the only unknown fields of all these files.
_UNKNOWN = {"stepearly", "norm_region"}


def _kinds(shared):
    """(path, message class) of each file, as the forks' own schemas told them apart."""
    classes = {"N": pb.NetParameter, "S": pb.SolverParameter, "L": pb.LabelMap}
    for line in (shared / "real" / "PARSE_STATUS.txt").read_text().splitlines():
        columns = line.split("#")[0].split()
        if len(columns) == 7:
            letters = {column[-1] for column in columns[:6]} - {"."}
            kind = letters.pop() if letters else ("S" if "solver" in columns[6] else "N")
            yield shared / "real" / columns[6], classes[kind]


def test_round_trip(shared, log):
    count = 0
    for path, kind in _kinds(shared):
        message = read_message(path, kind())
        text = write_text(message)
        again = parse_text(text, kind(), path.name)
        assert again == message, path
        assert write_text(again) == text, path
        count += 1
    assert count == 445
    warned = {line.split("has no field '")[1].split("'")[0] for line in log if "has no field" in line}
    assert warned == _UNKNOWN


def test_all_nets_come_to_todays_form(shared, log):
    for path, kind in _kinds(shared):
        if kind is pb.NetParameter:
            document = open_net(path)
            assert not document.message.layers and not document.message.input
            assert len({document.where(index) for index in range(len(document.message.layer))}) == len(
                document.message.layer
            )


def test_a_large_net_is_read_quickly(shared):
    path = shared / "real" / "vitis-tutorial-05-seg" / "model" / "espnet" / "train_val.prototxt"
    read_message(path, pb.NetParameter())
    start = time.perf_counter()
    read_message(path, pb.NetParameter())
    assert time.perf_counter() - start < 0.3  # 2832 lines; 0.01 s on an idle core
