"""The journal: what was promised is found again, as often as it was, and nothing else is."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usage_rows import make_row

from zaffre.metering.journal import (
    RING_BYTES,
    Journal,
    JournalFull,
    Lot,
    Mark,
    open_journal_file,
    read_journal,
)

HEAD_BYTES = 16


@pytest.fixture
def file(tmp_path):
    """An open journal file that is empty."""
    opened = open_journal_file(tmp_path / "usage.db.gateway-0")
    yield opened
    os.close(opened)


def lot(name, padding=0):
    return Lot(closed=[(1, make_row(name, model="x" * padding))])


def names(lots):
    return [row.id for one in lots for _, row in one.closed]


def test_lots_are_read_back_in_their_order(file):
    """Given lots of all kinds of events, when they are read, then they are as they were."""
    journal = Journal(file, "mine", Mark())
    lots = [Lot(opened=[(7, make_row("a"))]), Lot(tokens={7: 3}), lot("b")]
    for one in lots:
        journal.append(one)
    assert read_journal(file, "mine", Mark()) == (lots, journal.next)


def test_what_is_in_the_tables_is_not_read_again(file):
    """Given three lots, when read from after the second, then the third alone is found."""
    journal = Journal(file, "mine", Mark())
    marks = []
    for name in "abc":
        journal.append(lot(name))
        marks.append(journal.next)
    assert names(read_journal(file, "mine", marks[1])[0]) == ["c"]


def test_another_ledgers_journal_is_not_read(file):
    """Given the journal of a ledger that somebody deleted, when a new one reads it, then it is
    empty."""
    Journal(file, "old", Mark()).append(lot("a"))
    assert read_journal(file, "new", Mark()) == ([], Mark())


@pytest.mark.parametrize("at", [0, 4, 8, HEAD_BYTES, HEAD_BYTES + 40])
def test_a_record_that_is_not_whole_is_the_end(file, at):
    """Given a byte of the second record that did not reach the disk, when read, then the first is
    there."""
    journal = Journal(file, "mine", Mark())
    journal.append(lot("a"))
    second = journal.next
    journal.append(lot("b"))
    (byte,) = os.pread(file, 1, second.place + at)
    os.pwrite(file, bytes([byte ^ 0xFF]), second.place + at)
    lots, end = read_journal(file, "mine", Mark())
    assert (names(lots), end) == (["a"], second)


def test_nothing_is_written_over_what_waits(file):
    """Given a ring full of lots, when one more comes, then it is refused until one is released."""
    journal = Journal(file, "mine", Mark())
    journal.append(lot("first", RING_BYTES // 2))
    first = journal.next
    journal.append(lot("second", RING_BYTES // 4))
    crowded = journal.crowded
    with pytest.raises(JournalFull):
        journal.append(lot("third", RING_BYTES // 3))
    journal.release(first)
    journal.append(lot("third", RING_BYTES // 3))
    assert crowded
    assert names(read_journal(file, "mine", first)[0]) == ["second", "third"]


def test_a_lot_larger_than_the_ring_is_refused(file):
    """Given an empty ring, when a lot comes that cannot fit, then it is refused and others fit."""
    journal = Journal(file, "mine", Mark())
    with pytest.raises(JournalFull):
        journal.append(lot("large", RING_BYTES))
    journal.release(journal.next)
    journal.append(lot("small"))
    assert names(read_journal(file, "mine", Mark())[0]) == ["small"]


def test_a_record_given_up_does_not_hide_the_next(file):
    """Given a lot that cannot be written, when the next is and the tables never heard of either,
    then the next is found."""
    journal = Journal(file, "mine", Mark())
    journal.append(lot("a"))
    with pytest.raises(UnicodeEncodeError):
        journal.append(lot("\ud800"))
    journal.append(lot("b"))
    assert names(read_journal(file, "mine", Mark())[0]) == ["a", "b"]


def test_a_record_given_up_does_not_come_back(file):
    """Given a lot that reached the disk but was reported as not written, when the tables have it,
    then the journal has it no more."""
    journal = Journal(file, "mine", Mark())
    journal.append(lot("a"))
    before = journal.next
    journal.append(lot("b"))
    given_up = Mark(journal.next.number, before.place)
    assert read_journal(file, "mine", given_up) == ([], given_up)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, RING_BYTES // 3), st.booleans()), min_size=1, max_size=40
    )
)
def test_what_waits_is_found_after_any_history(file, steps):
    """Given lots of any size, released or not, when the ring is read at any time, then it has
    exactly those that wait."""
    journal, start = Journal(file, "mine", Mark()), Mark()
    waiting = []
    for number, (padding, release) in enumerate(steps):
        try:
            journal.append(lot(str(number), padding))
        except JournalFull:
            # As the tables do: they take the lot themselves, with all before it.
            waiting.clear()
            start = journal.next
            journal.release(start)
        else:
            waiting.append(str(number))
        if release:
            waiting.clear()
            start = journal.next
            journal.release(start)
        lots, end = read_journal(file, "mine", start)
        assert (names(lots), end) == (waiting, journal.next)


def test_the_file_does_not_grow(file):
    """Given ten times what the ring holds, when it has gone through it, then its size is as
    before."""
    journal = Journal(file, "mine", Mark())
    for _ in range(40):
        journal.append(lot("a", RING_BYTES // 4))
        journal.release(journal.next)
    assert os.fstat(file).st_size == RING_BYTES
