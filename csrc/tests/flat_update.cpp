// Every operation of flat_update.h against its formula in double, on odd sizes.

#include "../flat_update.h"

#include "check.h"

using namespace sgl_fast;
using Doubles = std::vector<double>;

static Doubles norms_of(const Floats& x, int64_t K) {
    const int64_t P = x.size() / K;
    Doubles norms(K);
    for (size_t i = 0; i < x.size(); i++) norms[i / P] += double(x[i]) * x[i];
    for (double& norm : norms) norm = std::sqrt(norm);
    return norms;
}

template <class Queue> static void check_sgd(int64_t K, int64_t P, float clip, const Queue& pool) {
    const Floats w = normal(K * P), g = normal(K * P), b = normal(K * P);
    const Doubles norms = norms_of(g, K);
    Doubles want_weights(w.size()), want_buffer(w.size());
    for (int64_t i = 0; i < K * P; i++) {
        const double scale = clip > 0 ? std::fmin(1.0, clip / (norms[i / P] + 1e-6)) : 1.0;
        want_buffer[i] = 0.9 * b[i] + scale * g[i] + 3e-2 * w[i];
        want_weights[i] = w[i] - 0.1 * want_buffer[i];
    }
    Floats weights(w.size()), buffer(w.size()), found(K);
    const Sgd settings{0.9f, 3e-2f, clip};
    const float lr = 0.1f;
    sgd(pool, K, P, settings, &lr, w.data(), g.data(), b.data(), weights.data(), buffer.data(), found.data());
    close("buffer", buffer, want_buffer);
    close("weights", weights, want_weights);
    close("norms of the gradient", found, norms);
}

template <class Queue> static void check_differences(int64_t K, int64_t P, const Queue& pool) {
    const Floats w = normal(K * P);
    Floats v = normal(K * P), both(2 * K * P), eps(K), dz(K * P), found(K);
    for (int64_t i = 0; i < P; i++) v[i] = 0;
    const Doubles norms = norms_of(v, K);
    row_norms(pool, K, P, v.data(), found.data());
    close("norms", found, norms);
    perturb(pool, K, P, 0.5f, w.data(), v.data(), both.data(), eps.data());
    Doubles want_both(2 * K * P), want_slope(K * P);
    for (int64_t i = 0; i < K * P; i++) {
        const double step = norms[i / P] > 0 ? 0.5 / norms[i / P] * v[i] : 0;
        want_both[i] = w[i] + step;
        want_both[K * P + i] = w[i] - step;
    }
    close("perturbed weights", both, want_both);
    central_difference(pool, K, P, both.data(), eps.data(), dz.data());
    for (int64_t i = 0; i < K * P; i++) {
        const double span = eps[i / P] > 0 ? 2.0 * eps[i / P] : 1.0;
        want_slope[i] = (double(both[i]) - both[K * P + i]) / span;
    }
    close("central_difference", dz, want_slope);
}

int main() {
    return each_way([] {
        for (int64_t P : {1, 2, 15, 17, 63, 1000, 4097, 8191, 8193, 40001})
            for (int count : {1, 3}) {
                if (brief && (P != 4097 || count > 1)) continue;
                check_sgd(2, P, 0.5f, queue(count));
                check_sgd(1, P, 0.0f, queue(count));
                check_differences(3, P, queue(count));
            }
    });
}
