"""Signing: a key that lives as long as the process, and the tokens made with it."""

import secrets
from typing import Any

import jwt
import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_BITS = 2048
ALGORITHM = "RS256"


class SigningKey:
    """A fresh RSA key. Tokens signed with it are worth nothing once it is gone."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        self.kid = secrets.token_hex(8)

    def key_set(self) -> dict[str, Any]:
        """The public part, as a JWK set."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        return {"keys": [{**public, "use": "sig", "alg": ALGORITHM, "kid": self.kid}]}

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT with these claims."""
        return jwt.encode(claims, self._private, algorithm=ALGORITHM, headers={"kid": self.kid})
