"""Names for requests and answers. Nobody gains anything by guessing one: they are not secrets.

They come from Python's own generator, seeded by the system once per process: the system's costs a
call to it each time, a hundredth of a request.
"""

import random
import string

_LETTERS = (string.ascii_letters + string.digits).encode()
# One draw for all letters: one for each, without a bias, costs twenty times as much. The first few
# letters come up a little more often, which tells nobody anything.
_LETTER_OF_BYTE = bytes(_LETTERS[byte % len(_LETTERS)] for byte in range(256))


def new_uuid() -> str:
    """A UUID of version 4, as text."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_letters(length: int) -> str:
    """So many letters and digits."""
    return random.randbytes(length).translate(_LETTER_OF_BYTE).decode()  # noqa: S311
