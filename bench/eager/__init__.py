"""The published structure in today's PyTorch: one module a learner, one module a candidate operation, looped."""

from .learner import Learner, learners
from .pairwise import Pairwise
from .released import Released
from .supernet import Alphas, Cell, MixedOp, Supernet, load

__all__ = ["Alphas", "Cell", "Learner", "MixedOp", "Pairwise", "Released", "Supernet", "learners", "load"]
