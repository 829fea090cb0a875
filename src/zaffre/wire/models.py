"""The JSON of model information and model lists (contract, section 6.2)."""

from typing import Any

from msgspec import Struct


class ModelInfo(Struct):
    """What `/info` answers."""

    model_name: str
    model_type: str
    model_provider_name: str


class ModelEntry(Struct):
    """A deployment in a list of models, in OpenAI's shape and with what Azure's adds."""

    id: str
    created: int = 0
    owned_by: str = ""
    model_type: str = ""
    capabilities: Any = None
    object: str = "model"


class ModelList(Struct):
    """What `GET /models` answers."""

    data: list[ModelEntry]
    object: str = "list"
