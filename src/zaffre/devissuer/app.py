"""The issuer's ASGI application, with the paths of Entra ID.

    GET   /TENANT/v2.0/.well-known/openid-configuration
    GET   /TENANT/discovery/v2.0/keys
    POST  /TENANT/oauth2/v2.0/token    client credentials, as azure-identity asks
    POST  /TENANT/token                a token with whatever claims are asked for, no password

Any tenant is there. Answers go to this machine alone: requests for another host are refused, so
that no web page reaches a token by a name of its own.
"""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from zaffre.asgi.exchange import (
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Receive,
    Scope,
    Send,
    read_body,
    send_whole,
)
from zaffre.devissuer.signing import SigningKey
from zaffre.wire import codec

LIFETIME_S = 3600
MAX_BODY_BYTES = 64 * 1024
DEFAULT_SCOPE = "https://ml.azure.com/.default"
"""What most of Azure's clients ask for (contract, section 10)."""
_PATH = re.compile(r"/(?P<tenant>[A-Za-z0-9][A-Za-z0-9.-]{0,63})(?P<rest>/.*)")
_HOST = re.compile(r"(?:[a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\]", re.IGNORECASE)
Form = dict[str, str]


class Client(Struct, frozen=True):
    """An application that may ask for tokens in its own name, and the roles that it gets."""

    id: str
    secret: str
    roles: tuple[str, ...] = ()


class OAuthError(Exception):
    """A refusal, in the words of RFC 6749, section 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


class DevIssuer:
    """The application. `base_url` is its own address, without a slash at the end."""

    def __init__(
        self,
        base_url: str,
        client: Client,
        *,
        lifetime_s: int = LIFETIME_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url
        self._client = client
        self._lifetime_s = lifetime_s
        self._clock = clock
        self.key = SigningKey()

    def issuer(self, tenant: str) -> str:
        """What a tenant's tokens have as `iss`."""
        return f"{self._base_url}/{tenant}/v2.0"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            form: Form = {}
            if scope["method"] == "POST":
                body = (await read_body(receive, MAX_BODY_BYTES)).decode("latin-1")
                form = {name: values[0] for name, values in parse_qs(body).items()}
            answer, status = self._answer(scope["method"], scope["path"], headers, form), 200
        except (BodyTooLargeError, OAuthError) as error:
            refused = error if isinstance(error, OAuthError) else _bad("The body is too large.")
            answer = {"error": refused.code, "error_description": refused.description}
            status = refused.status
        except ClientDisconnectedError:
            return
        private = (b"cache-control", b"no-store")
        await send_whole(send, status, [JSON, private], codec.encode(answer))

    def _answer(
        self, method: str, path: str, headers: dict[bytes, bytes], form: Form
    ) -> dict[str, Any]:
        host = headers.get(b"host", b"").decode("latin-1")
        if not _HOST.fullmatch(re.sub(r":\d+$", "", host)):
            raise _bad("This issuer answers on localhost alone.")
        found = _PATH.fullmatch(path)
        tenant = found["tenant"] if found else ""
        match method, found["rest"] if found else "":
            case "GET", "/v2.0/.well-known/openid-configuration":
                return self._discovery(tenant)
            case "GET", "/discovery/v2.0/keys":
                return self.key.key_set()
            case "POST", "/oauth2/v2.0/token":
                return self._for_client(tenant, headers, form)
            case "POST", "/token":
                return self._for_anybody(tenant, form)
            case _:
                raise OAuthError("not_found", "There is nothing here.", 404)

    def _discovery(self, tenant: str) -> dict[str, Any]:
        base = f"{self._base_url}/{tenant}"
        return {
            "issuer": self.issuer(tenant),
            # Clients insist on it; nobody signs in here.
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "client_secret_basic",
            ],
        }

    def _for_client(self, tenant: str, headers: dict[bytes, bytes], form: Form) -> dict[str, Any]:
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "Only client_credentials is offered.")
        name, secret = _credentials(headers, form)
        known = hmac.compare_digest(name.encode(), self._client.id.encode())
        if not (known & hmac.compare_digest(secret.encode(), self._client.secret.encode())):
            raise OAuthError("invalid_client", "No such client, or not its secret.", 401)
        claims = {"sub": name, "oid": name, "azp": name, "roles": list(self._client.roles)}
        return self._token(tenant, form, claims)

    def _for_anybody(self, tenant: str, form: Form) -> dict[str, Any]:
        subject = form.get("sub", "somebody")
        claims: dict[str, Any] = {
            "sub": subject,
            "oid": subject,
            "azp": form.get("azp", "anything"),
        }
        for name in ("roles", "groups"):
            if form.get(name):
                claims[name] = form[name].split(",")
        if form.get("scp"):
            claims["scp"] = form["scp"]
        try:
            claims |= codec.decode(form.get("claims", "{}").encode(), dict[str, Any])
        except codec.MalformedError as malformed:
            raise _bad(f"claims: {malformed.message}") from None
        return self._token(tenant, form, claims)

    def _token(self, tenant: str, form: Form, claims: dict[str, Any]) -> dict[str, Any]:
        wanted = form.get("scope", DEFAULT_SCOPE).split()
        audience = wanted[0].removesuffix("/.default") if wanted else ""
        if not audience:
            raise OAuthError("invalid_scope", "A scope looks like RESOURCE/.default.")
        now = int(self._clock())
        standing = {
            "iss": self.issuer(tenant),
            "aud": audience,
            "tid": tenant,
            "iat": now,
            "nbf": now,
            "exp": now + self._lifetime_s,
            "ver": "2.0",
        }
        return {
            "token_type": "Bearer",
            "expires_in": self._lifetime_s,
            "access_token": self.key.sign({**standing, **claims}),
        }


def _credentials(headers: dict[bytes, bytes], form: Form) -> tuple[str, str]:
    """The client's name and secret, from the header or from the form."""
    shown = headers.get(b"authorization", b"").decode("latin-1")
    if shown[:6].lower() != "basic ":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(shown[6:]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError(
            "invalid_client", "The Authorization header cannot be read.", 401
        ) from None
    return unquote(name), unquote(secret)


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_request", description)
