// How jobs are cut such that a block's shared memory holds their parts.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "grad_jobs.h"
#include "launch.h"

namespace sgl_fast {

constexpr int SHARED_FLOATS = 11 << 10;  // of a block, where one channel at a time needs no more
constexpr int CONV_FLOATS = 7968;        // of the forward's: three blocks a multiprocessor of 96 KB
constexpr int DGRAD_FLOATS = 7600;       // the same of the gradients of inputs
constexpr int BAND_FLOATS = 12288;       // of tensor cores: two blocks a multiprocessor of 96 KB

// std::runtime_error where a block cannot have so many floats.
inline void need_shared(const Stream& stream, int floats, int H, int W) {
    const size_t most = most_shared(stream);
    if (floats * sizeof(float) > most)
        throw std::runtime_error("need images of which a plane with its border fits into " + std::to_string(most) +
                                 " bytes of shared memory; got " + std::to_string(H) + " x " + std::to_string(W));
}

// Sets how many channels at a time fit into a block; returns the floats of shared memory that they need.
inline int choose_chunk(const Stream& stream, ConvJob& job, int R) {
    const auto floats = [&] { return ConvLayout(job, 1, false, job.taps, R).floats; };
    int chunks = (job.ins + 15) / 16;
    const auto cut = [&] { job.chunk = Divisor((job.ins + chunks - 1) / chunks); };
    for (cut(); job.chunk > 1 && floats() > CONV_FLOATS; cut()) chunks++;
    need_shared(stream, floats(), job.in_H, job.in_W);
    return floats();
}

// Cuts a job for tensor cores, as many rows and sixteens of channels at a time as fit; false where one of each does not.
inline bool choose_band(WgradJob& job) {
    constexpr int MOST_SIXTEENS = 2;
    if (job.conv.ins % WMMA || job.conv.outs % WMMA || job.conv.taps > MOST_TAPS) return false;
    const auto fits = [&] { return job.slots <= CELL_WARPS && TensorCoreLayout(job).floats <= BAND_FLOATS; };
    const int height = job.conv.out_H;
    job.tiling = Tiling(height, job.conv.out_W);
    job.band = height;
    int sixteens = MOST_SIXTEENS;
    const auto cut = [&] {
        job.conv.chunk = Divisor(sixteens * WMMA);
        job.sixteens = job.slots = PowerOfTwo(sixteens);
        while (job.slots * WMMA * job.sweep() * WMMA < job.conv.chunk * job.conv.outs)
            job.slots = PowerOfTwo(2 * job.slots);
    };
    for (cut(); sixteens > 1 && (job.conv.ins % job.conv.chunk || !fits()); cut()) sixteens /= 2;
    while (job.band > 1 && !fits()) job.band--;
    const int bands = (height + job.band - 1) / job.band;
    job.band = (height + bands - 1) / bands;
    if (!fits()) job.band = 0;
    return job.band;
}

// How many threads, a power of two, may share each of so many items.
inline PowerOfTwo threads_of(int items) {
    int threads = CELL_THREADS;
    while (threads * items > CELL_THREADS) threads /= 2;
    return PowerOfTwo(threads);
}

// Cuts a job, such that grad z is read the fewest times; returns the floats of shared memory that it needs.
inline int choose_tile(const Stream& stream, WgradJob& job) {
    if (choose_band(job)) {
        job.core = TensorCoreLayout(job);
        return job.core.floats;
    }
    const auto floats = [&] { return WgradLayout(job).floats; };
    const auto fits = [&] { return floats() <= SHARED_FLOATS && job.pointwise_items() <= CELL_THREADS; };
    WgradJob best = job;
    best.conv.chunk = Divisor(0);
    for (int lanes = CELL_THREADS; lanes >= 16; lanes /= 2) {
        job.tiling = Tiling(job.conv.out_H, job.conv.out_W, lanes);
        job.conv.chunk = Divisor(std::min(job.conv.ins, 16));
        while (job.conv.chunk > 1 && !fits()) job.conv.chunk = Divisor(job.conv.chunk - 1);
        if ((fits() || lanes == 16) && (best.conv.chunk == 0 || job.chunks() < best.chunks())) best = job;
    }
    job = best;
    job.pointwise_threads = threads_of(job.pointwise_items());
    job.depthwise_threads = threads_of(job.depthwise_items());
    job.rows = RowOrder(job.conv.out_H, job.tiling.quads_in_row);
    job.in_items = Divisor(job.ins() / SIDE_INS);
    job.at = WgradLayout(job);
    need_shared(stream, job.at.floats, job.conv.in_H, job.conv.in_W);
    return job.at.floats;
}

}  // namespace sgl_fast
