"""What became of each cell of a model."""

from __future__ import annotations

from dataclasses import dataclass

ACCELERATED, WAITING, KEPT = "accelerated", "waiting", "kept as it was"


@dataclass
class CellReport:
    """One cell.

    status      accelerated | waiting | kept as it was
    reason      why it was kept, or what it waits for
    verified    largest relative difference from the original in float64; None if not verified
    calls       that the fused cell answered
    originals   calls that the original answered, and why the last of them
    seconds     spent on verifying, of them the last time that it was asked again
    notes       what else is worth knowing
    """

    path: str
    kind: str
    status: str
    reason: str = ""
    verified: float | None = None
    calls: int = 0
    originals: int = 0
    last: str = ""
    seconds: float = 0.0
    seconds_again: float = 0.0
    notes: str = ""

    @property
    def accelerated(self) -> bool:
        return self.status == ACCELERATED

    def accept(self, difference: float | None, dropout: bool) -> None:
        """The cell is accelerated."""
        self.status, self.reason, self.verified = ACCELERATED, "", difference
        self.notes = "its skips drop by masks of their own" if dropout else ""

    def __str__(self) -> str:
        notes = [text for text in (self.reason, self.notes) if text]
        if self.status == WAITING and not self.calls + self.originals:
            notes.append("not called yet: name another method by which the model calls it, method=")
        if self.verified is not None and self.accelerated:
            notes.append(f"verified to {self.verified:.0e}")
        if self.originals:
            notes.append(f"{self.originals} calls by the original, the last: {self.last}")
        return "; ".join(notes)


class Report(list[CellReport]):
    """One entry a cell, in the model's order; prints as a table."""

    @property
    def cells(self) -> list[CellReport]:
        return self

    @property
    def accelerated(self) -> int:
        """How many cells are."""
        return sum(cell.accelerated for cell in self)

    def __str__(self) -> str:
        if not self:
            return "no cell found: need modules of two inputs over lists of candidate operations"
        rows = [("cell", "kind", "status", "why"), *((c.path, c.kind, c.status, str(c)) for c in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows]
        spent = f", verified in {sum(cell.seconds for cell in self):.1f} s"
        return "\n".join([*lines, f"{self.accelerated} of {len(self)} cells accelerated{spent}"])
