"""What the reader accepts, what it refuses, and where it says the trouble is."""

from __future__ import annotations

import math
import time

import pytest

from caffecompat.schema import PrototxtError, parse_text, pb, write_text
from caffecompat.schema.problems import Text
from caffecompat.schema.text_reader import read_text
from caffecompat.schema.unknown_fields import unknown_field_texts


def layer(text: str):
    return parse_text(text, pb.LayerParameter())


def problems(text: str, message=None, strict: bool = False) -> list[str]:
    """Every problem as ``line:column message``."""
    found = read_text(Text("net", text), message or pb.NetParameter(), strict).problems
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in found]


@pytest.mark.parametrize(
    "text",
    [
        'name: "a" top: "x" top: "y" loss_weight: 1 loss_weight: 0.5 pooling_param { pool: AVE kernel_size: 3 }',
        "name:'a'top:'x'top:'y'loss_weight:1 loss_weight:.5 pooling_param{pool:AVE kernel_size:3}",
        'name: "a", top: "x"; top: "y", loss_weight: [1, 0.5]; pooling_param: < pool: 1; kernel_size: 0x3 >',
        '# a comment\nname: "a"#glued\ntop: ["x", "y"] loss_weight: 1.f loss_weight: 5e-1f\r\npooling_param\n{#\n'
        "pool:AVE kernel_size:03}#====loss",
        'name: "" \'a\' ""\n top: \'\\x78\' top: "\\171" loss_weight: [1., 5.E-1] '
        "pooling_param {pool:AVE, kernel_size:3,}",
    ],
)
def test_spellings_of_one_message(text):
    want = pb.LayerParameter(name="a", top=["x", "y"], loss_weight=[1, 0.5])
    want.pooling_param.pool = pb.PoolingParameter.AVE
    want.pooling_param.kernel_size = 3
    assert layer(text) == want


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("True", True),
        ("t", True),
        ("1", True),
        ("false", False),
        ("False", False),
        ("f", False),
        ("0", False),
    ],
)
def test_booleans(word, value):
    assert layer(f"convolution_param {{ bias_term: {word} }}").convolution_param.bias_term is value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1.0),
        ("-1", -1.0),
        ("- 1", -1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e+1f", -5.0),
        ("1e-05", 1e-05),
        ("5E3", 5000.0),
        ("1F", 1.0),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("Infinity", math.inf),
        ("1e60", math.inf),
    ],
)
def test_floats(word, value):
    got = layer(f"power_param {{ scale: {word} }}").power_param.scale
    assert got == pytest.approx(value, rel=1e-6)


def test_nan():
    assert math.isnan(layer("power_param { scale: nan }").power_param.scale)


@pytest.mark.parametrize("word", ["1_0", "0x1p3", "1.2.3", "3x", '"1"', "true", "--1", "1e"])
def test_no_floats(word):
    with pytest.raises(PrototxtError, match="scale takes a number"):
        layer(f"power_param {{ scale: {word} }}")


def test_integers_keep_to_their_range():
    param = parse_text("max_iter: -2147483648 random_seed: 9223372036854775807 test_iter: 010", pb.SolverParameter())
    assert (param.max_iter, param.random_seed, list(param.test_iter)) == (-(2**31), 2**63 - 1, [8])
    for text in ("max_iter: 2147483648", "max_iter: -2147483649", "max_iter: 1.0", "max_iter: 1e3", "max_iter: 09"):
        with pytest.raises(PrototxtError, match="whole number from -2147483648 to 2147483647"):
            parse_text(text, pb.SolverParameter())


def test_string_escapes():
    param = layer(r"""python_param { param_str: "{\'phase\': \'TRAIN\'}\t\"\\\303\251\xc3\xa9\u00e9" }""")
    assert param.python_param.param_str == "{'phase': 'TRAIN'}\t\"\\ééé"


def test_strings_that_are_no_utf8_are_latin1():
    assert layer(r'name: "caf\351"').name == "café"


def test_bad_escape_of_a_windows_path():
    assert problems(r'name: "C:\data"') == [
        "1:10 unknown escape; a backslash itself is written \\\\, and paths may use /"
    ]


def test_lists_of_blocks_and_empty_lists():
    param = layer("param: [{ lr_mult: 1 }, <lr_mult: 2>] top: [] include []")
    assert [spec.lr_mult for spec in param.param] == [1, 2]
    assert not param.top
    assert not param.include


