"""Issuers that really listen: their keys are found, kept, renewed, and outlive an outage."""

import asyncio
import json
import socket
import time
from typing import Any

import jwt
import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from issuing import AUDIENCE, TENANT, TestedIssuer, declared, serving

from zaffre.asgi.exchange import Receive, Scope, Send, send_whole
from zaffre.auth.documents import MAX_DOCUMENT_BYTES, DocumentFetcher
from zaffre.auth.issuer_keys import REFRESH_AFTER_S, REFRESH_PAUSE_S, FetchFailed
from zaffre.auth.tokens import TokenVerifier
from zaffre.config.auth_section import RuleDeclaration
from zaffre.config.settings import ConfigurationError
from zaffre.core.errors import IssuerUnavailable

DISCOVERY = f"/{TENANT}/v2.0/.well-known/openid-configuration"
KEYS = f"/{TENANT}/discovery/v2.0/keys"


class Ages:
    """A clock for the age of keys that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_good_token_tells_who_calls(issuer: TestedIssuer):
    """Given an issuer that is declared, when its token is shown, then its subject calls."""
    verifier = TokenVerifier([declared(issuer)])

    found = await verifier.find(issuer.token())

    assert found is not None
    assert (found.name, found.id) == ("app-1", "test:user-1")
    assert found.permissions == {"call"}
    assert found.credential == "aad_token"
    assert issuer.asked == [DISCOVERY, KEYS]


@pytest.mark.parametrize(
    "audience",
    [
        "https://ml.azure.com",
        "https://ml.azure.com/",
        "https://cognitiveservices.azure.com",
        "https://cognitiveservices.azure.com/",
        "https://ai.azure.com",
        "https://ai.azure.com/",
        ["https://graph.microsoft.com", "https://ai.azure.com"],
    ],
    ids=str,
)
async def test_all_that_azures_clients_ask_for_is_good(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier, audience: Any
):
    """Given the audiences of contract section 10, when a token has one, then it is valid."""
    assert await verifier.find(lasting_issuer.token(aud=audience)) is not None


async def test_an_audience_of_ones_own_replaces_them(lasting_issuer: TestedIssuer):
    """Given one audience, when tokens for it and for Azure's are shown, then only it is valid."""
    verifier = TokenVerifier([declared(lasting_issuer, audiences=("api://zaffre",))])

    assert await verifier.find(lasting_issuer.token(aud="api://zaffre/")) is not None
    assert await verifier.find(lasting_issuer.token()) is None


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -50), ("nbf", 50), ("iat", 50)])
async def test_clocks_may_differ_a_little(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier, claim: str, seconds: int
):
    """Given a minute's allowance, when a token is off by less, then it is valid; without, not."""
    token = lasting_issuer.token(**{claim: int(time.time()) + seconds})
    strict = TokenVerifier([declared(lasting_issuer, clock_skew_s=0)])

    assert await verifier.find(token) is not None
    assert await strict.find(token) is None


async def test_a_valid_token_without_a_rule_may_do_nothing(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier
):
    """Given a rule for a role, when a token lacks it, then it may nothing."""
    found = await verifier.find(lasting_issuer.token(roles=["other"]))

    assert found is not None
    assert found.permissions == frozenset()
    assert found.also == ()


async def test_keys_are_fetched_once(issuer: TestedIssuer):
    """Given many tokens at the same time, when no key is known, then one fetch is made."""
    verifier = TokenVerifier([declared(issuer)])

    found = await asyncio.gather(*(verifier.find(issuer.token()) for _ in range(20)))

    assert all(found)
    assert issuer.asked == [DISCOVERY, KEYS]


async def test_a_new_key_is_found_at_once_and_the_old_one_ends(issuer: TestedIssuer):
    """Given known keys, when the issuer signs with another, then one fetch finds it."""
    ages = Ages()
    verifier = TokenVerifier([declared(issuer)], age_clock=ages)
    old = issuer.token()
    assert await verifier.find(old) is not None
    ages.now += REFRESH_PAUSE_S

    issuer.change_key()

    assert await verifier.find(issuer.token()) is not None
    assert issuer.asked.count(KEYS) == 2
    assert await verifier.find(old) is None


async def test_unknown_key_ids_do_not_make_us_ask_again_and_again(issuer: TestedIssuer):
    """Given tokens with invented key ids, when they are shown, then the issuer is left alone."""
    ages = Ages()
    verifier = TokenVerifier([declared(issuer)], age_clock=ages)
    assert await verifier.find(issuer.token()) is not None
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = [
        jwt.encode(issuer.claims(), key, algorithm="RS256", headers={"kid": str(number)})
        for number in range(20)
    ]

    for token in forged:
        assert await verifier.find(token) is None
    assert issuer.asked.count(KEYS) == 1
    ages.now += REFRESH_PAUSE_S
    for token in forged:
        assert await verifier.find(token) is None

    assert issuer.asked.count(KEYS) == 2


