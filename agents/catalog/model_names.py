"""Which model an agent names, and which models anyone may name. Loads no LangChain."""

import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings

# What an agent may say to its model; anything else could carry a key or an address.
HYPERPARAMETERS: dict[str, tuple[type, ...]] = {
    "temperature": (int, float),
    "top_p": (int, float),
    "max_tokens": (int,),
    "seed": (int,),
    "stop": (str, list),
    "reasoning_effort": (str,),
    "presence_penalty": (int, float),
    "frequency_penalty": (int, float),
}


# Stands for the provider of a language_model_id that the server does not list: the run says so, and fails.
UNLISTED = "language_model_id"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as a run's spec stores it."""

    provider: str
    name: str
    base_url: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"

    def as_spec(self) -> dict[str, Any]:
        return asdict(self)


def available() -> list[str]:
    """The models that anyone may name, as `provider/name`."""
    return list(dict.fromkeys(["rehearsal/default", *settings.MODELS]))


def model_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def parse(name: str) -> Model:
    provider, _, rest = name.partition("/")
    return Model(provider=provider, name=rest)


def of_agent(agent_config: dict[str, Any], language_model_id: str | None) -> Model:
    """The model that an agent's stored settings name; the server's default where they name none."""
    base_url = agent_config.get("lm_base_url")
    hyperparameters = agent_config.get("lm_hyperparameters") or {}
    if "lm_provider" in agent_config:
        found = Model(provider=agent_config["lm_provider"], name=agent_config["lm_name"])
    elif embedded := agent_config.get("language_model"):
        found = parse(embedded["id"])
        base_url = embedded.get("base_url", base_url)
        hyperparameters = embedded.get("hyperparameters") or hyperparameters
    elif language_model_id:
        names = {model_id(name): name for name in available()}
        found = parse(names.get(language_model_id, f"{UNLISTED}/{language_model_id}"))
    else:
        found = parse(settings.DEFAULT_MODEL)
    return Model(provider=found.provider, name=found.name, base_url=base_url, hyperparameters=hyperparameters)
