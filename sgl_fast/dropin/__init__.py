"""Drop-in acceleration of eager supernets that somebody already has."""

from .install import accelerate, report, restore
from .report import CellReport, Report
from .turns import Stack, stack

__all__ = ["CellReport", "Report", "Stack", "accelerate", "report", "restore", "stack"]
