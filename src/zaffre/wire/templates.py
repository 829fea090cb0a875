"""Frames of a stream that differ in one text alone: written once, filled for every token."""

from zaffre.wire import codec

MARK = "\0"
"""Stands where the text will stand. No name of a model has it."""
_MARK = codec.encode(MARK)


class FrameTemplate:
    """A frame of which all but one text is known. `frame` has `MARK` in that text's place."""

    def __init__(self, frame: bytes) -> None:
        self._before, _, self._after = frame.partition(_MARK)

    def filled(self, text: str) -> bytes:
        """The frame with `text`."""
        return self._before + codec.encode(text) + self._after
