"""Numbers as papers print them. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"\d+(\.\d+)?(±\d+(\.\d+)?)?")


@dataclass(frozen=True)
class Printed:
    """A number to the digits that are printed, its standard deviation with it where there is one.

    text  as printed; anything but a number is a ValueError

    >>> Printed("16.90±0.10").mean, Printed("16.90±0.10").deviation, Printed("16.90±0.10").decimals
    (16.9, 0.1, 2)
    >>> Printed("3.3").matches(3.349), Printed("3.3").matches(3.351)
    (True, False)
    """

    text: str

    def __post_init__(self) -> None:
        if not _FORM.fullmatch(self.text):
            raise ValueError(f"need a printed number, such as 2.60 or 2.60±0.07; got {self.text!r:.80}")

    def __str__(self) -> str:
        return self.text

    @property
    def mean(self) -> float:
        """The number itself."""
        return float(self.text.partition("±")[0])

    @property
    def deviation(self) -> float | None:
        """What stands behind the ±, None where there is none."""
        found = self.text.partition("±")[2]
        return float(found) if found else None

    @property
    def decimals(self) -> int:
        """Digits after the point of the mean."""
        return len(self.text.partition("±")[0].partition(".")[2])

    def matches(self, value: float) -> bool:
        """Whether a number is the printed mean to its last digit, once it is rounded."""
        return round(value, self.decimals) == self.mean
