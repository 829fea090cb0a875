"""What events come to, since the ledger's tables were last brought up to date."""

from collections.abc import Iterable

from msgspec import Struct

from zaffre.core.metering import UsageRow
from zaffre.metering.journal import Lot, Mark


class Batch(Struct, kw_only=True):
    """What one transaction writes."""

    closed: list[UsageRow] = []
    ended: list[int] = []
    """Entries that were written as open and are no longer."""
    opened: list[tuple[int, UsageRow]] = []
    tokens: dict[int, int] = {}
    """Entry written as open, before or now -> completion tokens so far."""
    mark: Mark | None = None
    """Where the journal goes on after this; None: as before."""
    shipped: int = 0
    """Rows up to this number are somewhere safer and can go."""
    probe: bool = False
    """Write something in any case, to find out whether that can be done."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        lists = self.closed or self.ended or self.opened or self.tokens
        return bool(lists) or self.mark is not None or self.shipped > 0 or self.probe


class Books:
    """Takes lots in their order. `written`: entries that are in the tables as open."""

    def __init__(self, written: Iterable[int] = ()) -> None:
        self._written = set(written)
        self._opened: dict[int, UsageRow] = {}
        self._closed: list[UsageRow] = []
        self._ended: list[int] = []
        self._tokens: dict[int, int] = {}
        self._mark: Mark | None = None

    def add(self, lot: Lot, mark: Mark) -> None:
        """Take `lot`; the journal goes on at `mark`."""
        self._mark = mark
        self._opened.update(lot.opened)
        self._tokens.update(lot.tokens)
        for entry, row in lot.closed:
            self._closed.append(row)
            self._tokens.pop(entry, None)
            if self._opened.pop(entry, None) is None and entry in self._written:
                self._ended.append(entry)

    def batch(self, *, shipped: int = 0, probe: bool = False) -> Batch:
        """All that the tables lack. It stays in the books until `settle`."""
        return Batch(
            closed=self._closed,
            ended=self._ended,
            opened=list(self._opened.items()),
            tokens=self._tokens,
            mark=self._mark,
            shipped=shipped,
            probe=probe,
        )

    def settle(self) -> None:
        """The last batch is in the tables, and nothing has come since it was made."""
        self._written.difference_update(self._ended)
        self._written.update(self._opened)
        self._opened, self._closed, self._ended, self._tokens = {}, [], [], {}
        self._mark = None
