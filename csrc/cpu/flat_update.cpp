#include "../flat_update.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace sgl_fast {
namespace {

constexpr int64_t block = 8192;  // floats: a fixed part of a row, whose sum does not depend on the threads
constexpr int64_t grain = 4;     // blocks below which another thread costs more than it saves

int64_t blocks_of(int64_t P) { return (P + block - 1) / block; }

// Calls body(b, k, offset, count) for every block b: floats offset to offset + count of all, which are in row k.
template <class Body> void for_blocks(const Pool& pool, int64_t K, int64_t P, const Body& body) {
    const int64_t blocks = blocks_of(P);
    split(pool, K * blocks, grain, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            const int64_t k = b / blocks, start = b % blocks * block;
            body(b, k, k * P + start, std::min(block, P - start));
        }
    });
}

std::vector<double> norms_of(const Pool& pool, int64_t K, int64_t P, const float* rows) {
    const auto squares = kernels().sum_of_squares;
    const int64_t blocks = blocks_of(P);
    std::vector<double> sums(K * blocks), norms(K);
    for_blocks(pool, K, P,
               [&](int64_t b, int64_t, int64_t offset, int64_t count) { sums[b] = squares(count, rows + offset); });
    for (int64_t k = 0; k < K; ++k) {
        double total = 0;
        for (int64_t b = 0; b < blocks; ++b) total += sums[k * blocks + b];
        norms[k] = std::sqrt(total);
    }
    return norms;
}

// 0 where float32 cannot hold twice r / norm, at a norm of 0 above all; NaN where it cannot hold the norm.
float radius_over(float r, double norm) {
    constexpr double most = std::numeric_limits<float>::max();
    const double eps = r / norm;
    if (!(norm <= most)) return std::numeric_limits<float>::quiet_NaN();
    return eps > most / 2 ? 0.0f : static_cast<float>(eps);
}

// Not std::min: a norm that is NaN must stay one.
float clip_scale(double norm, float clip) {
    const double scale = clip / (norm + 1e-6);
    return clip > 0 ? static_cast<float>(scale > 1 ? 1.0 : scale) : 1.0f;
}

}  // namespace

void row_norms(const Pool& pool, int64_t K, int64_t P, const float* rows, float* norms) {
    const std::vector<double> doubles = norms_of(pool, K, P, rows);
    std::copy(doubles.begin(), doubles.end(), norms);
}

void sgd(const Pool& pool, int64_t K, int64_t P, const Sgd& settings, const float* lr, const float* weights,
         const float* grad, const float* buffer, float* new_weights, float* new_buffer, float* norms) {
    const std::vector<double> grad_norms = norms_of(pool, K, P, grad);
    std::copy(grad_norms.begin(), grad_norms.end(), norms);
    const auto run = kernels().sgd_run;
    for_blocks(pool, K, P, [&](int64_t, int64_t k, int64_t i, int64_t count) {
        const float scale = clip_scale(grad_norms[k], settings.clip);
        run(count, settings, *lr, scale, weights + i, grad + i, buffer + i, new_weights + i, new_buffer + i);
    });
}

void perturb(const Pool& pool, int64_t K, int64_t P, float r, const float* weights, const float* direction, float* both,
             float* eps) {
    const std::vector<double> direction_norms = norms_of(pool, K, P, direction);
    for (int64_t k = 0; k < K; ++k) eps[k] = radius_over(r, direction_norms[k]);
    const auto run = kernels().perturb_run;
    for_blocks(pool, K, P, [&](int64_t, int64_t k, int64_t i, int64_t count) {
        run(count, eps[k], weights + i, direction + i, both + i, both + K * P + i);
    });
}

void central_difference(const Pool& pool, int64_t K, int64_t P, const float* both, const float* eps, float* out) {
    const auto run = kernels().central_difference_run;
    for_blocks(pool, K, P, [&](int64_t, int64_t k, int64_t i, int64_t count) {
        run(count, eps[k] == 0 ? 1.0f : 2 * eps[k], both + i, both + K * P + i, out + i);
    });
}

}  // namespace sgl_fast
