"""Spellings of flags: gflags' own, ``_`` for ``-``, dashes pasted from web pages."""

from __future__ import annotations

import pytest

from caffecompat.cli.flags import FlagParser, UsageError, add_switch, split_commas


@pytest.fixture
def parser():
    notices: list[str] = []
    result = FlagParser(prog="tool", notice=notices.append)
    result.add_argument("--resize-width", type=int, default=0)
    result.add_argument("-n", type=int, default=1)
    add_switch(result, "gray", "grey pictures")
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
