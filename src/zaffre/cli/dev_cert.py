"""`zaffre dev-cert`: a certificate authority and a certificate for localhost, for development."""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from zaffre.config.settings import ConfigurationError
from zaffre.registry.store import default_home

NAMES = ("localhost", "*.localhost", "127.0.0.1", "::1")
_TRUST = """\
Made {folder}

Serve with it:

    zaffre serve --tls-cert {cert} --tls-key {key}

and let clients trust the authority that signed it:

    Python (azure-ai-inference)   ChatCompletionsClient(..., connection_verify="{ca}")
    Python (requests)             export REQUESTS_CA_BUNDLE={ca}
    Python (openai, httpx, async) export SSL_CERT_FILE={ca}
    Node                          export NODE_EXTRA_CA_CERTS={ca}
    curl                          curl --cacert {ca} ...
    .NET, Linux                   sudo cp {ca} /usr/local/share/ca-certificates/zaffre.crt
                                  sudo update-ca-certificates
    Java                          keytool -importcert -cacerts -alias zaffre -file {ca}

The authority's own key was not kept: nobody can sign another certificate with it.
"""


def dev_cert(
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the files; default: below ZAFFRE_HOME.")
    ] = None,
) -> None:
    """Make a certificate for localhost and say how clients come to trust it."""
    try:
        trustme = import_module("trustme")
    except ModuleNotFoundError:
        raise ConfigurationError("dev-cert needs: pip install 'zaffre[tls]'") from None
    into = folder or default_home(os.environ) / "dev-cert"
    authority = trustme.CA(organization_name="Zaffre development")
    certificate = authority.issue_cert(*NAMES)
    ca, cert, key = into / "ca.pem", into / "cert.pem", into / "key.pem"
    try:
        into.mkdir(parents=True, exist_ok=True)
        _write_private(key, certificate.private_key_pem.bytes())
        cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        ca.write_bytes(authority.cert_pem.bytes())
    except OSError as error:
        raise ConfigurationError(f"{into}: {error.strerror}.") from None
    print(_TRUST.format(folder=into, ca=ca, cert=cert, key=key))


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