def test_empty_block_is_present():
    assert layer("relu_param { }").HasField("relu_param")


def test_reading_adds_to_the_message():
    param = pb.SolverParameter(base_lr=1, test_iter=[3])
    parse_text("base_lr: 2 test_iter: 4", param)
    assert (param.base_lr, list(param.test_iter)) == (2, [3, 4])


def test_duplicates_name_both_places():
    assert problems('name: "a"\nlayer { type: "x"\n type: "y" }\n name: "b"') == [
        "3:2 type is given twice (first at 2:9), but layer has only one",
        "4:2 name is given twice (first at 1:1), but NetParameter has only one",
    ]


def test_every_problem_at_once():
    text = """layer {
      convolution_param {
        kernal_size: 3
        num_output: "20"
        pad: -1
        engine: CUDN
      }
      pooling_param: 3
      name { }
      top: conv1
    }"""
    engines = "DEFAULT, CAFFE, CUDNN"
    found = problems(text)
    assert found[0] == "3:9 convolution_param has no field 'kernal_size'; did you mean 'kernel_size'?"
    assert found[1] == '4:21 num_output takes a whole number from 0 to 4294967295, found "20"; write 20 without quotes'
    assert found[2] == "5:14 pad takes a whole number from 0 to 4294967295, found '-1'"
    assert found[3].startswith(f"6:17 engine takes one of {engines}")
    assert found[3].endswith("found 'CUDN'; did you mean CUDNN?")
    assert found[4:] == [
        "8:22 pooling_param takes a block { ... }, found '3'",
        "9:12 name takes a string in quotes (\"...\"), found '{'",
        '10:12 top takes a string in quotes ("..."), found \'conv1\'; write "conv1"',
    ]


def test_message_shows_the_line_and_a_caret():
    with pytest.raises(PrototxtError) as caught:
        parse_text('name: "x"\n\tlayer { tpye: "ReLU" }', pb.NetParameter(), "nets/a.prototxt")
    assert str(caught.value).split("\n") == [
        "nets/a.prototxt:2:10: layer has no field 'tpye'; did you mean 'type'?",
        '    \tlayer { tpye: "ReLU" }',
        "    \t        ^",
    ]


def test_of_a_long_line_the_neighborhood_is_shown():
    text = "layer { name: 'a' } " * 50 + "layer { tpye: 'a' } " + "layer { name: 'a' } " * 50
    (problem,) = read_text(Text("net", text), pb.NetParameter()).problems
    head, excerpt, caret = str(problem).split("\n")
    assert head.startswith("net:1:1009: ")
    assert len(excerpt) <= 144
    assert excerpt[caret.index("^") :].startswith("tpye")


def test_many_problems_are_counted():
    with pytest.raises(PrototxtError, match=r"\.\.\. and 30 more problems") as caught:
        parse_text("test_iter: x\n" * 50, pb.SolverParameter())
    assert len(caught.value.problems) == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer {\n  name: 'a'\n", "2:11 the text ends, but a block is still open: layer opened at 1:7"),
        (
            "layer {\n  relu_param {\n",
            "2:14 the text ends, but 2 blocks are still open: layer opened at 1:7, relu_param opened at 2:14",
        ),
        ("layer { } }", "1:11 '}' closes nothing: no block is open here"),
        ("layer { name: 'a' >", "1:19 expected '}' for the bracket opened at 1:7, found '>'"),
        ("layer { name 'a' }", "1:14 expected ':' between name and its value"),
        ("layer { name: }", "1:15 name takes a string in quotes (\"...\"), found '}'"),
        ("layer { name: 'a\n}", "1:15 the string of name is not closed on its line"),
        ("layer { top: ['a' 'b'", "1:21 the list of top opened at 1:14 is not closed by ']'"),
        ("layer { top: ['a'; 'b'] }", "1:18 expected ',' or ']' in the list of top, found ';'"),
        ("layer { 3 }", "1:9 expected a field name, found '3'"),
        ("layer { [caffe.ext]: 3 }", "1:9 expected a field name, found '['"),
        ("name: “x”", '1:7 name takes a string in quotes ("..."), found the typographic quote “ (write " or \')'),
        ("name:", '1:5 name takes a string in quotes ("..."), found the end of the text'),
        ("name", "1:4 expected ':' between name and its value"),
    ],
)
def test_broken_syntax(text, message):
    assert problems(text)[0] == message


