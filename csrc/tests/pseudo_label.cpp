// Every operation of pseudo_label.h against its formula in double, on odd sizes.

#include "../pseudo_label.h"

#include "check.h"

using namespace sgl_fast;
using Doubles = std::vector<double>;

// softmax of each row of J.
static Doubles softmax(const Floats& x, int64_t J) {
    Doubles p(x.size());
    for (size_t row = 0; row < x.size(); row += J) {
        double top = x[row], total = 0;
        for (int64_t j = 0; j < J; j++) top = std::fmax(top, x[row + j]);
        for (int64_t j = 0; j < J; j++) total += p[row + j] = std::exp(x[row + j] - top);
        for (int64_t j = 0; j < J; j++) p[row + j] /= total;
    }
    return p;
}

// The sum over the K - 1 other planes.
template <class Values> Doubles others(const Values& x, int64_t K) {
    const size_t plane = x.size() / K;
    Doubles sums(x.size());
    for (size_t i = 0; i < x.size(); i++)
        for (int64_t k = 0; k < K; k++)
            if (k != int64_t(i / plane)) sums[i] += x[k * plane + i % plane];
    return sums;
}

template <class Queue> static void check(int64_t K, int64_t N, int64_t J, const Queue& pool) {
    const Floats x = normal(K * N * J);
    Floats t = normal(K * N * J);
    for (float& target : t) target = std::fabs(target);
    const Doubles p = softmax(x, J);
    Floats loss(K), log_probs(x.size()), grad(x.size()), got_p(x.size()), targets(x.size()), cotangent(x.size());
    cross_entropy(pool, K, N, J, 0.3f, x.data(), t.data(), loss.data(), log_probs.data(), grad.data());
    pseudo_labels(pool, K, N, J, x.data(), got_p.data(), targets.data());
    pseudo_label_vjp(pool, K, N, J, got_p.data(), t.data(), cotangent.data());
    const Doubles tau = others(t, K);
    Doubles want_loss(K), want_log_probs(x.size()), want_grad(x.size()), want_cotangent(x.size());
    for (int64_t row = 0; row < K * N; row++) {
        double mass = 0, inner = 0;
        for (int64_t i = row * J; i < (row + 1) * J; i++) {
            mass += t[i];
            inner += p[i] * tau[i];
            want_log_probs[i] = std::log(p[i]);
            want_loss[row / N] -= t[i] * want_log_probs[i] / N;
        }
        for (int64_t i = row * J; i < (row + 1) * J; i++) {
            want_grad[i] = 0.3 / N * (p[i] * mass - t[i]);
            want_cotangent[i] = -p[i] * (tau[i] - inner) / N;
        }
    }
    close("log-probabilities", log_probs, want_log_probs);
    close("softmax", got_p, p);
    close("targets", targets, others(p, K));
    if (J == 1) return;  // the others are 0 but for rounding
    close("loss", loss, want_loss);
    close("gradient", grad, want_grad);
    close("cotangent", cotangent, want_cotangent);
}

int main() {
    return each_way([] {
        if (brief) return check(3, 7, 33, queue(1));
        for (int64_t J : {1, 3, 4, 10, 15, 16, 17, 63, 65, 100})
            for (int64_t K : {1, 2, 3}) check(K, 5, J, queue(1));
        check(3, 50, 1001, queue(3));
    });
}
