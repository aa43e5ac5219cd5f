"""The highest load a setup carries within its promise."""

from harness.record.capacity import Capacity, Rate

__all__ = ["Capacity", "Rate"]