def test_missing_bracket_is_found_by_the_indent():
    text = """layer {
  type: "Convolution"
  convolution_param {
    num_output: 3
}
layer {
  type: "ReLU"
}
layer { type: "TanH" }
"""
    # The first '}' closes convolution_param, so `layer` is met inside a layer.
    assert problems(text) == ["6:1 a closing bracket is missing before 'layer': layer opened at 1:7 is still open"]


def test_nesting_has_an_end():
    assert problems("xyz{" * 5000 + "}" * 5000) == ["1:404 blocks are nested more than 100 deep"]


def test_unknown_fields_are_kept_and_printed_again(log):
    text = """layer {
  name: "a"
  my_param { depth:3 words: 'x' "y" list: [1, -2.5] none: [] inner < flag:true > }
  mine: -inf
}
future: MODE
"""
    net = parse_text(text, pb.NetParameter(), "net.prototxt")
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    printed = write_text(copy)
    assert (
        printed
        == """layer {
  name: "a"
  my_param {
    depth: 3
    words: 'x' "y"
    list: 1
    list: -2.5
    none: []
    inner {
      flag: true
    }
  }
  mine: -inf
}
future: MODE
"""
    )
    assert parse_text(printed, pb.NetParameter()) == net
    warned = [line.split("] ", 1)[1] for line in log[:3]]
    assert warned[0].startswith("net.prototxt:3:3: layer has no field 'my_param', nor has any Caffe fork known here")
    assert warned[2].startswith("net.prototxt:6:1: NetParameter has no field 'future'")
    assert warned[2].endswith("kept as it is, without effect")


def test_kept_fields_stay_out_of_binary_files(log):
    from caffecompat.schema import without_unknown_fields

    net = parse_text("layer { foo_bar_baz: 3 }", pb.NetParameter())
    assert unknown_field_texts(net.layer[0]) == ["foo_bar_baz: 3"]
    clean = without_unknown_fields(net)
    assert b"foo_bar_baz" not in clean.SerializeToString()
    assert unknown_field_texts(net.layer[0]) == ["foo_bar_baz: 3"]


def test_unknown_field_names_its_owners_and_forks(log):
    parse_text("layer { pooling_param { scale_bias: true } }", pb.NetParameter(), "n")
    assert (
        "n:1:25: pooling_param has no field 'scale_bias', which is a field of BatchNormParameter (caffe-jacinto"
        in log[0]
    )


def test_strict_refuses_unknown_fields():
    assert problems("layer { foo_bar_baz: 3 }", strict=True) == [
        "1:9 layer has no field 'foo_bar_baz', nor has any Caffe fork known here"
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("layer { nmae: 'a' }", "name"),
        ("layer { botom: 'a' }", "bottom"),
        ("layer { convolution_parm { } }", "convolution_param"),
        ("layer { convolution_param { num_ouput: 3 } }", "num_output"),
        ("layer { pooling_param { Kernel_Size: 3 } }", "kernel_size"),
        ("layer { param { lr_mul: 3 } }", "lr_mult"),
        ("layr { }", "layer"),
        ("layer { polling_param { } }", "pooling_param"),
    ],
)
def test_misspellings_are_errors(text, meant):
    (problem,) = problems(text)
    assert problem.endswith(f"; did you mean '{meant}'?")


@pytest.mark.parametrize("name", ["crop_size2", "stride_h_x", "mirror_prob", "norm_region_x", "name_suffix"])
def test_other_names_of_the_family_are_no_misspellings(name, log):
    assert problems(f"layer {{ transform_param {{ {name}: 1 }} }}") == []


@pytest.mark.parametrize("name", ["gelu_param", "my_param"])
def test_unheard_of_layers_are_no_misspellings(name, log):
    assert problems(f"layer {{ {name} {{ }} }}") == []


