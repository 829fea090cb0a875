"""Forged tokens: each of these must be refused, by the reason that it was forged for."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuing import TestedIssuer

from zaffre.auth.jwt_form import MAX_TOKEN_CHARACTERS, Refusal, TokenRefused, read_jwt
from zaffre.auth.tokens import TokenVerifier

ATTACKER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HOUR_S = 3600
Forge = Callable[[TestedIssuer], str]


def _part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _signed(issuer: TestedIssuer, header: dict[str, Any] | bytes, claims: Any) -> str:
    """Header and claims as they are, with the issuer's own signature over them."""
    signed = f"{_part(header)}.{_part(claims)}"
    algorithm = jwt.get_algorithm_by_name("RS256")
    return f"{signed}.{_part(algorithm.sign(signed.encode(), issuer.app.key._private))}"


def _header(issuer: TestedIssuer, **changes: Any) -> dict[str, Any]:
    return {"alg": "RS256", "typ": "JWT", "kid": issuer.app.key.kid, **changes}


def _by_attacker(issuer: TestedIssuer, **header: Any) -> str:
    headers = {"kid": issuer.app.key.kid, **header}
    return jwt.encode(issuer.claims(), ATTACKER, algorithm="RS256", headers=headers)


def _with_claims(**changes: Any) -> Forge:
    return lambda issuer: issuer.token(**changes)


def _in(seconds: float) -> int:
    return int(time.time() + seconds)


def _unsigned(algorithm: str) -> Forge:
    def forge(issuer: TestedIssuer) -> str:
        return f"{_part(_header(issuer, alg=algorithm))}.{_part(issuer.claims())}.{_part(b'x')}"

    return forge


def _no_signature(issuer: TestedIssuer) -> str:
    return issuer.token().rpartition(".")[0] + "."


def _hmac_with_the_public_key(issuer: TestedIssuer) -> str:
    """RS256 taken for HS256: the public key as the shared secret."""
    public = issuer.app.key._private.public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part(_header(issuer, alg='HS256'))}.{_part(issuer.claims())}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _elliptic_signature(issuer: TestedIssuer) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    headers = {"kid": issuer.app.key.kid}
    return jwt.encode(issuer.claims(), key, algorithm="ES256", headers=headers)


def _own_key_in_header(issuer: TestedIssuer) -> str:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(ATTACKER.public_key(), as_dict=True)
    return _by_attacker(issuer, jwk=public)


def _duplicate_claim(issuer: TestedIssuer) -> str:
    text = json.dumps(issuer.claims())
    return _signed(issuer, _header(issuer), f'{text[:-1]},"sub":"admin"}}'.encode())


def _duplicate_header(issuer: TestedIssuer) -> str:
    text = json.dumps(_header(issuer))
    return _signed(issuer, f'{text[:-1]},"alg":"none"}}'.encode(), issuer.claims())


