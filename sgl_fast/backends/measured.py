"""What was measured on GPUs: milliseconds of a PC-DARTS search step by backend, which `auto` goes by.

`make gpu` adds the GPU that it runs on to measured.json.
"""

from __future__ import annotations

import json
from pathlib import Path

Steps = dict[str, float]  # by backend
PATH = Path(__file__).with_name("measured.json")
TABLE: dict[str, Steps] = json.loads(PATH.read_text(encoding="utf-8"))  # by torch's name of the GPU
_names: dict[str, str] = {}


def steps_on(device: str) -> Steps:
    """Of the GPU that is this device; nothing where it was not measured."""
    return TABLE.get(name_of(device), {}) if TABLE else {}


def name_of(device: str) -> str:
    """The GPU's name, asked for once; nothing where there is no such GPU."""
    if device not in _names:
        import torch

        try:
            _names[device] = torch.cuda.get_device_name(device)
        except (AssertionError, RuntimeError):  # torch without CUDA, no driver, no such device
            return ""
    return _names[device]