async def test_forged_claims_do_not_make_us_ask(issuer: TestedIssuer):
    """Given tokens that are wrong by their claims, when shown, then the issuer is never asked."""
    verifier = TokenVerifier([declared(issuer)])

    for changes in ({"aud": "x"}, {"exp": 1}, {"tid": "x"}, {"iss": "https://evil"}):
        assert await verifier.find(issuer.token(**changes)) is None

    assert issuer.asked == []


async def test_old_keys_are_renewed_while_they_are_used(issuer: TestedIssuer):
    """Given keys that are an hour old, when a token is shown, then they are fetched again."""
    ages = Ages()
    verifier = TokenVerifier([declared(issuer)], age_clock=ages)
    assert await verifier.find(issuer.token()) is not None
    ages.now += REFRESH_AFTER_S + 1

    assert await verifier.find(issuer.token()) is not None
    await issuer.wait_until_asked(KEYS, 2)
    await verifier.aclose()


async def test_an_outage_of_the_issuer_is_survived_for_a_day(issuer: TestedIssuer):
    """Given known keys, when the issuer falls silent, then its tokens are good until the bound."""
    ages = Ages()
    verifier = TokenVerifier([declared(issuer)], age_clock=ages)
    token = issuer.token()
    assert await verifier.find(token) is not None

    issuer.silent = True
    ages.now += 23 * 3600
    assert await verifier.find(token) is not None
    ages.now += 2 * 3600
    with pytest.raises(IssuerUnavailable):
        await verifier.find(token)
    issuer.silent = False
    ages.now += REFRESH_PAUSE_S

    assert await verifier.find(token) is not None


async def test_an_issuer_that_was_never_reached_is_no_fault_of_the_token(issuer: TestedIssuer):
    """Given a silent issuer, when its token is shown, then the answer is to come again."""
    ages = Ages()
    issuer.silent = True
    verifier = TokenVerifier([declared(issuer)], age_clock=ages)

    with pytest.raises(IssuerUnavailable) as raised:
        await verifier.find(issuer.token())

    assert raised.value.retry_after_s == 10
    issuer.silent = False
    ages.now += REFRESH_PAUSE_S
    assert await verifier.find(issuer.token()) is not None


async def test_one_that_goes_away_does_not_end_the_fetch_for_others(issuer: TestedIssuer):
    """Given two that wait for keys, when one is cancelled, then the other gets its answer."""
    verifier = TokenVerifier([declared(issuer)])
    one = asyncio.ensure_future(verifier.find(issuer.token()))
    other = asyncio.ensure_future(verifier.find(issuer.token()))
    await asyncio.sleep(0)

    one.cancel()

    assert await other is not None
    assert one.cancelled()


async def test_a_template_believes_each_tenant_and_no_other(issuer: TestedIssuer):
    """Given an issuer with two tenants, when tokens of three are shown, then two are valid."""
    template = f"{issuer.base_url}/{{tenantid}}/v2.0"
    verifier = TokenVerifier([declared(issuer, issuer=template, tenants=("one", "two"))])

    def token(tenant: str, claimed: str | None = None) -> str:
        return issuer.token(iss=issuer.app.issuer(tenant), tid=claimed or tenant)

    assert await verifier.find(token("one")) is not None
    assert await verifier.find(token("two")) is not None
    assert await verifier.find(token("three")) is None
    assert await verifier.find(token("one", "two")) is None


class KeySet:
    """Serves one document at every path."""

    def __init__(self, document: Any, status: int = 200) -> None:
        self.content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_whole(send, self.status, self.headers, self.content)


async def _verified_with(document: Any, key: Any, algorithm: str) -> bool:
    """Whether a token that is signed with `key` is valid for who has fetched `document`."""
    async with serving(KeySet(document)) as port:
        rules = (RuleDeclaration(),)
        issuer = TestedIssuer(f"http://127.0.0.1:{port}")
        url = f"http://127.0.0.1:{port}/keys"
        verifier = TokenVerifier([declared(issuer, jwks_url=url, rules=rules)])
        token = jwt.encode(issuer.claims(), key, algorithm=algorithm, headers={"kid": "k"})
        return await verifier.find(token) is not None


def _jwk(key: Any, kind: Any, **changes: Any) -> dict[str, Any]:
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": "k", **changes}


_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_P256, _P384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
_ED = ed25519.Ed25519PrivateKey.generate()
_KINDS = jwt.algorithms


