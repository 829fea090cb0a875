"""The books: what events come to."""

from zaffre.core.metering import UsageRow
from zaffre.metering.books import Batch, Books
from zaffre.metering.journal import Lot, Mark

MARK = Mark(9, 99)


def row(name):
    return UsageRow(id=name, started_ms=0)


def test_a_request_that_ends_soon_is_one_row():
    """Given a request that opens, goes on and ends between two batches, then one row is left."""
    books = Books()
    books.add(Lot(opened=[(1, row("a"))]), Mark())
    books.add(Lot(tokens={1: 5}), Mark())
    books.add(Lot(closed=[(1, row("a"))]), MARK)
    assert books.batch() == Batch(closed=[row("a")], mark=MARK)


def test_a_request_in_the_tables_is_taken_out_when_it_ends():
    """Given a request written as open, when it ends, then its entry goes and its row comes."""
    books = Books()
    books.add(Lot(opened=[(1, row("a"))]), Mark())
    books.settle()
    books.add(Lot(closed=[(1, row("a"))]), MARK)
    assert books.batch() == Batch(closed=[row("a")], ended=[1], mark=MARK)


def test_who_found_it_in_the_tables_takes_it_out_too():
    """Given a request that a gateway before wrote as open, when its end is found, then it goes."""
    books = Books(written=[1])
    books.add(Lot(closed=[(1, row("a")), (2, row("b"))]), MARK)
    assert books.batch().ended == [1]


def test_a_batch_that_failed_comes_again():
    """Given a batch that could not be written, when more has come, then the next has both."""
    books = Books()
    books.add(Lot(closed=[(1, row("a"))]), Mark())
    books.batch()
    books.add(Lot(closed=[(2, row("b"))]), MARK)
    assert [one.id for one in books.batch().closed] == ["a", "b"]


def test_nothing_new_is_nothing_to_write():
    """Given books that are settled, when asked, then there is nothing, unless one wants to know."""
    books = Books()
    books.add(Lot(closed=[(1, row("a"))]), MARK)
    books.settle()
    assert not books.batch()
    assert books.batch(probe=True)
    assert books.batch(shipped=1)
