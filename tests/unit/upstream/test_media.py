"""Fetching media: what is brought in, and the many addresses that are not."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from zaffre.core.calls import ImagePart, MediaReference
from zaffre.core.errors import InvalidParameter
from zaffre.upstream.media import GuardedFetcher

PICTURE = b"\x89PNG and so on"
WHERE = ("messages", 0, "content", 0)
LOOPBACK = ("127.0.0.0/8",)


class _Site(http.server.BaseHTTPRequestHandler):
    """A web site with pictures, redirects and traps."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        match self.path:
            case "/picture":
                self._answer(200, PICTURE, "image/png; charset=binary")
            case "/page":
                self._answer(200, b"<html>", "text/html")
            case "/large":
                self._answer(200, b"x" * 5000, "image/png")
            case "/moved":
                self._redirect("/picture")
            case "/round":
                self._redirect("/round")
            case "/inside":
                self._redirect(f"https://127.0.0.2:{port}/picture")
            case "/plain":
                self._redirect("http://localhost/picture")
            case _:
                self._answer(404, b"", "text/plain")

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """An authority, and the file to trust it by."""
    ca, file = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return ca, str(file)


@pytest.fixture(scope="module")
def site(authority: tuple[trustme.CA, str]) -> Iterator[str]:
    """The site's address on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("localhost").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetcher(authority: tuple[trustme.CA, str]) -> Iterator[GuardedFetcher]:
    """A fetcher for localhost, to which loopback is as good as public."""
    with contextlib.closing(_fetcher(["localhost"], authority[1])) as made:
        yield made


def _fetcher(hosts: list[str], ca: str, allowed: tuple[str, ...] = LOOPBACK) -> GuardedFetcher:
    return GuardedFetcher(hosts, max_bytes=4096, timeout_s=5, allowed_addresses=allowed, ca_file=ca)


async def _refusal(fetcher: GuardedFetcher, url: str) -> str:
    with pytest.raises(InvalidParameter) as refused:
        await fetcher.fetch(MediaReference("image", url), WHERE)
    assert refused.value.location == WHERE
    return refused.value.message


@pytest.mark.parametrize("path", ["/picture", "/moved"])
async def test_a_picture_is_fetched(fetcher: GuardedFetcher, site: str, path: str):
    """Given an allowed host, when a picture or a redirect to one is asked for, then it comes."""
    found = await fetcher.fetch(MediaReference("image", site + path), WHERE)
    assert found == ImagePart(PICTURE, "image/png")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/page", "text/html"),
        ("/large", "larger than"),
        ("/round", "redirects"),
        ("/inside", "not among the allowed"),
        ("/plain", "only https"),
        ("/missing", "404"),
    ],
)
async def test_what_is_no_picture_is_refused(
    fetcher: GuardedFetcher, site: str, path: str, words: str
):
    """Given an allowed host, when it has no picture or leads elsewhere, then it is refused."""
    assert words in await _refusal(fetcher, site + path)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "http://example.com/picture",
        "ftp://example.com/picture",
        "https://user:secret@localhost/picture",
        "file:///etc/passwd",
        "https:///nothing",
    ],
)
async def test_addresses_that_are_not_public_are_refused(
    authority: tuple[trustme.CA, str], url: str
):
    """Given a fetcher for any host, when an address inside is asked for, then it is refused."""
    with contextlib.closing(_fetcher(["*"], authority[1], allowed=())) as fetcher:
        assert "was not fetched" in await _refusal(fetcher, url)
