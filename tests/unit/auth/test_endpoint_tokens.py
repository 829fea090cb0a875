"""Tokens for endpoints: short-lived, for one endpoint, and nobody else's work."""

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaffre.auth.endpoint_tokens import (
    LIFETIME_S,
    MAX_LIFETIME_S,
    TOKEN_PREFIX,
    EndpointTokens,
)
from zaffre.auth.keystore import KeyStore
from zaffre.core.errors import InvalidParameter
from zaffre.core.principals import Principal

ASKER = Principal("till", "key_1")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path)


@pytest.fixture
def tokens(store: KeyStore, clock: Clock) -> EndpointTokens:
    return EndpointTokens(store, clock=clock)


def test_a_token_calls_its_endpoint_in_the_askers_name(tokens: EndpointTokens):
    found = tokens.find(tokens.issue("Shop", ASKER).token)

    assert found is not None
    assert (found.name, found.id) == ("till", "key_1")
    assert (found.permissions, found.endpoints) == ({"call"}, {"shop"})
    assert found.credential == "aml_token"


def test_it_says_when_it_ends_and_when_to_ask_again(tokens: EndpointTokens, clock: Clock):
    issued = tokens.issue("shop", ASKER)

    assert issued.expires_at == clock.now + LIFETIME_S
    assert clock.now < issued.refresh_after < issued.expires_at
    assert issued.token not in repr(issued)
    clock.now = issued.expires_at - 1
    assert tokens.find(issued.token) is not None
    clock.now += 1
    assert tokens.find(issued.token) is None


@pytest.mark.parametrize("lifetime_s", [0, -1, MAX_LIFETIME_S + 1])
def test_it_is_short_lived(tokens: EndpointTokens, lifetime_s: int):
    with pytest.raises(InvalidParameter):
        tokens.issue("shop", ASKER, lifetime_s)


def test_a_stolen_token_opens_no_other_endpoint(tokens: EndpointTokens):
    tokens.issue("lab", ASKER)
    content, signature = tokens.issue("shop", ASKER).token.removeprefix(TOKEN_PREFIX).split(".")
    plain = base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
    other = base64.urlsafe_b64encode(plain.replace(b'"shop"', b'"lab"')).rstrip(b"=").decode()

    assert other != content
    assert tokens.find(f"{TOKEN_PREFIX}{other}.{signature}") is None


def test_ended_tokens_end_everywhere(tmp_path: Path, store: KeyStore, tokens: EndpointTokens):
    elsewhere = EndpointTokens(KeyStore(tmp_path), clock=tokens._clock)
    shop, lab = tokens.issue("shop", ASKER).token, tokens.issue("lab", ASKER).token
    assert elsewhere.find(shop) is not None

    store.end_tokens("Shop")

    assert elsewhere.find(shop) is None
    assert elsewhere.find(lab) is not None
    again = elsewhere.issue("shop", ASKER).token
    assert tokens.find(again) is not None
    assert tokens.find(shop) is None


def test_another_server_does_not_believe_it(tmp_path: Path, tokens: EndpointTokens):
    other_store = KeyStore(tmp_path / "other")
    other = EndpointTokens(other_store, clock=tokens._clock)
    other.issue("shop", ASKER)

    assert other.find(tokens.issue("shop", ASKER).token) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0), st.characters(max_codepoint=255))
def test_a_changed_token_is_none(tokens: EndpointTokens, position: int, character: str):
    token = tokens.issue("shop", ASKER).token
    place = position % len(token)
    changed = token[:place] + character + token[place + 1 :]

    assert (tokens.find(changed) is not None) == (changed == token)


@pytest.mark.parametrize(
    "text",
    ["", "zaffre-token.", "zaffre-token..", "zaffre-token.a.b", "zaffre-token." + "a" * 3000],
)
def test_nothing_else_is_a_token(tokens: EndpointTokens, text: str):
    assert tokens.find(text) is None
