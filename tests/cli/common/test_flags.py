"""Spellings of flags: gflags' own, ``_`` for ``-``, dashes pasted from web pages."""

from __future__ import annotations

import pytest

from caffecompat.cli.common.flags import FlagParser, UsageError, add_switch, split_commas


@pytest.fixture
def parser():
    notices: list[str] = []
    result = FlagParser(prog="tool", notice=notices.append)
    result.add_argument("--resize-width", type=int, default=0)
    result.add_argument("-n", type=int, default=1)
    add_switch(result, "gray", "gray pictures")
    add_switch(result, "check-size", "check", default=True)
    result.add_argument("folder", nargs="?")
    result.notices = notices
    return result


@pytest.mark.parametrize(
    "words",
    [
        ["--resize-width", "32"],
        ["-resize_width", "32"],
        ["--resize_width=32"],
        ["-resize-width=32"],
        ["–resize_width", "32"],
        ["—resize_width=32"],
        ["-–resize_width=32"],
        ["−−resize_width=32"],
    ],
)
def test_spellings_of_a_value(parser, words):
    assert parser.parse_args(words).resize_width == 32


def test_only_pasted_dashes_are_noticed(parser):
    parser.parse_args(["-resize_width", "32"])
    assert parser.notices == []
    parser.parse_args(["–resize_width", "32", "—gray"])
    assert len(parser.notices) == 1


@pytest.mark.parametrize(
    ("words", "gray"),
    [([], False), (["-gray"], True), (["--gray=true"], True), (["--gray=0"], False), (["--gray", "--nogray"], False)],
)
def test_booleans(parser, words, gray):
    assert parser.parse_args(words).gray is gray


def test_a_boolean_does_not_take_the_word_behind_it(parser):
    args = parser.parse_args(["--gray", "images/", "--nocheck_size"])
    assert (args.gray, args.folder, args.check_size) == (True, "images/", False)


def test_negative_numbers_and_short_flags_pass(parser):
    assert parser.parse_args(["--resize_width", "-3", "-n", "5"]).resize_width == -3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resize_widht", "3"], "did you mean --resize-width"),
        (["--gray=maybe"], "neither true nor false"),
        (["--resize_width=big"], "invalid int value: 'big'"),
    ],
)
def test_wrong_flags_are_explained(parser, words, message):
    with pytest.raises(UsageError, match=message):
        parser.parse_args(words)


def test_split_commas():
    assert split_commas(" a, b,,c ") == ["a", "b", "c"]


@pytest.fixture
def words_parser() -> FlagParser:
    result = FlagParser(prog="tool")
    result.add_argument("log")
    result.add_argument("out", nargs="?")
    result.add_argument("--delimiter", default=",")
    result.add_argument("--pair", nargs=2)
    result.add_argument("--many", nargs="*")
    add_switch(result, "verbose", "tell more")
    return result


@pytest.mark.parametrize(
    ("line", "log", "out"),
    [
        ("LOG --verbose OUT", "LOG", "OUT"),
        ("--verbose LOG --delimiter ; OUT", "LOG", "OUT"),
        ("LOG --delimiter=; OUT", "LOG", "OUT"),
        ("LOG --pair a b OUT", "LOG", "OUT"),
        ("--many a b --verbose LOG OUT", "LOG", "OUT"),
        ("--many a b -- LOG OUT", "LOG", "OUT"),
        ("LOG -verbose -- -OUT", "LOG", "-OUT"),
        ("-- -LOG -OUT", "-LOG", "-OUT"),
        ("LOG --verbose", "LOG", None),
        ("- --verbose -1", "-", "-1"),
    ],
)
def test_words_may_stand_anywhere_among_the_flags(words_parser: FlagParser, line: str, log: str, out: str) -> None:
    args = words_parser.parse_args(line.split())
    assert (args.log, args.out) == (log, out)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--verbose", "the following arguments are required: log"),
        ("LOG --verbose OUT MORE", "unrecognized arguments: MORE"),
        ("LOG --verbos OUT", "unrecognized arguments: --verbos; did you mean --verbose"),
        ("LOG --delimiter --verbose OUT", "--delimiter: expected one argument"),
        ("LOG OUT --pair a", "--pair: expected 2 arguments"),
    ],
)
def test_words_in_excess_and_values_that_lack_are_told(words_parser: FlagParser, line: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        words_parser.parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("solver.prototxt", "unrecognized arguments: solver.prototxt; did you mean --solver solver.prototxt"),
        ("old.caffemodel", "did you mean --weights old.caffemodel"),
        ("--test_iter 2", "--set test_iter=VALUE sets it in the solver"),
        ("-w x", "did you mean --weights"),
        ("-q x", "unrecognized arguments: --q x\n"),
    ],
)
def test_files_and_solver_fields_without_their_flag_are_explained(line: str, told: str) -> None:
    parser = FlagParser(prog="caffecompat train")
    parser.add_argument("--solver")
    parser.add_argument("--weights")
    with pytest.raises(UsageError, match=told):
        parser.parse_args(line.split())
