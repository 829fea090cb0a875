"""A gateway's journal: what its ledger has promised, in a ring of bytes that cost one write each.

A commit to SQLite writes three pages and their headers, and makes a file grow; what is written
over bytes that exist is durable in half that time, and for a tenth of the instructions. So a lot
of events is a record here first, and a row of a table later, together with many others.
"""

import os
import struct
import zlib
from pathlib import Path

import msgspec
from msgspec import Struct

from zaffre.core.metering import UsageRow

RING_BYTES = 1 << 20
"""Some 2,500 requests: what ends at 5,000 a second in twice the time between two commits."""
_HEAD = struct.Struct("<IIQ")
"""Bytes of the body, its checksum, the record's number."""


class Lot(Struct, kw_only=True):
    """Events that become durable together; those of one request are in their order."""

    opened: list[tuple[int, UsageRow]] = []
    """Entries and rows of requests that run for a while already."""
    tokens: dict[int, int] = {}
    """Entry opened before -> completion tokens so far."""
    closed: list[tuple[int, UsageRow]] = []


class Mark(Struct, frozen=True):
    """Where the next record is: numbered so or higher, at this place or at the ring's start."""

    number: int = 0
    place: int = 0
    """Bytes from the start."""


class JournalFull(Exception):
    """There is no room before some of what is in the journal is in the tables."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Lot)


class Journal:
    """The ring in the open file `file`, for the ledger `ledger`, from `start` on; emptied first.

    `append` is called by one thread, `release` by another. Raises `OSError` when there is no room
    on the disk.
    """

    def __init__(self, file: int, ledger: str, start: Mark) -> None:
        self._file, self._seed = file, _seed(ledger)
        # Bytes that exist: a record written over them moves no other part of the file system.
        _write(file, bytes(RING_BYTES), 0)
        os.fsync(file)
        self._next = self._tail = start

    @property
    def next(self) -> Mark:
        """Where the next record will be: all before it has been appended, or was given up."""
        return self._next

    @property
    def crowded(self) -> bool:
        """Whether more than half of the ring waits for its release."""
        return (self._next.place - self._tail.place) % RING_BYTES > RING_BYTES // 2

    def append(self, lot: Lot) -> None:
        """Write `lot`; durable on return.

        Raises `JournalFull`, `OSError`, or what msgspec raises for rows that cannot be written.
        Part of a record that was not written may be on the disk all the same. Its number is not
        used again, so that who puts the lot into the tables puts `next` there with it.
        """
        number = self._next.number
        self._next = Mark(number + 1, self._next.place)
        body = _encoder.encode(lot)
        place = self._room(_HEAD.size + len(body))
        head = _HEAD.pack(len(body), _checksum(body, number, self._seed), number)
        _write(self._file, head + body, place)
        self._next = Mark(number + 1, place + _HEAD.size + len(body))

    def release(self, mark: Mark) -> None:
        """All before `mark` is in the tables, and that is durable."""
        self._tail = mark

    def _room(self, size: int) -> int:
        tail, place = self._tail, self._next.place
        end = place + size
        empty = tail == self._before_this()
        if empty or place > tail.place:
            if end <= RING_BYTES:
                return place
            if size <= (RING_BYTES if empty else tail.place):
                return 0
        elif end <= tail.place:
            return place
        raise JournalFull

    def _before_this(self) -> Mark:
        return Mark(self._next.number - 1, self._next.place)


def open_journal_file(path: Path) -> int:
    """The file at `path`, for `Journal` and `read_journal`, its own entry durable.

    Every write to it is durable on return: one call to the system instead of two. Raises `OSError`.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def read_journal(file: int, ledger: str, start: Mark) -> tuple[list[Lot], Mark]:
    """The lots of ledger `ledger` from `start` on, and where the one after them will be."""
    ring, seed, mark = os.pread(file, RING_BYTES, 0), _seed(ledger), start
    lots = []
    # Numbers only grow, so this ends, and what is left of an earlier round is not taken.
    while found := _read(ring, mark, mark.place, seed) or _read(ring, mark, 0, seed):
        lot, mark = found
        lots.append(lot)
    return lots, mark


def _read(ring: bytes, mark: Mark, place: int, seed: int) -> tuple[Lot, Mark] | None:
    start = place + _HEAD.size
    if start > len(ring):
        return None
    size, checksum, number = _HEAD.unpack_from(ring, place)
    body = ring[start : start + size]
    if size == 0 or number < mark.number or len(body) < size:
        return None
    if checksum != _checksum(body, number, seed):
        return None
    return _decoder.decode(body), Mark(number + 1, start + size)


def _seed(ledger: str) -> int:
    # A record counts for its own ledger alone: somebody may have begun a new one beside it.
    return zlib.crc32(ledger.encode())


def _checksum(body: bytes, number: int, seed: int) -> int:
    return zlib.crc32(body, zlib.crc32(number.to_bytes(8, "little"), seed))


def _write(file: int, content: bytes, place: int) -> None:
    if os.pwrite(file, content, place) != len(content):
        raise OSError("The disk is full.")
