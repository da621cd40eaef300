// What is counted, and what of a GPU decides how long it takes. Python has both structs, too (bench/cuda_trace.py).
#pragma once

#include <algorithm>
#include <array>

#include "operations.h"

namespace trace {

constexpr int GPUS = 3;
using Times = std::array<float, GPUS>;  // cycles

struct Launch {
    unsigned grid[3], threads, shared_bytes;
    int l1_sectors;  // that a block may take for its own
};

// Cycles from an instruction to the use of its result; cycles that an instruction of a warp, a wavefront or a product of
// matrices keeps the multiprocessor's units.
struct Gpu {
    float alu, fp64, sfu, shared, l1, l2, dram, shuffle, barrier, branch;
    float issue, unit[UNITS];

    float latency(Unit which) const { return which == FP64 ? fp64 : which == SFU ? sfu : which == NONE ? 0 : alu; }
    template <class C> double busy(const C& counts) const {
        double most = counts.slots * issue;
        for (int u = 0; u < UNITS; u++) most = std::max(most, counts.units[u] * unit[u]);
        return most;
    }
};

// Of a block: a warp's instructions are counted each.
struct Counts {
    double slots = 0;  // instructions of machine code that are issued
    double shuffles = 0, barriers = 0;
    double loads = 0, loading = 0;  // of global memory; cycles from their issue to their results, of the first GPU
    double l2_sectors = 0, dram_sectors = 0;
    double units[UNITS] = {};
    double cycles[GPUS] = {};  // alone on a multiprocessor

    Counts minus(const Counts& before) const {
        Counts rest = *this;
        rest.slots -= before.slots;
        for (int u = 0; u < UNITS; u++) rest.units[u] -= before.units[u];
        return rest;
    }
};

}  // namespace trace
