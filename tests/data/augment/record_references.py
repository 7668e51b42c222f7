"""Record what Pillow, timm and torchvision make of a small picture, into color_references.npz.

They cannot be imported beside some builds of torch; run this where they can: ``python record_references.py``, with
timm and torchvision installed.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import timm.data.auto_augment as timm_ops
import torch
import torchvision.transforms.functional as torchvision_ops
from PIL import Image
from timm.data.random_erasing import RandomErasing

FILE = Path(__file__).with_name("color_references.npz")
HEIGHT, WIDTH = 18, 25
FILL = (200, 128, 10)  # red, green, blue
FACTORS = (0.0, 0.19, 0.55, 1.0, 1.45, 1.9)
TURNS = (-0.5, -0.2, 0.03, 0.1)
BILINEAR, BICUBIC = 2, 3


def picture() -> np.ndarray:
    """(H, W, 3) red, green, blue, smooth in places and noisy in others, without the lowest and highest values."""
    generator = np.random.default_rng(5)
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    waves = [128 + 90 * np.sin(down / a + right / b) for a, b in ((3, 5), (4, -6), (7, 3))]
    noise = generator.integers(-25, 26, (HEIGHT, WIDTH, 3)) * (right[:, :, None] > WIDTH // 2)
    return (np.stack(waves, 2) + noise).clip(12, 240).astype(np.uint8)


def colors(image: Image.Image) -> dict[str, np.ndarray]:
    found = {}
    for factor in FACTORS:
        for name in ("brightness", "contrast", "color", "sharpness"):
            found[f"{name} {factor}"] = getattr(timm_ops, name)(image, factor)
    for name in ("auto_contrast", "equalize", "invert"):
        found[name] = getattr(timm_ops, name)(image)
    for bits in (1, 2, 4, 8):
        found[f"posterize {bits}"] = timm_ops.posterize(image, bits)
    for threshold in (0, 26, 128, 256):
        found[f"solarize {threshold}"] = timm_ops.solarize(image, threshold)
    for amount in (0, 33, 110):
        found[f"solarize_add {amount}"] = timm_ops.solarize_add(image, amount)
    for deviation in (0.1, 0.8, 1.6):
        found[f"blur {deviation}"] = timm_ops.gaussian_blur(image, deviation)
    return found


def tensors(image: Image.Image) -> dict[str, np.ndarray]:
    """torchvision's own arithmetic, which it has for tensors."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    found = {}
    for factor in FACTORS:
        for name in ("brightness", "contrast", "saturation"):
            found[f"tensor {name} {factor}"] = getattr(torchvision_ops, f"adjust_{name}")(tensor, factor)
    for turn in TURNS:
        found[f"tensor hue {turn}"] = torchvision_ops.adjust_hue(tensor, turn)
    return {name: value.permute(1, 2, 0).numpy() for name, value in found.items()}


def geometry(image: Image.Image, label: Image.Image) -> dict[str, np.ndarray]:
    found = {}
    for name, operation, arguments in (
        ("rotate", timm_ops.rotate, (-30.0, 17.3)),
        ("shear_x", timm_ops.shear_x, (-0.3, 0.11)),
        ("shear_y", timm_ops.shear_y, (-0.3, 0.11)),
        ("translate_x", timm_ops.translate_x_rel, (-0.45, 0.21)),
        ("translate_y", timm_ops.translate_y_rel, (-0.45, 0.21)),
    ):
        for argument in arguments:
            found[f"{name} {argument}"] = operation(image, argument, fillcolor=FILL, resample=BILINEAR)
            found[f"cubic {name} {argument}"] = operation(image, argument, fillcolor=FILL, resample=BICUBIC)
            found[f"label {name} {argument}"] = operation(label, argument, fillcolor=255, resample=0)
    return found


def erased(count: int, mode: str) -> np.ndarray:
    """(2000, 2): share of the picture erased and height / width, of pictures where one rectangle was (count 1)."""
    erase = RandomErasing(1.0, 0.02, 1 / 3, 0.3, mode=mode, max_count=count, device="cpu")
    rows = []
    for _ in range(2000):
        tensor = torch.full((1, 64, 80), 9.0)
        erase(tensor)
        gone = (tensor[0] != 9).numpy()
        tall, wide = gone.any(1).sum(), gone.any(0).sum()
        rows.append((gone.mean(), tall / max(1, wide)))
    return np.array(rows, np.float32)


def magnitudes(policy: str) -> np.ndarray:
    """(2000,) magnitudes that the operations of a policy get."""
    operation = timm_ops.rand_augment_transform(policy, {}).ops[0]
    found: list[float] = []
    operation.prob = 1
    operation.aug_fn = lambda image, **kwargs: image
    operation.level_fn = lambda level, hparams: found.append(level) or ()
    for _ in range(2000):
        operation(None)
    return np.array(found, np.float32)


def sets() -> dict[str, np.ndarray]:
    """Names and probabilities of the operations of each set."""
    found = {}
    for policy in ("rand-m9", "rand-m9-inc1", "rand-m9-inc0", "rand-t3a", "rand-t3aw", "rand-tweights"):
        made = timm_ops.rand_augment_transform(policy, {})
        weights = made.choice_weights
        found[f"set {policy}"] = np.array([operation.name for operation in made.ops])
        found[f"weights {policy}"] = np.full(len(made.ops), 1 / len(made.ops)) if weights is None else weights
        found[f"replaced {policy}"] = np.array(weights is None)
    return found


def main() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    pixels = picture()
    image = Image.fromarray(pixels)
    labels = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 97).astype(np.uint8)
    found = {"picture": pixels, "labels": labels} | colors(image) | tensors(image)
    found |= geometry(image, Image.fromarray(labels)) | sets()
    found["erased 1"] = erased(1, "const")
    found["erased 3"] = erased(3, "pixel")
    for policy in ("rand-m9-mstd0.5", "rand-m7-mstd101", "rand-m15-mstd3-mmax20"):
        found[f"magnitudes {policy}"] = magnitudes(policy)
    np.savez_compressed(FILE, **{name: np.asarray(value) for name, value in found.items()})


if __name__ == "__main__":
    main()
