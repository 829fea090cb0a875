"""Data-only server-sent events: frames out, and a tolerant reader for what other servers send."""

DONE = b"[DONE]"
BOUNDARY = b"\n\n"
"""Ends each frame, and stands nowhere else: JSON on one line has no line feed."""
END = b"data: [DONE]\n\n"
"""The last frame of a whole stream."""

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""An upstream's event above this size is an error, not a reason to buffer on."""


def frame(payload: bytes) -> bytes:
    """One event, in the only form that azure-ai-inference parses (contract, section 4.4)."""
    return b"data: " + payload + b"\n\n"


class EventTooLargeError(ValueError):
    """An event that does not end within `MAX_EVENT_BYTES`."""


class EventReader:
    """Turns pieces of a byte stream into the payloads of its `data:` events.

    Reads what the SSE standard allows: LF, CRLF and CR line ends, comments, other fields, several
    `data:` lines per event. An event counts only when its blank line has come.
    """

    def __init__(self) -> None:
        # A line without its end is held in pieces: adding them up each time would copy it.
        self._pieces: list[bytes] = []
        self._held = 0
        self._return = b""
        self._lines: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The payloads completed by `piece`. Raises `EventTooLargeError`."""
        if self._idle and (payloads := _whole_events(piece)) is not None:
            return payloads  # nearly always
        return self._feed(piece)

    @property
    def _idle(self) -> bool:
        """Whether nothing is held of an event that has begun."""
        return not (self._held or self._lines or self._return)

    def _feed(self, piece: bytes) -> list[bytes]:
        piece = self._return + piece
        self._return = b""
        if b"\r" in piece:
            if piece.endswith(b"\r"):  # perhaps half of a CRLF
                piece, self._return = piece[:-1], b"\r"
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._held += len(piece)
        if self._size + self._held > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"An event is larger than {MAX_EVENT_BYTES} bytes.")
        self._pieces.append(piece)
        payloads: list[bytes] = []
        if b"\n" not in piece:
            return payloads
        *lines, rest = b"".join(self._pieces).split(b"\n")
        self._pieces, self._held = [rest], len(rest)
        for line in lines:
            if line:
                self._keep(line)
            elif self._lines:
                payloads.append(
                    self._lines[0] if len(self._lines) == 1 else b"\n".join(self._lines)
                )
                self._lines, self._size = [], 0
        return payloads

    def _keep(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
            self._size += len(line)


def _whole_events(piece: bytes) -> list[bytes] | None:
    """The payloads of `piece` when it is nothing but whole events of one `data:` line each."""
    if len(piece) > MAX_EVENT_BYTES or b"\r" in piece or not piece.endswith(BOUNDARY):
        return None
    payloads = []
    for event in piece[: -len(BOUNDARY)].split(BOUNDARY):
        if not event.startswith(b"data: ") or b"\n" in event:
            return None
        payloads.append(event[6:])
    return payloads
