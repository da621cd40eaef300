"""What kernels are given: structures of pointers and strides, and the columns of a program's rows by name.

A structure is a NamedTuple, whose fields Triton passes one by one; None is known when a kernel is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton.language as tl

from ..ops import rows


class Columns(tl.constexpr):  # type: ignore[misc]
    """Positions of a row's columns: CONV.z is 14, len(CONV) the width. All of them are part of a kernel's cache key."""

    def __init__(self, row: Any) -> None:
        super().__init__(row(*range(len(row._fields))))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("value", "type"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __len__(self) -> int:
        return len(self.value)


CONV, POOL, USE, MASK = Columns(rows.Conv), Columns(rows.Pool), Columns(rows.Use), Columns(rows.Mask)
EDGE, TERM, STATE, PICK = Columns(rows.Edge), Columns(rows.Term), Columns(rows.State), Columns(rows.Pick)
CHANNEL = Columns(rows.Channel)


# Arguments that no kernel is compiled anew for, be they 1 or multiples of 16: counts, numbers of rows, sides. What
# vectors of loads and stores are aligned by stays specialised: pointers, strides between learners and images, `pixels`
# of a plane, P of flat rows. A cell's weights and shares begin anywhere in flat rows: nothing is known of their places.
PLAIN = (
    *("first", "node", "N", "M", "J", "K", "C", "H", "W", "image", "channel", "crop", "cutout", "is_node"),
    *("blocks", "block", "taps", "size", "source", "shape", "work", "batch", "sums", "channels", "wanted", "split"),
    *("weights", "shares"),
)


class Images(NamedTuple):
    """Activations (V, N, channels, H, W), each image dense: numbers from learner to learner and image to image."""

    ptr: Any
    learner: Any
    image: Any


class Pair(NamedTuple):
    """Where rows read (or write), by their column `reads`: s0 and s1, or one place twice."""

    first: Images
    second: Images


class Asked(NamedTuple):
    """Of s0 and s1, whether (1, 0) their gradients are asked for."""

    first: Any
    second: Any


class PerImage(NamedTuple):
    """What each of V * N images has: numbers from image to image."""

    ptr: Any
    step: Any


class Result(NamedTuple):
    """Activations z before their norms, and the gradient dy of what the norms make of them."""

    z: PerImage
    dy: PerImage


class Weights(NamedTuple):
    """(V, P): numbers from learner to learner."""

    ptr: Any
    learner: Any


class Norms(NamedTuple):
    """Of `count` channels a learner, each (V, 3, count).

    stats  mean, 1 / deviation, unbiased variance
    grads  mean_dy, mean_dy_xhat / deviation, sum of dy * xhat; in a backward
    """

    stats: Any
    count: Any
    grads: Any = None


class Mixture(NamedTuple):
    """op_weights (V, edges, ops), edge_weights (V, edges) or None; skip_beta () of auxiliary skips, or None."""

    op_weights: Any
    edge_weights: Any
    edges: Any
    ops: Any
    skip_beta: Any


class Dropout(NamedTuple):
    """masks (masks, V, N, M, H', W') of 0 and 1, and the scale () of what is kept; or None."""

    masks: Any
    scale: Any


class Size(NamedTuple):
    """Of results, in pixels."""

    height: Any
    width: Any


class Shape(NamedTuple):
    """Images V * N, N of a learner, channels C of a node, M of them mixed."""

    images: Any
    N: Any
    C: Any
    M: Any


class Shares(NamedTuple):
    """Gradients of weights (V, groups, P), each from one group of a learner's images."""

    ptr: Any
    step: Any
    groups: Any


class Block(NamedTuple):
    """What one program of a kernel has at a time."""

    channels: int
    pixels: int


class Tile(NamedTuple):
    """Of 1x1 convolutions: inputs and pixels at a time, all outputs; whether by tl.dot, and with which products."""

    ins: int
    outs: int
    pixels: int
    dot: bool
    products: str


class GradRows(NamedTuple):
    """Rows that a state's gradient is for: edges by their nodes, out_edges by their sources."""

    states: Any
    convs: Any
    pools: Any
    uses: Any
    edges: Any
    out_edges: Any
    terms: Any


class Channels(NamedTuple):
    """Of norms whose means come together: from `first` on, and of bare pools from `first_bare` on.

    kinds: rows of CHANNEL, of all
    """

    first: Any
    count: Any
    first_bare: Any
    bare: Any
    kinds: Any


class Sums(NamedTuple):
    """What the backward of norms and the gradients of operations are made of.

    blocks    sums of dy and dy * (z - mean) over blocks of pixels, (images, norms, parts, 2)
    images    of images, (images, norms, 2)
    skips     of dy times what skips, auxiliary skips and bypasses add, (images, edges, 3, skip_parts)
    tickets   zeros: programs that stored theirs; (V, norms + slots), from `behind` on (images, slots)
    measured  channels whose statistics were taken from z
    """

    blocks: Any
    images: Any
    skips: Any
    tickets: Any
    parts: Any
    skip_parts: Any
    edges: Any
    slots: Any
    behind: Any
    measured: Any


class ForwardRows(NamedTuple):
    """Rows of what a stage of the forward has to do."""

    convs: Any
    pools: Any
    uses: Any
    masks: Any


class Some(NamedTuple):
    """Rows from `first` on, and programs of an image that each of them is for."""

    first: Any
    count: Any
    programs: Any


class ForwardWork(NamedTuple):
    """What the programs of an image are for, in this order."""

    convs: Any
    pools: Any
    masks: Any


class Batch(NamedTuple):
    """Statistics that are the batch's, or None.

    partial  moments (images, norms, blocks, 2) of each image's blocks of results
    tickets  (V, norms) of zeros: programs that stored theirs, at the first of the channels that they have
    blocks   of an image, at most
    """

    partial: Any
    tickets: Any
    blocks: Any
