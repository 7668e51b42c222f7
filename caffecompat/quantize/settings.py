"""What a user decides about a quantization."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.schema import pb

__all__ = ["METHODS", "QuantizeError", "QuantizeSettings", "parse_special_layers", "read_ignored_layers"]

METHODS = (0, 1, 3)
"""Of FixedParameter: OVER_FLOW, DIFF_S, DIFF_S_SIGMOID; the parameter layers know no DIFF_A (2)."""


class QuantizeError(CaffeCompatError):
    """A net that cannot be quantized, or not as asked."""


@dataclass(frozen=True)
class QuantizeSettings:
    """How a net is quantized; the defaults are those of vai_q_caffe.

    Attributes:
        method: how positions are found: 0 nothing overflows, 1 least squared differences.
        data_bits, weights_bits: of activations, and of weights and biases.
        calib_iter: batches that the positions of activations are found on.
        ignore_layers: stay in floating point, and get no neuron of their own.
        sigmoided_layers: the neuron after them compares after a sigmoid.
        special_layers: name -> (bits of its data, bits of its weights).
        input_blob: the blob that pictures come in.
        keep_fixed_neuron: whether FixedNeuron layers stay in the net for deployment.
        align_concat: whether an average pooling that a Concat alone reads takes the Concat's position.
        as_original: repeat the mistakes of the original tool in numbers, too.

    Raises:
        QuantizeError: a value is out of its range.

    >>> import caffecompat
    >>> settings = caffecompat.QuantizeSettings(method=0, special_layers={"fc": (16, 8)})
    >>> (settings.bits_of("fc"), settings.bits_of("conv"))
    ((16, 8), (8, 8))
    """

    method: int = 1
    data_bits: int = 8
    weights_bits: int = 8
    calib_iter: int = 100
    ignore_layers: Sequence[str] = ()
    sigmoided_layers: Sequence[str] = ()
    special_layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    input_blob: str = "data"
    keep_fixed_neuron: bool = True
    align_concat: bool = True
    as_original: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            known = ", ".join(f"{number} ({pb.FixedParameter.FixedMethod.Name(number)})" for number in METHODS)
            raise QuantizeError(f"method {self.method}: expected one of {known}; the original refuses others, too")
        widths = [("data_bits", self.data_bits), ("weights_bits", self.weights_bits)]
        for name, pair in self.special_layers.items():
            widths += [(f"special_layers: the data of {name}", pair[0]), (f"special_layers: {name}", pair[1])]
        for name, bits in widths:
            if not isinstance(bits, int) or not 1 <= bits <= 32:
                raise QuantizeError(f"{name}: {bits!r} bits; expected 1 to 32")
        if self.calib_iter < 1:
            raise QuantizeError(f"calib_iter {self.calib_iter}: expected 1 or more")

    def bits_of(self, layer: str) -> tuple[int, int]:
        """(bits of its data, bits of its weights)."""
        return self.special_layers.get(layer, (self.data_bits, self.weights_bits))


def parse_special_layers(text: str, data_bits: int) -> dict[str, tuple[int, int]]:
    """``name,data_bits[,weights_bits]`` for one layer or more, separated by commas, colons, semicolons or blanks.

    Without the last number the weights get `data_bits`, as in the original.

    >>> parse_special_layers("conv1,16,8:fc,4", 8)
    {'conv1': (16, 8), 'fc': (4, 8)}

    Raises:
        QuantizeError: a name has no number after it, or more than two.
    """
    groups: list[tuple[str, list[int]]] = []
    for word in re.split(r"[,:;\s]+", text.strip()):
        if re.fullmatch(r"[0-9]{1,9}", word) and groups:
            groups[-1][1].append(int(word))
        elif word:
            groups.append((word, []))
    bad = [name for name, numbers in groups if len(numbers) not in (1, 2)]
    if bad:
        raise QuantizeError(f"special layers {text!r}: expected NAME,DATA_BITS[,WEIGHTS_BITS] for {bad[0]!r}")
    return {name: (numbers[0], numbers[1] if len(numbers) > 1 else data_bits) for name, numbers in groups}


def read_ignored_layers(path: str | os.PathLike[str]) -> list[str]:
    """The layers that a file names: ``ignore_layer: "NAME"`` a line, as vai_q_caffe reads, or bare names; # comments.

    Raises:
        CaffeCompatError: the file cannot be read, or has a setting other than ignore_layer.
    """
    names: list[str] = []
    text = re.sub(r"#.*", "", read_text(path, "the list of layers"))
    for number, line in enumerate(text.splitlines(), 1):
        stated = re.findall(r"""(\w+)\s*:\s*("[^"]*"|'[^']*')""", line)
        wrong = [setting for setting, _ in stated if setting != "ignore_layer"]
        if wrong or (":" in line and not stated):
            raise QuantizeError(
                f'{path}:{number}: {line.strip()!r} is neither ignore_layer: "NAME" nor names of layers'
            )
        names += [name[1:-1] for _, name in stated] if stated else line.replace(",", " ").split()
    return names
