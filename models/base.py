"""The base model under its old path, which ``deploy/vllm.yaml`` imports; see ``models.llm.base_model``."""

from models.llm.base_model import resolve

__all__ = ["resolve"]
