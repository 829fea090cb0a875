"""The Python SDK: clients of the Azure AI Model Inference API, asynchronous and synchronous."""

from zaffre.client.asynchronous.client import AsyncClient
from zaffre.client.asynchronous.stream import AsyncStream
from zaffre.client.errors import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    CutOff,
    InvalidAnswer,
    ModelTimeout,
    NotFound,
    NotSupported,
    RateLimited,
    RequestFailed,
    ServerFailed,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnknownModel,
)
from zaffre.client.images import data_url
from zaffre.client.options import ChatOptions, Message, SamplingOptions
from zaffre.client.synchronous.client import Client
from zaffre.client.synchronous.stream import Stream
from zaffre.client.vectors import Vectors

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "BadRequest",
    "ChatOptions",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "CutOff",
    "InvalidAnswer",
    "Message",
    "ModelTimeout",
    "NotFound",
    "NotSupported",
    "RateLimited",
    "RequestFailed",
    "SamplingOptions",
    "ServerFailed",
    "Stream",
    "TimedOut",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "Vectors",
    "data_url",
]
