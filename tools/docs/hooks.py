"""What the site's build adds to the pages of docs/: references that are made from the code, and never committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from command_pages import command_pages, command_titles
from data_page import data_page
from fork_page import fork_page
from layer_pages import layer_pages, layer_titles
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from python_page import python_page
from solver_page import solver_page
from target_page import target_page

Nav = list[object]

# Recorded cases that are shown may hold settings without effect; the log of a net is not the build's.
logging.getLogger("caffecompat").addHandler(logging.NullHandler())


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, in the places of ``LAYERS`` and ``COMMANDS``."""
    config.nav = [_expanded(item) for item in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in _pages():
        files.append(File.generated(config, path, content=text))
    return files


def _pages() -> Iterator[tuple[str, str]]:
    yield from layer_pages()
    yield from solver_page()
    yield from data_page()
    yield from target_page()
    yield from fork_page()
    yield from command_pages()
    yield from python_page()


def _expanded(item: object) -> object:
    if isinstance(item, dict):
        return {title: _expanded(inner) for title, inner in item.items()}
    if isinstance(item, list):
        return [_expanded(inner) for inner in item]
    if item == "LAYERS":
        return ["reference/layers/index.md", *layer_titles()]
    if item == "COMMANDS":
        groups: Nav = [{group: list(pages)} for group, pages in command_titles().items()]
        return ["reference/commands/index.md", *groups]
    return item
