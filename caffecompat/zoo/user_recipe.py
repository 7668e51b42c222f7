"""A network's published recipe brought to a user's data: sizes, batches, iterations, tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from caffecompat.data.channel_statistics import ChannelStatistics
from caffecompat.errors import CaffeCompatError
from caffecompat.zoo.network import Network, Recipe, Source
from caffecompat.zoo.user_data import Stored, UserData

__all__ = ["Wishes", "measured", "user_recipe"]

_LONGEST = 1000  # batches that a mean of batch normalization is over where a recipe says nothing (Caffe's 0.999)
_LINES, _TESTS = 50, 20  # least of a short training's log, most of its snapshots


@dataclass(frozen=True)
class Wishes:
    """What the user said.

    Attributes:
        size: (height, width) of the deployed input in pixels.
        crop: side of the squares that training cuts out; 0: whole pictures.
        batch: pictures a batch.
    """

    size: tuple[int, int] | None = None
    crop: int | None = None
    batch: int | None = None


def user_recipe(
    network: Network,
    classes: int,
    wishes: Wishes,
    train: UserData | None,
    val: UserData | None,
    on_note: Callable[[str], None],
) -> Recipe:
    """The recipe for the data; where there is none yet, for the published amount of it at a placeholder.

    Args:
        on_note: called with what was decided.

    Raises:
        CaffeCompatError: the wishes contradict each other.
    """
    recipe = replace(network.recipe, classes=classes)
    recipe = _of_pictures(network, _of_size(network, recipe, wishes), train, val)
    recipe = _cropped(network, recipe, wishes)
    recipe = _scheduled(network, recipe, wishes.batch, train, on_note)
    recipe = _tested(recipe, wishes.batch, val, on_note)
    return replace(
        recipe,
        train=train.source if train else Source(_placeholder(network, "train"), lmdb=network.task == "detection"),
        val=val.source if val else Source(_placeholder(network, "val"), lmdb=network.task == "detection"),
    )


def measured(recipe: Recipe, found: ChannelStatistics) -> Recipe:
    """The recipe with the mean of the data; and with its deviation, as std_value or scale, where it has either."""
    std = tuple(max(1.0, round(value, 3)) for value in found.std)
    recipe = replace(recipe, mean=tuple(round(value, 3) for value in found.mean))
    if recipe.std:
        return replace(recipe, std=std)
    if recipe.scale != 1:
        return replace(recipe, scale=round(len(std) / sum(std), 6))
    return recipe


def _placeholder(network: Network, name: str) -> str:
    return f"data/{name}_lmdb" if network.task == "detection" else f"data/{name}.txt"


def _of_size(network: Network, recipe: Recipe, wishes: Wishes) -> Recipe:
    """The input's size; that of a classifier which is trained on crops is the crop's."""
    size = wishes.size
    if size is None and wishes.crop and network.task == "classification":
        size = wishes.crop, wishes.crop
    return replace(recipe, height=size[0], width=size[1]) if size else recipe


def _of_pictures(network: Network, recipe: Recipe, train: UserData | None, val: UserData | None) -> Recipe:
    """Channels, and whether pictures have to be resized."""
    channels, color = recipe.channels, None
    if network.task == "classification" and isinstance(train, Stored) and train.channels != channels:
        channels, color = (channels, channels == 3) if train.encoded else (train.channels, None)
    mean = recipe.mean
    if mean and len(mean) != channels:
        mean = (sum(mean) / len(mean),) * channels
    std = recipe.std
    if std and len(std) != channels:
        std = (sum(std) / len(std),) * channels
    sizes = {size for data in (train, val) if data for size in data.sizes}
    if network.task == "classification" and recipe.crop:
        side = min(recipe.height, recipe.width)
        fits = bool(sizes) and all(side <= least for size in sizes for least in size)
    else:
        fits = sizes == {(recipe.height, recipe.width)}
    any_size = not fits and network.task != "detection" and not _scales(network, recipe)
    return replace(recipe, channels=channels, color=color, mean=mean, std=std, any_size=any_size)


def _scales(network: Network, recipe: Recipe) -> bool:
    """Whether a segmentation network's training scales pictures, and pads them up to the crop."""
    return network.task == "segmentation" and "scale_min" in network.transforms(recipe)[0]


