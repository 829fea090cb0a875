"""The way to a content safety server: HTTP, within bounds."""

import aiohttp

from zaffre.core.safety import FilterFailedError

CONNECT_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 64
MAX_ANSWER_BYTES = 1 << 20


class HttpPost:
    """A `zaffre.safety.remote.Post` to the server at `url`; `key` may be empty.

    Make it inside the event loop that uses it. The time of a whole request is its caller's bound.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Ocp-Apim-Subscription-Key"] = key
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )

    async def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        """See `Post`."""
        try:
            # A redirect would take the key, and the text, elsewhere.
            async with self._session.post(
                self._url + path, data=body, allow_redirects=False
            ) as response:
                content = bytearray()
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise FilterFailedError(f"answered with over {MAX_ANSWER_BYTES} bytes")
                return response.status, bytes(content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FilterFailedError(f"cannot be reached: {type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()
