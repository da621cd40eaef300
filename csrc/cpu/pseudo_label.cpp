#include "../pseudo_label.h"

#include <vector>

#include "kernels.h"
#include "pool.h"

namespace sgl_fast {
namespace {

// Rows below which another thread costs more than it saves: about 20 us of work.
int64_t grain(int64_t J) { return 1 + 16384 / J; }

}  // namespace

void cross_entropy(const Pool& pool, int64_t V, int64_t N, int64_t J, float weight, const float* logits,
                   const float* targets, float* loss, float* log_probs, float* grad) {
    const auto row = kernels().cross_entropy_row;
    std::vector<double> losses(V * N);
    split(pool, V * N, grain(J), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
            losses[i] = row(J, weight / N, logits + i * J, targets + i * J, log_probs + i * J, grad + i * J);
    });
    for (int64_t v = 0; v < V; ++v) {
        double total = 0;
        for (int64_t n = 0; n < N; ++n) total += losses[v * N + n];
        loss[v] = static_cast<float>(total / N);
    }
}

void pseudo_labels(const Pool& pool, int64_t K, int64_t N, int64_t J, const float* teachers, float* p, float* targets) {
    const auto softmax = kernels().softmax_row;
    const auto others = kernels().leave_one_out_row;
    split(pool, N, 1 + grain(J) / K, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            for (int64_t k = 0; k < K; ++k) softmax(J, teachers + (k * N + n) * J, p + (k * N + n) * J);
            for (int64_t k = 0; k < K; ++k) others(K, k, J, N * J, p + n * J, targets + (k * N + n) * J);
        }
    });
}

void pseudo_label_vjp(const Pool& pool, int64_t K, int64_t N, int64_t J, const float* p, const float* tau,
                      float* cotangent) {
    const auto others = kernels().leave_one_out_row;
    const auto pull_back = kernels().softmax_vjp_row;
    split(pool, K * N, grain(J), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            others(K, i / N, J, N * J, tau + i % N * J, cotangent + i * J);
            pull_back(J, -1.0f / N, p + i * J, cotangent + i * J);
        }
    });
}

}  // namespace sgl_fast
