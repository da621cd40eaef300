// Sizes of blocks, and how their threads share planes. Host and device compile this file alike.
#pragma once

#include "divisor.h"

namespace sgl_fast {

constexpr int WARP = 32;
constexpr int CELL_THREADS = 256;  // of a block
constexpr int CELL_WARPS = CELL_THREADS / WARP;

// How a block's threads share the pixels of a plane, in quads of four along a row, and its channels. The host makes it.
struct Tiling {
    Divisor quads_in_row, quads;  // of a plane
    PowerOfTwo lanes, groups;     // threads along quads, and along channels

    Tiling() : Tiling(0, 0) {}
    Tiling(int H, int W, int most = CELL_THREADS) : quads_in_row((W + 3) / 4), quads(H * quads_in_row), lanes(16) {
        while (lanes < quads && lanes < most) lanes = PowerOfTwo(2 * lanes);
        groups = PowerOfTwo(CELL_THREADS / lanes);
    }
    // Lanes of a group that are in one warp.
    PowerOfTwo span() const { return lanes < WARP ? lanes : PowerOfTwo(WARP, 5); }
    int y(int quad) const { return quad / quads_in_row; }
    int x(int quad) const { return quad % quads_in_row * 4; }
};

// An order of a plane's rows for reading it from shared memory, where eight quads are read at a time: with a border of
// four floats each of them is in banks of its own. Rows of two quads come as 0, 2, 4, 6, 1, ..., of four as 0, 4, 1, 5, ...
struct RowOrder {
    int turn;  // of the three lowest bits of a row's number

    RowOrder() : turn(0) {}
    RowOrder(int H, int quads_in_row) : turn(0) {
        if (H % 8 == 0 && (quads_in_row == 2 || quads_in_row == 4)) turn = quads_in_row == 2 ? 2 : 1;
    }
    int row(int nth) const {
        const int low = nth & 7;
        return nth - low + (low >> turn | (low << (3 - turn) & 7));
    }
};

// Consecutive planes of H rows, in octets of eight pixels along a row, as the bytes of patterns are.
struct OctetTiling {
    Divisor in_row, H;

    OctetTiling() : OctetTiling(0, 0) {}
    OctetTiling(int H, int W) : in_row((W + 7) / 8), H(H) {}
    int plane(int octet) const { return octet / in_row / H; }
    int y(int octet) const { return octet / in_row % H; }
    int x(int octet) const { return octet % in_row * 8; }
};

}  // namespace sgl_fast