def test_reading_is_fast():
    block = (
        'layer {\n  name: "conv"\n  type: "Convolution"\n  bottom: "a"\n  top: "b"\n  param {\n    lr_mult: 1\n  }\n'
    )
    block += "  convolution_param {\n    num_output: 64\n    kernel_size: 3\n    bias_term: false\n  }\n}\n"
    text = block * (5000 // block.count("\n"))
    parse_text(text, pb.NetParameter())
    start = time.perf_counter()
    parse_text(text, pb.NetParameter())
    assert time.perf_counter() - start < 0.3  # 0.03 s on an idle core


def test_an_unknown_field_is_reported_once_with_its_count(log):
    fields = "".join(f"layer {{ int8_scaling: {i} name: 'a' }}\n" for i in range(3000))
    parse_text(fields + "int8_scaling: 1\nlayer { othr { int8_scaling: 2 } othr { } }", pb.NetParameter(), name="n")
    assert [line.split("] ", 1)[1] for line in log] == [
        "n:1:9: layer has no field 'int8_scaling', nor has any Caffe fork known here; kept as it is, without effect "
        "(3000 times, first here)",
        "n:3001:1: NetParameter has no field 'int8_scaling', nor has any Caffe fork known here; kept as it is, without "
        "effect",
        "n:3002:9: layer has no field 'othr', nor has any Caffe fork known here; kept as it is, without effect "
        "(2 times, first here)",
    ]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('num_output: "4"', "; write 4 without quotes"),
        ("kernel_size: 3.0", "; write 3"),
        ("kernel_size: 3.5", "found '3.5'"),
        ('kernel_size: "wide"', 'found "wide"'),
        ("pad: one", "found 'one'"),
        ('bias_term: "false"', "; write false without quotes"),
        ("bias_term: TRUE", "; write true"),
        ("bias_term: no", "; write false"),
        ('engine: "CUDNN"', "; write CUDNN without quotes"),
        ("engine: cudnn", "; did you mean CUDNN?"),
        ('weight_filler { std: "0.1" }', "; write 0.1 without quotes"),
        ('weight_filler { std: "-1e-3" }', "; write -1e-3 without quotes"),
        ('weight_filler { std: "inf" }', 'found "inf"'),
        ("weight_filler { type: xavier }", '; write "xavier"'),
        ("pad: $PAD$", "found '$'; the text is a template, a script puts values in the place of its $NAMES"),
    ],
)
def test_a_value_of_another_kind_says_what_to_write(field: str, said: str) -> None:
    (problem,) = problems(f"layer {{ convolution_param {{ {field} }} }}")
    assert problem.endswith(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"CONVOLUTION"', "; write CONVOLUTION without quotes"),
        ('"Convolution"', "belongs to layer { ... }, not to layers { ... }; here write CONVOLUTION without quotes"),
        ("InnerProduct", "; did you mean INNER_PRODUCT?"),
        ('"Foo"', "belongs to layer { ... }, not to layers { ... }"),
    ],
)
def test_a_quoted_type_of_an_old_layer(value: str, said: str) -> None:
    (problem,) = problems(f"layers {{ type: {value} }}")
    assert problem.endswith(said)
    assert len(problem) < 320


@pytest.mark.parametrize(
    ("message", "field", "hint"),
    [
        (pb.RandomResizedCropParameter, "scale", "min_area, max_area, min_aspect, max_aspect, attempts, interp_mode"),
        (pb.RandAugmentParameter, "magnitude", "policy"),
        (pb.DropPathParameter, "drop_rate", "drop_prob"),
        (pb.RandomEraseParameter, "area", "prob, mode, count, min_area, max_area, min_aspect"),
    ],
)
def test_unknown_fields_of_our_own_messages_are_errors(message: type, field: str, hint: str) -> None:
    """No Caffe has these messages, so none can have more fields in them."""
    with pytest.raises(PrototxtError, match=rf"n:1:1: {message.__name__} has no field '{field}'; it has {hint}"):
        parse_text(f"{field}: 1", message(), "n")


def test_our_fields_are_said_to_be_ours(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        parse_text("layer { ema_decay: 0.9 }", pb.NetParameter(), "n")
    assert "layer has no field 'ema_decay', which is a field of SolverParameter (ours)" in caplog.text


@pytest.mark.parametrize(("field", "hint"), [("std", "'std_value'"), ("mean", "'mean_file' or 'mean_value'")])
def test_the_beginning_of_a_name_suggests_the_whole(field: str, hint: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        parse_text(f"{field}: 1", pb.TransformationParameter(), "n")
    assert f"has no field '{field}'; did you mean {hint}" in caplog.text
