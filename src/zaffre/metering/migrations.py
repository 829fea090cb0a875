"""The ledger's tables, as numbered steps from nothing to today's; a step is never edited."""

COLUMNS = (
    "id",
    "started_ms",
    "principal_id",
    "principal_name",
    "endpoint",
    "deployment",
    "model",
    "operation",
    "dialect",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "latency_ms",
    "first_token_ms",
    "finish",
    "status",
    "bytes_in",
    "bytes_out",
    "attempt",
    "stream",
    "mirrored",
)
"""The fields of `UsageRow` in their order, which is that of the columns in every table."""

_ROW = """
    id TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    principal_id TEXT NOT NULL,
    principal_name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    deployment TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    dialect TEXT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    first_token_ms BIGINT,
    finish TEXT NOT NULL,
    status BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    stream BOOLEAN NOT NULL,
    mirrored BOOLEAN NOT NULL"""

_DAYS = """CREATE TABLE usage_days (
    day BIGINT NOT NULL,
    principal_id TEXT NOT NULL,
    principal_name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    deployment TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    mirrored BOOLEAN NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    PRIMARY KEY (
        day, principal_id, principal_name, endpoint, deployment, model, operation, mirrored
    )
)"""

_STARTED = "CREATE INDEX usage_rows_started ON usage_rows (started_ms)"

SQLITE: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: a number is never used twice, so "shipped up to here" stays true.
        f"CREATE TABLE usage_rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, {_ROW})",
        _STARTED,
        f"CREATE TABLE open_requests (slot INTEGER NOT NULL, entry INTEGER NOT NULL, {_ROW},"
        " PRIMARY KEY (slot, entry)) WITHOUT ROWID",
        f"{_DAYS} WITHOUT ROWID",
        # Who this file is to a database that several gateways share.
        "CREATE TABLE ledger (gateway TEXT NOT NULL)",
        "INSERT INTO ledger VALUES (lower(hex(randomblob(16))))",
    ),
    # How much of each gateway's journal is in the tables.
    (
        "CREATE TABLE journals (slot INTEGER PRIMARY KEY, number BIGINT NOT NULL,"
        " place BIGINT NOT NULL)",
    ),
)

POSTGRES: tuple[tuple[str, ...], ...] = (
    (
        f"CREATE TABLE usage_rows (gateway TEXT NOT NULL, seq BIGINT NOT NULL, {_ROW},"
        " PRIMARY KEY (gateway, seq))",
        _STARTED,
        _DAYS,
        # What a gateway may forget. Outlives the rows: they are rolled up and deleted.
        "CREATE TABLE gateways (gateway TEXT PRIMARY KEY, shipped BIGINT NOT NULL)",
    ),
)