def _other_claims_under_a_good_signature(issuer: TestedIssuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{_part(issuer.claims(sub='admin'))}.{signature}"


def _stray_bits(issuer: TestedIssuer) -> str:
    """The same bytes in another text: the unused bits of the last character are not zero."""
    token = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def _plain_base64(issuer: TestedIssuer) -> str:
    token = issuer.token()
    while not {"-", "_"} & set(token):
        token = issuer.token(jti=token[-8:])
    return token.replace("-", "+").replace("_", "/")


FORGED: dict[str, tuple[Refusal, Forge]] = {
    "no algorithm": ("algorithm", _unsigned("none")),
    "no algorithm, in capitals": ("algorithm", _unsigned("NONE")),
    "no signature": ("form", _no_signature),
    "two parts": ("form", lambda issuer: issuer.token().rpartition(".")[0]),
    "the public key as a shared secret": ("algorithm", _hmac_with_the_public_key),
    "an algorithm of another family": ("unknown key", _elliptic_signature),
    "an algorithm nobody knows": ("algorithm", _unsigned("RS1")),
    "signed by somebody else": ("signature", _by_attacker),
    "changed after it was signed": ("signature", _other_claims_under_a_good_signature),
    "a key of its own in the header": ("signature", _own_key_in_header),
    "an address of keys in the header": (
        "signature",
        lambda issuer: _by_attacker(issuer, jku="http://127.0.0.1:9/keys"),
    ),
    "a certificate's address in the header": (
        "signature",
        lambda issuer: _by_attacker(issuer, x5u="http://127.0.0.1:9/cert"),
    ),
    "a path as key id": ("unknown key", lambda i: _by_attacker(i, kid="../../../../dev/null")),
    "SQL as key id": ("unknown key", lambda i: _by_attacker(i, kid="x' UNION SELECT 'key' --")),
    "an address as key id": ("unknown key", lambda i: _by_attacker(i, kid="http://127.0.0.1:9/k")),
    "an empty key id": ("unknown key", lambda i: _by_attacker(i, kid="")),
    "a key id that is no text": ("form", lambda i: _signed(i, _header(i, kid=["a"]), i.claims())),
    "no key id": ("form", lambda i: _signed(i, {"alg": "RS256"}, i.claims())),
    "another audience": ("audience", _with_claims(aud="https://graph.microsoft.com")),
    "an audience that begins alike": ("audience", _with_claims(aud="https://ml.azure.com.evil")),
    "audiences, none of them ours": ("audience", _with_claims(aud=["a", "b"])),
    "no audience": ("form", _with_claims(aud=None)),
    "another issuer": ("issuer", _with_claims(iss="https://login.evil/contoso/v2.0")),
    "the issuer with a slash more": ("issuer", lambda i: i.token(iss=i.address + "/")),
    "the issuer of another tenant": ("issuer", lambda i: i.token(iss=i.app.issuer("other"))),
    "another tenant": ("tenant", _with_claims(tid="other")),
    "no tenant": ("tenant", _with_claims(tid=None)),
    "expired": ("expired", lambda i: i.token(exp=_in(-61))),
    "no expiry": ("form", _with_claims(exp=None)),
    "expires never": ("form", lambda i: _signed(i, _header(i), _endless(i))),
    "an expiry that is no number": ("form", lambda i: i.token(exp=str(_in(HOUR_S)))),
    "not yet valid": ("not yet valid", lambda i: i.token(nbf=_in(120))),
    "issued tomorrow": ("not yet valid", lambda i: i.token(iat=_in(24 * HOUR_S))),
    "nobody's": ("subject", _with_claims(sub=None)),
    "a subject that writes into logs": ("subject", _with_claims(sub="a\nadmin logged in")),
    "a subject without end": ("subject", _with_claims(sub="a" * 256)),
    "for the holder of a key": ("bound to a key", _with_claims(cnf={"kid": "a"})),
    "duplicate claims": ("duplicate name", _duplicate_claim),
    "a duplicate header": ("duplicate name", _duplicate_header),
    "an identity token's type": (
        "type",
        lambda i: _signed(i, _header(i, typ="logout+jwt"), i.claims()),
    ),
    "an extension that must be known": (
        "critical extension",
        lambda i: _signed(i, _header(i, crit=["b64"], b64=False), i.claims()),
    ),
    "an encrypted one": ("form", lambda issuer: issuer.token() + ".e30.e30"),
    "huge": ("size", lambda issuer: issuer.token(junk="a" * MAX_TOKEN_CHARACTERS)),
    "deep": ("form", lambda i: _signed(i, _header(i), b"[" * 9000)),
    "claims that are a list": ("form", lambda i: _signed(i, _header(i), [i.claims()])),
    "claims that are no JSON": ("form", lambda i: _signed(i, _header(i), b"{'sub': 1}")),
    "claims that are no UTF-8": ("form", lambda i: _signed(i, _header(i), b'{"sub":"\xff"}')),
    "the same bytes in another text": ("form", _stray_bits),
    "the alphabet of plain base64": ("form", _plain_base64),
    "not a token at all": ("form", lambda _: "a.b.c"),
}


def _endless(issuer: TestedIssuer) -> bytes:
    return json.dumps(issuer.claims(exp=0)).replace('"exp": 0', '"exp": 1e999').encode()


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused(
    name: str,
    lasting_issuer: TestedIssuer,
    verifier: TokenVerifier,
    caplog: pytest.LogCaptureFixture,
):
    """Given a forged token, when it is shown, then it is refused for what is wrong with it."""
    reason, forge = FORGED[name]
    # Nothing else may be the reason: a good token of the same issuer passes.
    assert await verifier.find(lasting_issuer.token()) is not None
    token = forge(lasting_issuer)
    caplog.set_level("INFO", "zaffre.auth")

    assert await verifier.find(token) is None

    assert caplog.messages == [f"A token was refused: {reason}"]
    assert token not in caplog.text


def test_there_are_many_forgeries():
    assert len(FORGED) >= 30


@pytest.mark.parametrize("token", ["", ".", "..", "a", "....", "\xff.\xff.\xff", "e30.e30.e30"])
def test_what_is_no_token_is_refused_by_its_form(token: str):
    with pytest.raises(TokenRefused, match="form"):
        read_jwt(token)