@pytest.mark.parametrize(
    ("key", "kind", "algorithm"),
    [
        (_RSA, _KINDS.RSAAlgorithm, "RS256"),
        (_RSA, _KINDS.RSAAlgorithm, "RS512"),
        (_RSA, _KINDS.RSAAlgorithm, "PS256"),
        (_P256, _KINDS.ECAlgorithm, "ES256"),
        (_P384, _KINDS.ECAlgorithm, "ES384"),
        (_ED, _KINDS.OKPAlgorithm, "EdDSA"),
    ],
    ids=["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"],
)
async def test_every_kind_of_key_works(key: Any, kind: Any, algorithm: str):
    """Given a key set at a fixed address, when a token is signed with its key, then it is valid."""
    jwk = _jwk(key, kind)
    broken = {"kty": "RSA", "kid": "b", "n": "!", "e": "AQAB"}
    unknown = {"kty": "secret", "kid": "u", "value": 5}
    assert await _verified_with({"keys": [broken, unknown, jwk]}, key, algorithm)


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"alg": "RS512"}, {"alg": "HS256"}, {"kid": "other"}, {"kty": "oct"}],
    ids=str,
)
async def test_a_key_for_something_else_does_not_count(changes: dict[str, str]):
    """Given a key that is not for this, when a token is signed with it, then it is refused."""
    jwk = _jwk(_RSA, _KINDS.RSAAlgorithm, **changes)
    assert not await _verified_with({"keys": [jwk]}, _RSA, "RS256")


async def test_a_weak_key_does_not_count():
    """Given an RSA key of 1024 bits, when a token is signed with it, then it is refused."""
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    jwk = _jwk(weak, _KINDS.RSAAlgorithm)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        assert not await _verified_with({"keys": [jwk]}, weak, "RS256")
    assert await _verified_with({"keys": [_jwk(numbers, _KINDS.RSAAlgorithm)]}, numbers, "RS256")


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", {"keys": 5}, {}, b'{"keys":[' + b" " * MAX_DOCUMENT_BYTES + b"]}"],
    ids=["empty", "page", "number", "nothing", "large"],
)
async def test_a_document_that_is_no_key_set_is_an_outage(document: Any):
    """Given an issuer that answers nonsense, when a token is shown, then it is unavailable."""
    with pytest.raises(IssuerUnavailable):
        await _verified_with(document, _RSA, "RS256")


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://login.evil/v2.0", "jwks_uri": "http://127.0.0.1:1/keys"},
        {"issuer": None, "jwks_uri": "http://internal.example/keys"},
        {"issuer": None, "jwks_uri": "file:///etc/passwd"},
        {"issuer": None, "jwks_uri": "http://169.254.169.254/keys"},
    ],
    ids=["another issuer", "plain http", "a file", "metadata"],
)
async def test_discovery_cannot_lead_astray(discovery: dict[str, Any]):
    """Given a discovery document that lies, when a token is shown, then no keys are taken."""
    document = KeySet(b"")
    async with serving(document) as port:
        issuer = TestedIssuer(f"http://127.0.0.1:{port}")
        named = {**discovery, "issuer": discovery["issuer"] or issuer.address}
        document.content = json.dumps(named).encode()
        with pytest.raises(IssuerUnavailable):
            await TokenVerifier([declared(issuer)]).find(issuer.token())


async def test_redirects_are_not_followed(issuer: TestedIssuer):
    """Given an address that redirects to good keys, when it is fetched, then it is a failure."""
    moved = KeySet(b"", 302)
    moved.headers = [(b"location", f"{issuer.base_url}{KEYS}".encode())]
    async with serving(moved) as port:
        with pytest.raises(FetchFailed, match="answered 302"):
            await DocumentFetcher()(f"http://127.0.0.1:{port}/")
    assert issuer.asked == []


async def test_a_fetch_has_an_end():
    """Given a server that never answers, when it is asked, then the fetch gives up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(FetchFailed, match="longer than"):
            await DocumentFetcher(limit_s=0.2)(url)
    with pytest.raises(FetchFailed, match="ClientConnector"):
        await DocumentFetcher()(url)


def test_a_ca_file_that_cannot_be_used_is_reported(issuer: TestedIssuer):
    """Given a file that is not there, when the issuer is declared with it, then it is named."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
        TokenVerifier([declared(issuer, ca_file="nowhere.pem")])


async def test_an_application_is_called_by_its_name_and_a_user_by_theirs(
    lasting_issuer: TestedIssuer, verifier: TokenVerifier
):
    """Given tokens with and without scopes, when shown, then only names differ."""
    own = await verifier.find(lasting_issuer.token())
    user = await verifier.find(lasting_issuer.token(scp="user_impersonation"))

    assert own is not None
    assert user is not None
    assert (own.name, user.name) == ("app-1", "user-1")
    assert own.id == user.id == "test:user-1"
    assert AUDIENCE not in own.id
