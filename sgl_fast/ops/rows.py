"""The rows of a cell's program: int32 numbers in named columns, which every executor reads.

A row is built by the names of its columns; a position is asked for by name, too (`Conv(*range(len(Conv._fields))).z`).
Offsets count numbers: of weights in a learner's P, of norms in its channels, of `saved` and of gradients in an image's,
of patterns in an image's bytes. OUT stands where there is nothing: no offset, no norm, no operation.

What is read lies in a place: the cell's inputs s0 and s1 (reads 0 and 1), the preprocessed states (0), the cell's nodes
in its output, or `saved`. Which of these is said by the stage of a program; `reads` tells s0 from s1.
"""

from __future__ import annotations

from typing import NamedTuple

OUT = -1


class Head(NamedTuple):
    """Sizes of a cell, of what a learner has and of what an image leaves."""

    C: int
    M: int  # channels that operations mix
    nodes: int
    ops: int  # O, of an edge
    preprocess: int
    H: int  # of the first two states
    W: int
    H_out: int
    W_out: int
    weights: int
    norms: int
    measured: int  # norms of these channels take statistics; the others change nothing
    saved: int
    pattern: int
    dropouts: int
    inputs: int  # the first convs, which are the preprocessing's


class Conv(NamedTuple):
    """z = pointwise * depthwise * relu(norm_in(x)): a 1x1 convolution, with or without a depthwise one before it."""

    reads: int
    offset: int  # of x, behind the beginning of an image
    norm_in: int  # that x still needs
    height: int  # of x
    width: int
    relu_mask: int  # a bit a pixel, whole bytes a row of x
    ins: int  # channels of x
    outs: int  # channels of z
    depthwise: int  # weights (ins, kernel, kernel)
    pointwise: int  # weights (outs, ins)
    kernel: int
    dilation: int
    stride: int
    first: int  # pixel (first, first) is the first one that is read: 1 in the second half of a factorised reduction
    z: int  # the result, in `saved`; of a preprocessing, in the states
    norm: int  # of the result, applied by whoever reads it
    grad: (
        int  # gradient of norm(z): in the gradients of nodes and hidden activations; of a preprocessing, of the states
    )
    grad_step: int  # from channel to channel of it
    edge: int  # whose op has the result as a term; OUT: its weight is 1
    op: int  # OUT: the auxiliary skip
    scratch: int  # where the gradient of what the 1x1 convolution reads lies; a preprocessing leaves none


class Pool(NamedTuple):
    """z = the maximum or the mean over windows of channels first .. first + channels - 1 of norm_in(x)."""

    reads: int
    offset: int
    norm_in: int
    height: int
    width: int
    first: int
    channels: int
    is_max: int
    kernel: int
    padding: int
    stride: int
    z: int
    argmax: int  # of a maximum: place in the window, four bits an output, whole bytes a row of outputs
    norm: int  # of the result, on the first edge that has it; OUT: of bypassing channels, which have none
    first_use: int
    uses: int


class Use(NamedTuple):
    """One edge that has a pool of its source as a term; each has a norm of its own."""

    edge: int
    node: int
    op: int
    norm: int


class Mask(NamedTuple):
    """The pattern that a ReLU leaves."""

    conv: int  # the first one that has it


class Pick(NamedTuple):
    """One of the convolutions."""

    conv: int
    hidden: int  # of a second half: gradient of what it reads


class Channel(NamedTuple):
    """One of a learner's norm channels."""

    term: int  # 1: of an operation's result that an edge adds


class Edge(NamedTuple):
    """What goes into a node from one source; in canonical order, so node i's rows begin at i (i + 3) / 2."""

    edge: int
    node: int
    source: int
    reads: int  # 2: a node, in the output
    offset: int
    norm_in: int
    skip: int  # op of a stride-1 skip
    dropout: int  # its mask
    aux: int  # 1: an auxiliary skip of stride 1
    bypass: int  # pooled bypassing channels, in `saved`; OUT: the source's own
    first_term: int
    terms: int


class Term(NamedTuple):
    """An operation's result that an edge adds: norm(z), in `saved`; op OUT is the auxiliary skip of stride 2."""

    op: int
    norm: int
    z: int


class State(NamedTuple):
    """What leaves a state: its gradient is what comes back along these."""

    reads: int  # 1: the gradient is that of s1
    offset: int  # of its gradient
    height: int
    width: int
    stride: int
    argmax: int  # of bypassing channels that are pooled
    first_pool: int
    pools: int
    first_edge: int  # among the edges in the order of their sources
    edges: int
    norm_in: int  # that a reader of the state applies
    relu_mask: int  # of convs
    first_conv: int
    convs: int
    first_half: int  # second halves of separable convolutions among its convs, in their order
    halves: int
