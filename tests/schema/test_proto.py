"""The merged schema: BVLC's fields untouched, every fork's field present, every real text readable."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from caffecompat.forks import Fork
from caffecompat.schema import dialects, pb, pool

DEFAULT_DIFFERS_AMONG_FORKS = {
    "SolverParameter.test_initialization",
    "SolverParameter.rms_decay",
    "DataParameter.prefetch",
    "NetParameter.reduce_buckets",
}
FORKS = {  # letters of the recorded lists
    "B": Fork.BVLC,
    "S": Fork.SSD,
    "J": Fork.JACINTO,
    "J16": Fork.JACINTO16,
    "J15": Fork.JACINTO15,
    "X": Fork.XILINX,
    "E": Fork.ENET,
    "G": Fork.SEGNET,
    "P": Fork.PSPNET,
    "D": Fork.DEEPLAB,
}
SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("int32", "int64", "uint32", "float", "double", "bool", "string", "bytes")
}


def messages() -> dict[str, Descriptor]:
    """Every message by its name within the package, nested ones included."""
    found: dict[str, Descriptor] = {}
    waiting = list(pool.SCHEMA.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        found[message.full_name.removeprefix("caffe.")] = message
        waiting += message.nested_types
    return found


def type_name(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    return kind.full_name.removeprefix("caffe.") if kind is not None else SCALARS[field.type]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def default_text(field: FieldDescriptor) -> str:
    if not field.has_default_value:
        return "-"
    if field.enum_type is not None:
        return field.enum_type.values_by_number[field.default_value].name
    if isinstance(field.default_value, float):
        return f"{field.default_value:.6g}"
    return str(field.default_value).lower() if isinstance(field.default_value, bool) else str(field.default_value)


def test_every_bvlc_field_keeps_number_type_and_default(golden: Path) -> None:
    known = messages()
    wrong = []
    for row in rows(golden / "schema" / "bvlc.tsv"):
        if row["kind"] == "value":
            continue
        message, name = row["name"].split(".")
        field = known[message].fields_by_name[name]
        expected = "-" if row["name"] in DEFAULT_DIFFERS_AMONG_FORKS else row["default"]
        found = (
            str(field.number),
            "repeated" if pool.is_repeated(field) else "optional",
            type_name(field),
            default_text(field),
        )
        if found != (row["number"], row["kind"], row["type"], expected):
            wrong.append((row["name"], found))
    assert wrong == []


def test_every_bvlc_enum_value_keeps_its_number(golden: Path) -> None:
    known = messages()
    for row in rows(golden / "schema" / "bvlc.tsv"):
        if row["kind"] != "value":
            continue
        *message, enum, value = row["name"].split(".")
        enums = known[message[0]].enum_types_by_name if message else pool.SCHEMA.enum_types_by_name
        assert enums[enum].values_by_name[value].number == int(row["number"]), row["name"]


def test_every_field_of_every_fork_is_there(golden: Path) -> None:
    known = messages()
    for row in rows(golden / "schema" / "forks.tsv"):
        message, name = row["name"].rsplit(".", 1)
        field = known[message].fields_by_name[name]
        assert pool.is_repeated(field) == (row["kind"] == "repeated"), row["name"]
        assert type_name(field).rsplit(".")[-1] == row["type"], row["name"]
        assert set(dialects.field_note(message, name).forks) == {FORKS[letter] for letter in row["forks"].split(",")}, (
            row["name"]
        )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SolverParameter.layer_wise_reduce", 41),
        ("SolverParameter.plateau_winsize", 43),
        ("SolverParameter.show_per_class_result", 44),
        ("SolverParameter.eval_type", 45),
        ("SolverParameter.classiou_class_num", 46),
        ("SolverParameter.larc", 49),
        ("SolverParameter.weight_decay_power", 53),
        ("SolverParameter.sparse_mode", 153),
        ("SolverParameter.ap_version", 242),
        ("SolverParameter.rampup_interval", 30041),
        ("SolverParameter.solver_data_type", 30044),
        ("SolverParameter.store_blobs_in_old_format", 30045),
        ("SolverParameter.momentum_policy", 30046),
        ("SolverParameter.per_parameter_reduce", 40041),
        ("LayerParameter.reorg_param", 149),
        ("LayerParameter.annotated_data_param", 200),
        ("LayerParameter.forward_type", 30145),
        ("LayerParameter.debug", 30149),
        ("LayerParameter.tiling_param", 40147),
        ("LayerParameter.smooth_l1_loss_param", 40148),
        ("LayerParameter.upsample_param", 45147),
        ("LayerParameter.interp_param", 50143),
        ("LayerParameter.seg_accuracy_param", 50144),
        ("TransformationParameter.resize_param", 8),
        ("BlobProto.mask", 10),
        ("BlobProto.raw_data", 30012),
        ("BNParameter.slope_filler", 50001),
    ],
)
def test_numbers_where_forks_collide(name: str, number: int) -> None:
    message, field = name.split(".")
    assert getattr(pb, message).DESCRIPTOR.fields_by_name[field].number == number


def test_nothing_is_required() -> None:
    waiting = list(pool.read_descriptor().message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        assert all(field.label != field.LABEL_REQUIRED for field in message.field), message.name


def test_defaults_that_differ_among_forks_are_absent() -> None:
    known = messages()
    extra = {"LossParameter.normalize", "BatchNormParameter.use_global_stats"}
    for name in DEFAULT_DIFFERS_AMONG_FORKS | extra:
        message, field = name.split(".")
        assert not known[message].fields_by_name[field].has_default_value, name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("precision: DYNAMIC_FIXED_POINT", "precision: QuantizationParameter_Precision_DYNAMIC_FIXED_POINT"),
        ("rounding_scheme: STOCHASTIC", "rounding_scheme: QuantizationParameter_Rounding_STOCHASTIC"),
        ("qparam_w { fracbits: 3 }", "qparam_w { fracbits: 3 }"),
    ],
)
def test_both_spellings_of_jacinto_quantization(first: str, second: str) -> None:
    short, long = (text_format.Parse(text, pb.QuantizationParameter()) for text in (first, second))
    assert short == long


def test_one_bn_message_takes_both_layouts() -> None:
    segnet = text_format.Parse("scale_filler {} shift_filler {} bn_mode: INFERENCE", pb.BNParameter())
    pspnet = text_format.Parse("slope_filler {} bias_filler {} momentum: 0.95 frozen: true", pb.BNParameter())
    assert segnet.HasField("bn_mode") and not segnet.HasField("slope_filler")
    assert pspnet.HasField("frozen") and not pspnet.HasField("scale_filler")


def test_every_text_that_a_fork_accepts_is_accepted(shared: Path) -> None:
    """The list says for six forks whether their own schema reads each real file, and as what."""
    kinds = {"N": pb.NetParameter, "S": pb.SolverParameter, "L": pb.LabelMap}
    status = (shared / "real" / "PARSE_STATUS.txt").read_text(encoding="utf-8")
    refused = []
    for line in re.findall(r"^bvlc=.*$", status, re.MULTILINE):
        *marks, path = line.split()[:7]
        accepted = {mark.partition("=")[2] for mark in marks} - {"."}
        text = (shared / "real" / path).read_bytes().decode("utf-8", "surrogateescape")
        for kind in accepted:
            try:
                text_format.Parse(text, kinds[kind]())
            except text_format.ParseError as error:
                refused.append((path, kind, str(error)))
    assert len(status.splitlines()) > 400
    assert refused == []
