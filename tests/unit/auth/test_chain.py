"""The chain: each header judged on its own, whatever it holds."""

from pathlib import Path

import pytest

from zaffre.auth.chain import MAX_CREDENTIALS, AuthChain
from zaffre.auth.keystore import ConfiguredKey, KeyStore
from zaffre.auth.opening import ANYBODY, WORDS, anybody
from zaffre.config.settings import ConfigurationError
from zaffre.core.errors import InvalidToken, Unauthenticated
from zaffre.core.principals import Grant, Principal

API, BEARER = b"api-key", b"authorization"
Headers = list[tuple[bytes, bytes]]
JWT = "good.to.ken"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only named


class OneToken:
    """Verifies the one token that there is."""

    def __init__(self) -> None:
        self.closed = False

    async def find(self, token: str) -> Principal | None:
        """Its owner."""
        return Principal("user", "test:user", credential="aad_token") if token == JWT else None

    async def aclose(self) -> None:
        """Remember that it was asked."""
        self.closed = True


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    keys = [ConfiguredKey("first", "key-1"), ConfiguredKey("second", "dots.in.it")]
    return KeyStore(tmp_path, configured=keys)


@pytest.fixture
def chain(store: KeyStore) -> AuthChain:
    return AuthChain(store, tokens=OneToken())


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ([(API, b"key-1")], "first"),
        ([(API, b" dots.in.it ")], "second"),
        ([(BEARER, b"Bearer key-1")], "first"),
        ([(BEARER, b"bearer   dots.in.it")], "second"),
        ([(BEARER, b"BEARER good.to.ken")], "user"),
        ([(BEARER, b"Bearer "), (API, b"key-1")], "first"),
        ([(API, b""), (BEARER, b"Bearer good.to.ken")], "user"),
        ([(API, b"wrong"), (BEARER, b"Bearer good.to.ken")], "user"),
        ([(BEARER, b"Bearer bad.to.ken"), (API, b"key-1")], "first"),
        ([(BEARER, b"Bearer good.to.ken"), (API, b"key-1")], "first"),
        ([(BEARER, b"Basic x"), (BEARER, b"Bearer key-1")], "first"),
        ([(API, b"wrong"), (API, b"key-1")], "first"),
    ],
    ids=str,
)
async def test_any_valid_credential_identifies(chain: AuthChain, headers: Headers, owner: str):
    assert (await chain.identify([(b"host", b"x"), *headers])).name == owner


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(API, b"")],
        [(BEARER, b"Bearer")],
        [(BEARER, b"key-1")],
        [(BEARER, b"Basic key-1")],
        [(BEARER, b"Bearer: key-1")],
        [(API, b"Bearer key-1")],
        [(API, b"good.to.ken")],
        [(API, b"\xff\xfe")],
        [(API, b"k" * 100_000)],
        [(b"x-api-key", b"key-1")],
        [*[(API, b"wrong")] * MAX_CREDENTIALS, (API, b"key-1")],
    ],
    ids=lambda headers: str(headers)[:40],
)
async def test_nothing_else_does(chain: AuthChain, headers: Headers):
    with pytest.raises(Unauthenticated) as raised:
        await chain.identify(headers)
    assert type(raised.value) is Unauthenticated


async def test_a_bad_token_is_told_from_a_missing_one(chain: AuthChain):
    with pytest.raises(InvalidToken, match="Auth token validation failed"):
        await chain.identify([(BEARER, b"Bearer bad.to.ken")])


async def test_a_token_of_an_endpoint_identifies(chain: AuthChain):
    token = chain.endpoint_tokens.issue("shop", ANYBODY).token

    found = await chain.identify([(API, token.encode()), (BEARER, f"Bearer {token}".encode())])

    assert found.credential == "aml_token"
    with pytest.raises(InvalidToken):
        await chain.identify([(BEARER, f"Bearer {token}x".encode())])


async def test_without_issuers_no_token_of_others_is_good(store: KeyStore):
    with pytest.raises(InvalidToken):
        await AuthChain(store).identify([(BEARER, b"Bearer good.to.ken")])


async def test_an_open_server_takes_anybody_and_still_knows_its_own(store: KeyStore):
    chain = AuthChain(store, anybody=ANYBODY)

    assert (await chain.identify([])).name == "anybody"
    assert (await chain.identify([(API, b"none")])).permissions == {"call"}
    assert (await chain.identify([(API, b"key-1")])).name == "first"


async def test_closing_keeps_when_keys_were_used(tmp_path: Path):
    store, tokens = KeyStore(tmp_path), OneToken()
    made = store.create("a", Grant())
    chain = AuthChain(store, tokens=tokens)
    await chain.identify([(API, made.key.encode())])

    await chain.aclose()

    assert tokens.closed
    assert KeyStore(tmp_path).listed()[0].last_used_at is not None


@pytest.mark.parametrize(
    ("host", "said", "opens"),
    [
        ("127.0.0.1", "", False),
        (EVERYWHERE, "", False),
        ("127.0.0.1", "loopback", True),
        ("::1", "loopback", True),
        ("localhost", " Loopback", True),
        (EVERYWHERE, WORDS, True),
        ("::", WORDS.upper(), True),
        ("127.0.0.1", WORDS, True),
    ],
)
def test_words_open_a_server(host: str, said: str, opens: bool):
    assert (anybody(host, said) is not None) == opens


@pytest.mark.parametrize(
    "host", [EVERYWHERE, "::", "192.168.1.5", "example.com", "127.0.0.1.example"]
)
def test_a_server_that_others_reach_needs_the_words(host: str):
    with pytest.raises(ConfigurationError, match=WORDS):
        anybody(host, "loopback")


@pytest.mark.parametrize("said", ["yes", "true", "1", "i understand"])
def test_other_words_do_not_open_it(said: str):
    with pytest.raises(ConfigurationError, match=WORDS):
        anybody("127.0.0.1", said)
