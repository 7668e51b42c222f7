"""Which of the words typed is the verb, and what is said of a misspelled one."""

from __future__ import annotations

import pytest

from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.main import main
from caffecompat.cli.verbs import split_verb


@pytest.mark.parametrize(
    ("words", "verb", "rest"),
    [
        ("summary net.prototxt --weights test", "summary", "net.prototxt --weights test"),
        ("--model test summary net.prototxt", "summary", "--model test net.prototxt"),
        ("-solver s.prototxt -gpu 0 train", "train", "-solver s.prototxt -gpu 0"),
        ("--weights=w.caffemodel test --model m", "test", "--weights=w.caffemodel --model m"),
        ("--gray convert_imageset test/ list db", "convert_imageset", "--gray test/ list db"),
        ("--nogray convert_imageset test list db", "convert_imageset", "--nogray test list db"),
        ("--model train test --weights w", "test", "--model train --weights w"),
        ("--unknown train", "train", "--unknown"),
        ("merge_bn a b", "merge-bn", "a b"),
    ],
)
def test_the_verb_is_found(words: str, verb: str, rest: str) -> None:
    assert split_verb(words.split()) == (verb, rest.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sumary net.prototxt", "unknown verb 'sumary'; did you mean summary?"),
        ("sumary --weights test", "unknown verb 'sumary'; did you mean summary?"),
        ("trian --solver test", "unknown verb 'trian'; did you mean train?"),
        ("--weights test sumary net.prototxt", "unknown verb 'sumary'; did you mean summary?"),
        ("onnx net.prototxt", "unknown verb 'onnx'; did you mean export onnx?"),
        ("frobnicate", "unknown verb 'frobnicate'\n"),
        ("--weights test", "no verb given ('test' is taken for the value of a flag before it)"),
        ("--iterations=3", "no verb given\n"),
    ],
)
def test_what_is_no_verb_is_named(words: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_verb(words.split())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lmdb bild x", "caffecompat lmdb: argument"),
        ("lmdb bild x", "did you mean build?"),
        ("export onxn", "did you mean onnx?"),
        ("weights shwo", "did you mean show?"),
        ("eval detecton", "did you mean detection?"),
        ("help lmdb bild", "did you mean build?"),
        ("help sumary", "did you mean summary?"),
    ],
)
def test_suggestions_inside_groups(command, words: str, said: str) -> None:
    result = command(*words.split())
    assert result.status == 2
    assert said in result.err


@pytest.mark.parametrize("words", ["summary", "lmdb build", "export onnx"])
def test_help_of_a_verb_in_both_orders(capsys: pytest.CaptureFixture[str], words: str) -> None:
    shown = []
    for line in (["help", *words.split()], [*words.split(), "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(line)
        assert stopped.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert f"usage: caffecompat {words}" in shown[0]
