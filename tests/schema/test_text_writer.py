"""Text as Caffe prints it."""

from __future__ import annotations

import math
import re

import pytest

from caffecompat.schema import parse_text, pb, write_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0005, "0.0005"),
        (1e-8, "1e-08"),
        (0.1, "0.1"),
        (1 / 256, "0.00390625"),
        (1 / 255, "0.00392156886"),
        (1 / 3, "0.333333343"),
        (16777216.0, "16777216"),
        (1e6, "1e+06"),
        (123456.0, "123456"),
        (3.4028234663852886e38, "3.40282347e+38"),
        (-0.0, "-0"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_floats_are_printed_with_6_or_9_digits(value, text):
    assert write_text(pb.SolverParameter(base_lr=value)) == f"base_lr: {text}\n"


def test_doubles_are_printed_with_15_or_17_digits():
    assert write_text(pb.BlobProto(double_data=[0.1, 1 / 3])) == "double_data: 0.1\ndouble_data: 0.33333333333333331\n"


def test_strings_are_escaped():
    text = write_text(pb.LayerParameter(name="a'b\"c\\d\n\t\ré\x01"))
    assert text == 'name: "a\\\'b\\"c\\\\d\\n\\t\\r\\303\\251\\001"\n'
    assert parse_text(text, pb.LayerParameter()).name == "a'b\"c\\d\n\t\ré\x01"


def test_fields_stand_in_order_of_number():
    solver = pb.SolverParameter(type="Adam", net="x", base_lr=1, solver_mode=pb.SolverParameter.CPU, test_iter=[1, 2])
    solver.train_state.SetInParent()
    assert write_text(solver) == (
        'test_iter: 1\ntest_iter: 2\nbase_lr: 1\nsolver_mode: CPU\nnet: "x"\ntrain_state {\n}\ntype: "Adam"\n'
    )


def test_an_empty_message_is_an_empty_text():
    assert write_text(pb.NetParameter()) == ""


def _dumps(log: str) -> list[tuple[str, str]]:
    """(message kind, text) of the messages that a Caffe log holds."""
    found = re.findall(r"Initializing (solver|net) from parameters: \n(.*?)(?=^[IWEF]\d{4} )", log, re.S | re.M)
    return [(kind, text) for kind, text in found]


@pytest.mark.parametrize("name", ["train.log", "resume.log", "test.log", "time.log"])
def test_dumps_of_original_logs_come_out_letter_for_letter(shared, name):
    dumps = _dumps((shared / "golden" / "cli" / name).read_text())
    assert dumps
    for kind, text in dumps:
        message = pb.SolverParameter() if kind == "solver" else pb.NetParameter()
        assert write_text(parse_text(text, message)).rstrip() == text.rstrip()