def _cropped(network: Network, recipe: Recipe, wishes: Wishes) -> Recipe:
    published, least = network.recipe, min(recipe.height, recipe.width)
    if wishes.crop is not None:
        crop = wishes.crop
        if network.task == "detection":
            raise CaffeCompatError(f"--crop: {network.name} trains on parts of pictures that are brought to --size")
        if network.task == "classification" and crop and (recipe.height, recipe.width) != (crop, crop):
            raise CaffeCompatError(
                f"--crop {crop}: the input is {recipe.width}x{recipe.height}, and a classifier's is what training cuts "
                "out: leave --size or --crop out, or say --crop 0 for whole pictures"
            )
        if crop > least and not _scales(network, recipe):
            raise CaffeCompatError(f"--crop {crop}: pictures of {recipe.width}x{recipe.height} have no such part")
        return replace(recipe, crop=crop)
    if not published.crop:
        return recipe
    if network.task == "classification":
        return replace(recipe, crop=recipe.width if recipe.width == recipe.height else 0)
    if (recipe.width, recipe.height) == (published.width, published.height):
        return replace(recipe, crop=published.crop if _scales(network, recipe) else min(published.crop, least))
    if published.crop == min(published.width, published.height):
        return replace(recipe, crop=least)
    crop = published.crop * least // min(published.width, published.height)
    return replace(recipe, crop=min(least, max(network.smallest, crop // network.divisor * network.divisor)))


def _scheduled(
    network: Network, recipe: Recipe, batch: int | None, train: UserData | None, on_note: Callable[[str], None]
) -> Recipe:
    """As many passes over the data as published, in batches of the user's size; the pictures of an update stay."""
    published = network.recipe
    together = published.batch_size * published.iter_size
    if batch is not None:
        recipe = replace(recipe, batch_size=batch, iter_size=max(1, round(together / batch)))
    update = recipe.batch_size * recipe.iter_size
    if update != together:
        on_note(
            f"an update is of {update} pictures, published {together}: the rate, {recipe.base_lr:g}, may have to change"
        )
    passes = published.max_iter * together / network.pictures
    records = train.records if train else network.pictures
    max_iter = max(1, round(passes * records / update))
    if train:
        on_note(
            f"{max_iter:,} iterations of {update} pictures: {_passes(passes)} passes over {records:,} pictures, as "
            "published (other numbers: train --epochs N)"
        )
    else:
        on_note(f"{max_iter:,} iterations, as published: how many pictures you have is not known")
    share = max_iter / published.max_iter
    snapshot = max(1, round(published.snapshot * share), -(-max_iter // _TESTS) if share < 1 else 1)
    interval = round((published.test_interval or published.snapshot) * share)
    return replace(
        recipe,
        max_iter=max_iter,
        display=max(1, min(published.display, max_iter // _LINES)),
        snapshot=min(snapshot, max_iter),
        test_interval=min(max(1, interval, -(-max_iter // _TESTS) if share < 1 else 1), max_iter),
        moving_average_fraction=_fraction(recipe.moving_average_fraction, max_iter * recipe.iter_size),
    )


def _passes(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def _fraction(published: float | None, batches: int) -> float | None:
    """For batch normalization: its mean is over a twentieth of the training, of 10 batches at least."""
    window = max(10, batches // 20)
    return published if published is not None or window >= _LONGEST else round(1 - 1 / window, 4)


def _tested(recipe: Recipe, batch: int | None, val: UserData | None, on_note: Callable[[str], None]) -> Recipe:
    """Batches of one test: each picture once where the number has a divisor, or some of them twice."""
    most = min(recipe.test_batch_size, batch or recipe.test_batch_size, val.records if val else recipe.test_batch_size)
    if val is None:
        on_note(f"test_iter is {recipe.test_iter}, as published: set it to the pictures to test with / {most}")
        return replace(recipe, test_batch_size=most)
    size = next((size for size in range(most, most // 4, -1) if val.records % size == 0), most)
    return replace(recipe, test_batch_size=size, test_iter=-(-val.records // size))
