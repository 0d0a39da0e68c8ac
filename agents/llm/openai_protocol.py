"""OpenAI's protocol, with what LangChain's integration leaves out. Its import takes half a second."""

from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI


class OpenAIChat(ChatOpenAI):
    """Takes the text of a refusal for the answer: LangChain drops it from a stream."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        delta = (chunk.get("choices") or [{}])[0].get("delta") or {}
        refusal = delta.get("refusal")
        if converted is None or not isinstance(refusal, str) or not refusal:
            return converted
        message = converted.message.model_copy(update={"content": f"{converted.message.text}{refusal}"})
        return ChatGenerationChunk(message=message, generation_info=converted.generation_info)
