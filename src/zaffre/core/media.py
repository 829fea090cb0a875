"""What the gateway asks of whatever brings in media that a request only points to."""

from typing import Protocol

from zaffre.core.calls import AudioPart, ImagePart, MediaReference
from zaffre.core.errors import Location


class MediaFetcher(Protocol):
    """Brings in images and sound clips from the web."""

    async def fetch(self, reference: MediaReference, location: Location) -> ImagePart | AudioPart:
        """What `reference` points to.

        Raises `InvalidParameter` at `location` when it is not allowed, not there, or too large.
        """

    def close(self) -> None:
        """Let go of everything it holds."""
