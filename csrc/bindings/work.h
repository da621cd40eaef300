// What the CUDA kernels of a cell would do, by their launchers, which run no kernel here.
#pragma once

#include <pybind11/stl.h>

#include "mixed_cell.h"

namespace sgl_fast {

// Of each kernel of a forward, or of a backward: its name, flops, operations of tensor cores, bytes asked for, distinct bytes,
// blocks, bytes of dynamic shared memory. V learners, N images, first states of H x W.
using WorkRow = std::tuple<std::string, double, double, double, double, double, double>;

inline std::vector<WorkRow> mixed_cell_work(
        const std::vector<int64_t>& cell, int V, int N, int64_t H, int64_t W, bool backward, bool want_weights, bool half) {
    static float somewhere[4];  // that nothing touches
    const Plan plan = plan_of(cell, H, W);
    CellInputs in{};
    in.V = V;
    in.N = N;
    in.training = true;
    Ledger ledger;
    const Stream stream{nullptr, [](void*, size_t) -> void* { return somewhere; }, nullptr, &ledger};
    const CellSaved saved{somewhere, somewhere, somewhere, nullptr, half};
    const CellGradients wanted{{somewhere, somewhere}, want_weights ? somewhere : nullptr, somewhere, nullptr};
    if (backward)
        mixed_cell_backward(stream, plan, in, saved, somewhere, somewhere, wanted);
    else
        mixed_cell_forward(stream, plan, in, false, saved, somewhere);
    std::vector<WorkRow> rows;
    for (const Launch& one : ledger.launches)
        rows.emplace_back(one.kernel, one.work.flops, one.work.products, one.work.asked, one.work.distinct, one.blocks, one.shared);
    return rows;
}

}  // namespace sgl_fast
