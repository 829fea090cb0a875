"""Settings: one row each. A flag beats the environment, which beats the file, then the default."""

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from zaffre.core.errors import ZaffreError

Source = Literal["flag", "environment", "file", "default"]
Value = str | int | float | bool | None


class ConfigurationError(ZaffreError):
    """The configuration cannot be used; the message says where and what to do."""

    code = "invalid_configuration"


class Setting(Struct, frozen=True):
    """One thing that can be set."""

    name: str
    """In the file under `settings:`; as a flag with dashes; in the environment as ZAFFRE_NAME."""
    kind: type
    default: Value
    doc: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    """A regular expression for the whole of a text."""
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"ZAFFRE_{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting("host", str, "127.0.0.1", "Address to listen on."),
    Setting("port", int, 8080, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65535),
    Setting(
        "key",
        str,
        None,
        "The API key, instead of a generated one.",
        pattern="[!-~]{1,512}",  # what goes into a header as it is
        secret=True,
    ),
    Setting("tls_cert", str, None, "Certificate chain in PEM; with `tls_key`, serves https."),
    Setting("tls_key", str, None, "Private key in PEM of `tls_cert`."),
    Setting(
        "api_version",
        str,
        "lenient",
        "`lenient` takes any well-formed api-version, or none; `strict` only those that the Azure"
        " AI Model Inference API has had.",
        choices=("lenient", "strict"),
    ),
    Setting("max_body_mib", int, 32, "Largest request body, in MiB.", minimum=1),
    Setting(
        "request_timeout_s",
        float,
        180.0,
        "Longest wait, in seconds, for a model's first byte and between two of its bytes.",
        minimum=0.1,
    ),
    Setting(
        "media_hosts",
        str,
        "",
        "Hosts, with their subdomains, from which images and audio in a conversation are fetched:"
        " names with commas between, or `*` for any public host. Empty: nothing is fetched.",
    ),
    Setting("media_max_mib", int, 10, "Largest file that is fetched, in MiB.", minimum=1),
    Setting("media_timeout_s", float, 10.0, "Longest time for a fetch, in seconds.", minimum=0.1),
    Setting(
        "gateways",
        int,
        1,
        "Processes that answer on the port, sharing models, keys, quotas and ledger.",
        minimum=1,
        maximum=64,
    ),
    Setting(
        "max_connections",
        int,
        2048,
        "Connections at a time, for each of `gateways`; more get 503.",
        minimum=1,
    ),
    Setting("slots", int, 16, "Requests that a model works on at the same time.", minimum=1),
    Setting("max_waiting", int, 256, "Requests per model that may wait; more get 429.", minimum=0),
    Setting(
        "threads",
        int,
        0,
        "Processor threads per model; 0 means all cores for models that generate text, one less for"
        " others.",
        minimum=0,
    ),
    Setting(
        "memory_limit_mib",
        int,
        0,
        "Bound on each worker's address space, in MiB; 0 means none.",
        minimum=0,
    ),
    Setting(
        "memory_budget_mib",
        int,
        0,
        "What all models together may hold, in MiB: those that were used longest ago are unloaded"
        " for others, never in mid-request; 0 means no bound.",
        minimum=0,
    ),
    Setting(
        "allow_no_key",
        str,
        "",
        "Lets in whoever shows no key, to call models: `loopback` for a server that only this"
        " machine reaches, else the words `i understand that anyone can call`.",
    ),
    Setting(
        "content_safety",
        str,
        "off",
        "Content safety policy of calls outside endpoints; endpoints have their own.",
    ),
    Setting(
        "quota_url",
        str,
        None,
        "Where quotas are counted: `memory:` (gone with the process), `sqlite:PATH`, `redis://…`,"
        " `valkey://…` or `postgresql://…`; the last three for gateways on several machines.",
        secret=True,
    ),
    Setting(
        "ledger_url",
        str,
        None,
        "A Postgres that several gateways share as ledger, as `postgresql://…`; the file in the"
        " server's home is its outbox then. `off`: no ledger; quotas still count.",
        secret=True,
    ),
    Setting(
        "ledger_retention_days",
        int,
        90,
        "Whole days that the ledger keeps one row per request; older ones become sums per day."
        " 0 keeps all rows.",
        minimum=0,
    ),
    Setting(
        "cors_origins",
        str,
        "",
        "Origins of web pages that may read answers, with commas between, or `*`. Empty: none, as"
        " on Azure.",
    ),
    Setting(
        "access_log",
        str,
        None,
        "File that gets one JSON line per request, with the columns of Azure's traffic log; `-` is"
        " standard error.",
    ),
    Setting("log_level", str, "info", "How much to log.", choices=("debug", "info", "warning")),
)


class Settings(Struct, frozen=True):
    """All settings, and where each value came from."""

    values: dict[str, Value]
    sources: dict[str, Source]

    def text(self, name: str) -> str:
        """A setting that is text."""
        return str(self.values[name])

    def optional_text(self, name: str) -> str | None:
        """A setting that is text, or not set."""
        value = self.values[name]
        return None if value is None else str(value)

    def whole(self, name: str) -> int:
        """A setting that is a whole number."""
        return int(self.values[name] or 0)

    def number(self, name: str) -> float:
        """A setting that is a number."""
        return float(self.values[name] or 0)


def load_settings(
    flags: Mapping[str, Value], environ: Mapping[str, str], file: Mapping[str, Any]
) -> Settings:
    """Settings from the three places. Raises `ConfigurationError`."""
    known = {setting.name for setting in SETTINGS}
    for name in file:
        if name not in known:
            raise ConfigurationError(
                f"settings.{name}: there is no such setting; see docs/reference/settings.md."
            )
    values: dict[str, Value] = {}
    sources: dict[str, Source] = {}
    for setting in SETTINGS:
        source, value = _find(setting, flags, environ, file)
        values[setting.name], sources[setting.name] = _check(setting, source, value), source
    return Settings(values, sources)


def _find(
    setting: Setting,
    flags: Mapping[str, Value],
    environ: Mapping[str, str],
    file: Mapping[str, Any],
) -> tuple[Source, Value]:
    if flags.get(setting.name) is not None:
        return "flag", flags[setting.name]
    if environ.get(setting.variable):
        return "environment", environ[setting.variable]
    if file.get(setting.name) is not None:
        return "file", file[setting.name]
    return "default", setting.default


def _check(setting: Setting, source: Source, value: Value) -> Value:
    if value is None:
        return None
    where = setting.variable if source == "environment" else f"{setting.name} (from {source})"
    try:
        value = msgspec.convert(value, setting.kind, strict=False)
    except msgspec.ValidationError:
        raise ConfigurationError(f"{where}: must be of type {setting.kind.__name__}.") from None
    if setting.choices and value not in setting.choices:
        raise ConfigurationError(f"{where}: must be one of {', '.join(setting.choices)}.")
    if setting.pattern and not re.fullmatch(setting.pattern, str(value)):
        raise ConfigurationError(f"{where}: must match {setting.pattern}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{where}: must be a finite number.")
    if setting.minimum is not None and float(value or 0) < setting.minimum:
        raise ConfigurationError(f"{where}: must be at least {setting.minimum:g}.")
    if setting.maximum is not None and float(value or 0) > setting.maximum:
        raise ConfigurationError(f"{where}: must be at most {setting.maximum:g}.")
    return value
