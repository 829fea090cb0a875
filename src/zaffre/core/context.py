"""The context of a call: who calls, in which dialect, under which id."""

from msgspec import Struct

from zaffre.core.accounts import Account
from zaffre.core.principals import Principal


class Context(Struct, frozen=True):
    """What is known of a request besides its call."""

    id: str
    """Ours; in every answer, log line and ledger row."""
    principal: Principal
    account: Account
    """What the request uses is noted here."""
    dialect: str = ""
    stream: bool = False
