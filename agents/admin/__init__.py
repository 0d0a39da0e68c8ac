"""The admin's pages of this app; Django looks for this module alone."""

from agents.admin import catalog, runs

__all__ = ["catalog", "runs"]
