"""The pages of an LMDB's ``data.mdb``, read with a look at each before its numbers are believed.

liblmdb maps the file into memory and trusts it: a page beyond the end of a file that was cut short, a disk that
cannot read a block, or a damaged page end the process (SIGBUS, SIGSEGV, a failed assertion), which no ``except`` can
catch. So databases are read here, page by page with ``pread``. Nothing is read in advance: opening costs three pages
whatever the size, each page is checked when a reader comes to it, and what is damaged further on is an error then.

The layout is that of liblmdb 0.9 (data version 1) as 64-bit little-endian machines write it. A page begins with its
own number (8 bytes), 2 bytes of padding, its kind (2), and the ends of its free space (2 and 2) or, in an overflow
page, how many pages the value takes (4). The places of its nodes follow (2 each); the nodes fill it from its end. A
node is 8 bytes (two for the low and two for the high half of a size, flags, the key's size), the key, and in a leaf
the value or, where that is big, the number (8) of its first overflow page. The first two pages are meta pages, of
which the one with the higher transaction number counts.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from itertools import pairwise
from typing import NamedTuple

from caffecompat import glog
from caffecompat.formats.database import DatabaseError, key_text

__all__ = ["Branch", "Leaf", "LmdbFile"]

_HEAD = 16
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META, _OTHER = 1, 2, 4, 8, 0x60  # kinds of pages
_BIG = 1  # the flag of a node whose value is in overflow pages
_NO_PAGE = 0xFFFFFFFFFFFFFFFF
_DEEPEST = 32  # liblmdb's own limit
_KEPT_BRANCHES = 4096
_META_FIELDS = struct.Struct("<IIQQ IHHQQQQQ IHHQQQQQ QQ")
_PAGE_HEAD = struct.Struct("<QHHHH")
_NODE = struct.Struct("<HHHH")


class Branch(NamedTuple):
    """An inner page: the first key of each child (the first one's is meaningless) and its page number."""

    keys: list[bytes]
    children: list[int]


class Leaf(NamedTuple):
    """A page of records in key order.

    Attributes:
        keys: of the records.
        values: a record's value, or the number of its first overflow page and its size.
    """

    keys: list[bytes]
    values: list[bytes | tuple[int, int]]


class _Meta(NamedTuple):
    transaction: int
    page_size: int
    flags: int
    depth: int
    pages: int
    entries: int
    root: int
    last_page: int
    free_root: int


class LmdbFile:
    """``data.mdb`` open for reading, as its newest meta page describes it at this moment.

    Attributes:
        name: the file, for messages.
        entries: records that the meta page counts.
        depth: pages on the way from the root to a leaf, both included; 0 where there are no records.
        root: the number of the root page.

    Raises:
        DatabaseError: the file cannot be opened, is none, is damaged at its beginning or cut short.
    """

    def __init__(self, folder: str) -> None:
        self.name = os.path.join(folder, "data.mdb")
        self._descriptor = -1
        self._branches: dict[int, Branch] = {}
        self._lock = threading.Lock()
        try:
            self._descriptor = os.open(self.name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self.size = os.fstat(self._descriptor).st_size
            self._written = os.fstat(self._descriptor).st_mtime_ns
        except OSError as error:
            raise DatabaseError(f"cannot open the LMDB {folder}: {error.strerror}") from None
        meta = self._newest_meta()
        self._page_size, self._last_page = meta.page_size, meta.last_page
        self.entries, self.depth, self.root = meta.entries, meta.depth, meta.root
        self.needed = (meta.last_page + 1) * meta.page_size
        if self.size < self.needed:
            whole, free = self.size // meta.page_size, meta.free_root
            if self.size % meta.page_size or (free != _NO_PAGE and free >= whole):
                raise self.cut_short()

    def close(self) -> None:
        """Close the file; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def branch(self, number: int) -> Branch:
        """The inner page `number`; the same object again where it was read not long ago."""
        found = self._branches.get(number)
        if found is None:
            found = self._branch(number)
            if len(self._branches) >= _KEPT_BRANCHES:
                self._branches.clear()
            self._branches[number] = found
        return found

    def _branch(self, number: int) -> Branch:
        page, places, end = self._page(number, _BRANCH)
        keys, children = [], []
        for at in places:
            low, middle, high, key_size = _NODE.unpack_from(page, at) if at + 8 <= end else (0, 0, 0, end)
            if at + 8 + key_size > end:
                raise self.damage(f"page {number} has an entry that leaves the page")
            keys.append(page[at + 8 : at + 8 + key_size])
            children.append(low | middle << 16 | high << 32)
        if any(one >= other for one, other in pairwise(keys[1:])):
            raise self.damage(f"page {number} has keys out of order")
        return Branch(keys, children)

    def leaf(self, number: int) -> Leaf:
        """The page of records `number`."""
        self._check_unchanged()
        page, places, end = self._page(number, _LEAF)
        keys: list[bytes] = []
        values: list[bytes | tuple[int, int]] = []
        last = b""
        for at in places:
            low, high, flags, key_size = _NODE.unpack_from(page, at) if at + 8 <= end else (0, 0, 0, end)
            size = low | high << 16
            data = at + 8 + key_size
            stop = data + (8 if flags else size)
            if stop > end:
                raise self.damage(f"page {number} has a record that leaves the page")
            key = page[at + 8 : data]
            if key <= last:
                raise self.damage(f"page {number} has keys out of order, {key_text(key)!r} after {key_text(last)!r}")
            if not flags:
                values.append(page[data:stop])
            elif flags == _BIG:
                values.append((int.from_bytes(page[data:stop], "little"), size))
            else:
                raise self.damage(f"record {key_text(key)!r} is of a kind that Caffe's databases have not ({flags})")
            keys.append(key)
            last = key
        return Leaf(keys, values)

    def _check_unchanged(self) -> None:
        """Notice a file that another process writes to, or copies another database over.

        What was read of it so far and what follows would not belong together.
        """
        try:
            found = os.fstat(self._descriptor)
        except OSError:  # it was closed, as the next read says
            return
        if found.st_mtime_ns == self._written and found.st_size == self.size:
            return
        self.size = found.st_size
        if (self._meta(0, 0), self._meta(1, self._page_size)) != self._metas:
            raise DatabaseError(f"{self.name} was changed while it was read, by another process that writes to it")
        if self._written != found.st_mtime_ns:
            self._written = found.st_mtime_ns
            glog.warning(f"{self.name} was written to while it is read; its records are where they were")

    def value(self, leaf: Leaf, index: int) -> bytes:
        """The value of a leaf's record.

        Raises:
            DatabaseError: its overflow pages are damaged or not in the file.
        """
        found = leaf.values[index]
        if isinstance(found, bytes):
            return found
        return self.read_at(self.extent(leaf, index)[0], found[1])

    def extent(self, leaf: Leaf, index: int) -> tuple[int, int]:
        """The bytes of the file, from and to, that a big value takes (0, 0: it is in the leaf); checks them."""
        found = leaf.values[index]
        if isinstance(found, bytes):
            return 0, 0
        number, size = found
        start = number * self._page_size
        try:
            if not 1 < number <= self._last_page:
                raise self.damage(f"page {number} is not one of the {self._last_page + 1} pages")
            own, _, kind, low, high = _PAGE_HEAD.unpack(self.read_at(start, _HEAD))
            count = low | high << 16
            if own != number or kind & (_BRANCH | _LEAF | _OVERFLOW | _META | _OTHER) != _OVERFLOW:
                raise self.damage(f"page {number} is not the overflow page it should be")
            if number + count - 1 > self._last_page or _HEAD + size > count * self._page_size:
                raise self.damage(f"{size} bytes are not in the {count} pages from {number} on")
            if start + _HEAD + size > self.size:
                raise self.cut_short()
        except DatabaseError as problem:
            raise DatabaseError(f"{problem}: the value of record {key_text(leaf.keys[index])!r}") from None
        return start + _HEAD, start + _HEAD + size

    def read_at(self, at: int, count: int) -> bytes:
        """`count` bytes from `at` on.

        Raises:
            DatabaseError: the system cannot read them, or the file ends before.
        """
        if at + count > self.size:
            raise self.cut_short()
        try:
            if hasattr(os, "pread"):
                data = os.pread(self._descriptor, count, at)
            else:  # Windows
                with self._lock:
                    os.lseek(self._descriptor, at, os.SEEK_SET)
                    data = os.read(self._descriptor, count)
        except OSError as error:
            closed = "it was closed" if error.errno == errno.EBADF else error.strerror
            raise DatabaseError(f"cannot read {self.name} at byte {at}: {closed}") from None
        if len(data) < count:
            self.size = os.fstat(self._descriptor).st_size
            raise self.cut_short()
        return data

    def damage(self, what: str) -> DatabaseError:
        """The error of a file whose bytes contradict each other."""
        return DatabaseError(f"{self.name} is damaged: {what}")

    def cut_short(self) -> DatabaseError:
        """The error of a file that ends before its last page."""
        return DatabaseError(
            f"{self.name} is cut short: it has {self.size} bytes and needs {self.needed}; copy or build it again"
        )

    def _page(self, number: int, kind: int) -> tuple[bytes, tuple[int, ...], int]:
        """A page of `kind`, the places of its nodes, and its size."""
        size = self._page_size
        if not 1 < number <= self._last_page:
            raise self.damage(f"page {number}, which it refers to, is not one of its {self._last_page + 1} pages")
        page = self.read_at(number * size, size)
        own, _, found, lower, upper = _PAGE_HEAD.unpack_from(page)
        if own != number or found & (_BRANCH | _LEAF | _OVERFLOW | _META | _OTHER) != kind:
            raise self.damage(f"page {number} is not the {'inner page' if kind == _BRANCH else 'page of records'} "
                              "it should be")  # fmt: skip
        if not _HEAD < lower <= upper <= size or lower % 2:
            raise self.damage(f"page {number} has no valid table of records")
        places = struct.unpack_from(f"<{(lower - _HEAD) // 2}H", page, _HEAD)
        if min(places) < upper:
            raise self.damage(f"page {number} has a record that is not among its records")
        return page, places, size

    def _newest_meta(self) -> _Meta:
        if not self.size:
            raise DatabaseError(f"{self.name} is empty; copy or build the database again")
        self.needed = 2 * 4096
        first = self._meta(0, 0)
        self.needed = 2 * first.page_size
        second = self._meta(1, first.page_size)
        self._metas = (first, second)
        older, newer = sorted((first, second))
        # Each transaction writes the meta page of the one before the last, and no file becomes smaller.
        apart, shrunk = newer.transaction - older.transaction, newer.last_page < older.last_page
        if apart > 1 or shrunk or first.page_size != second.page_size:
            raise self.damage("its two meta pages do not belong together "
                              f"(transactions {first.transaction} and {second.transaction})")  # fmt: skip
        meta = newer
        empty = meta.root == _NO_PAGE
        if empty != (meta.entries == 0) or empty != (meta.depth == 0) or meta.depth > _DEEPEST:
            raise self.damage(f"its meta page counts {meta.entries} records in a tree of depth {meta.depth}")
        if meta.pages > meta.last_page + 1 or not (empty or 1 < meta.root <= meta.last_page):
            raise self.damage(f"its meta page counts {meta.pages} pages and names root page {meta.root}; "
                              f"the last page is {meta.last_page}")  # fmt: skip
        if meta.entries > (meta.last_page + 1) * meta.page_size // (_NODE.size + 2):
            raise self.damage(f"its meta page counts {meta.entries} records, more than its pages can hold")
        if meta.flags:
            raise DatabaseError(f"{self.name} has keys of a kind that Caffe's databases have not (flags {meta.flags})")
        return meta

    def _meta(self, index: int, at: int) -> _Meta:
        data = self.read_at(at, _HEAD + _META_FIELDS.size)
        kind = _PAGE_HEAD.unpack_from(data)[2]
        magic, version, _, _, page_size, *rest = _META_FIELDS.unpack_from(data, _HEAD)
        if magic != _MAGIC or not kind & _META:
            if data[_HEAD - 4 : _HEAD] == _MAGIC.to_bytes(4, "little"):
                raise DatabaseError(
                    f"{self.name} was written by a 32-bit machine; build the database again on this one"
                )
            what = "is not an LMDB file" if index == 0 else "is damaged: its second page is no meta page"
            raise DatabaseError(f"cannot open the LMDB {os.path.dirname(self.name)}: {self.name} {what}")
        if version != _VERSION:
            raise DatabaseError(f"{self.name} has version {version} of LMDB's format; only version {_VERSION} is read")
        if not 256 <= page_size <= 32768 or page_size & (page_size - 1):
            raise self.damage(f"its meta page says pages of {page_size} bytes")
        free_root = rest[6]  # of the tree of pages that are free for the next transaction
        _, flags, depth, *pages, entries, root, last_page, transaction = rest[7:]
        return _Meta(transaction, page_size, flags, depth, sum(pages), entries, root, last_page, free_root)
