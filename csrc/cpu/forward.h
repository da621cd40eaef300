// The forward of a cell, image by image between batch norms.
//
// Phases, each over all images: preprocess | states 0 and 1: convolutions and pools on their out-edges | second halves
// of their separable convolutions | node 0, then its convolutions and pools | ... | last node.
#pragma once

#include "depthwise.h"
#include "pass.h"
#include "pointwise.h"

ISA_NAMESPACE_BEGIN

struct Forward : Pass {
    const Workspace& space;
    bool replay;
    float* nodes;  // what Pass reads as `out`

    float* partial_mean(int v, int n) const { return space.partial[0] + size_t(v * N + n) * head.norms; }
    float* partial_deviations(int v, int n) const { return space.partial[1] + size_t(v * N + n) * head.norms; }

    // Moments of an image's channels, for the statistics of norms from `norm` on.
    void measure(int v, int n, size_t norm, int channels, const float* z, int count) const {
        if (!in.training || norm >= size_t(head.measured)) return;
        for (int c = 0; c < channels; c++)
            moments(z + size_t(c) * count, count, partial_mean(v, n) + norm + c, partial_deviations(v, n) + norm + c);
    }

    // Depthwise, then 1x1, from Padded planes after their ReLU. depthwise_out: scratch for compact planes.
    void convolve(const rows::Conv& conv, const float* active, const Padded& padded, float* depthwise_out,
                  size_t compact, int v, int n) const {
        const Depthwise depthwise = depthwise_for(conv.kernel, conv.dilation, conv.stride, padded.W);
        const int taps = conv.kernel * conv.kernel;
        for (int c = 0; c < conv.ins; c++)
            depthwise.forward(active + c * padded.plane, padded, weights(v) + conv.depthwise + c * taps,
                              depthwise_out + c * compact);
        convolve_1x1(conv, depthwise_out, compact, activations(v, n) + conv.z, int(pixels), v, n);
    }

    // From planes that are `plane` floats apart into consecutive pixels.
    void convolve_1x1(const rows::Conv& conv, const float* x, size_t plane, float* z, int count, int v, int n) const {
        pointwise({weights(v) + conv.pointwise, conv.ins, 1}, conv.outs, conv.ins, x, plane, z, count, count);
        measure(v, n, conv.norm, conv.outs, z, count);
    }

    // Statistics of norms from `norm` on, from the moments of the images of `count` pixels.
    void finish(size_t norm, int channels, int count) const {
        if (norm >= size_t(head.measured)) return;
        for (int v = 0; v < V; v++) {
            float* stats = saved.stats + size_t(v) * 3 * head.norms + norm;
            for (int c = 0; c < channels; c++) {
                float *mean = stats + c, *scale = mean + head.norms, *var = scale + head.norms;
                if (!in.training) {
                    *scale = float(1 / __builtin_sqrt(double(*var) + EPS));
                    continue;
                }
                double total = 0, deviations = 0;
                for (int n = 0; n < N; n++) total += partial_mean(v, n)[norm + c];
                double average = total / N;
                for (int n = 0; n < N; n++) {
                    double off = partial_mean(v, n)[norm + c] - average;
                    deviations += partial_deviations(v, n)[norm + c] + count * off * off;
                }
                double size = double(N) * count;
                *mean = float(average);
                *scale = float(1 / __builtin_sqrt(deviations / size + EPS));
                *var = float(deviations / (size - 1));
            }
        }
    }

    // A state is pooled once for all of its edges: the other edges' norms copy the first one's statistics.
    void copy_statistics(size_t source, size_t target) const {
        if (source == target || !in.training) return;
        for (int v = 0; v < V; v++)
            for (int row = 0; row < 3; row++) {
                float* stats = saved.stats + (size_t(v) * 3 + row) * head.norms;
                __builtin_memcpy(stats + target, stats + source, M * sizeof(float));
            }
    }

    void finish(const Rows<rows::Conv>& convs, size_t count) const {
        for (const rows::Conv& conv : convs) finish(conv.norm, conv.outs, int(count));
    }

    void finish_sources(int j) const {
        const rows::State& s = program.states[j];
        for (const rows::Pool& pool : program.pools_of(s))
            for (const rows::Use& use : program.uses_of(pool)) {
                if (pool.norm == rows::OUT) continue;
                if (use.norm == pool.norm || !in.training) finish(use.norm, M, int(pixels));
                copy_statistics(pool.norm, use.norm);
            }
        finish(program.convs_of(s), pixels);
    }

    void run() const;

  private:
    void preprocess() const;
    void hidden(int j) const;
};

ISA_NAMESPACE_END
