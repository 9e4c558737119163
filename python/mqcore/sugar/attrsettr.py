"""pyzmq's path to `mqcore.attributes`: options as attributes. Nothing is defined here."""

from __future__ import annotations

from typing import TypeVar

from mqcore import constants as constants
from mqcore.attributes import AttributeSetter
from mqcore.attributes import OptValT as OptValT

T = TypeVar("T")

__all__ = ["AttributeSetter"]
