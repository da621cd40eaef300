// Rows of J logits, one at a time. Included once per instruction set: see each_isa.h.

typedef F<lanes> Floats;

inline Floats load_row(const float* row, int64_t j, int64_t J, float rest = 0) {
    const int n = static_cast<int>(J - j < lanes ? J - j : lanes);
    const Floats x = load_up_to<lanes>(row + j, n);
    return n == lanes || rest == 0 ? x : select<lanes>(lane_numbers<lanes>() < n, x, splat<lanes>(rest));
}

inline void store_row(float* row, int64_t j, int64_t J, Floats x) {
    store_up_to<lanes>(row + j, x, static_cast<int>(J - j < lanes ? J - j : lanes));
}

// e^x for x <= 0, 0 where that is no normal number, NaN for NaN: 2^n e^f with f within ln(2)/2 of 0, by Taylor's
// polynomial of degree 7, off by f^8 / 8! < 1e-8. ln(2) comes in two parts, so that f is exact.
inline Floats exponential(Floats x) {
    const float rounder = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer, that of its low bits
    const Floats shifted = x * 1.44269504f + rounder;
    const Floats n = shifted - rounder;
    const Floats f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats e = splat<lanes>(1.0f / 5040);
    for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) e = e * f + coefficient;
    typedef unsigned Words __attribute__((vector_size(4 * lanes)));
    const Floats power = (Floats)(((Words)shifted + 127u) << 23);
    return select<lanes>(x < -87.0f, Floats{}, e * power);
}

// to = e^(x - top), top being the largest x; returns their sum.
inline float exponentials(int64_t J, const float* x, float* to, float& top) {
    const float lowest = -std::numeric_limits<float>::infinity();
    Floats tops = splat<lanes>(lowest), total = {};
    for (int64_t j = 0; j < J; j += lanes) {
        const Floats v = load_row(x, j, J, lowest);
        tops = select<lanes>(v > tops, v, tops);
    }
    top = tops[0];
    for (int i = 1; i < lanes; i++) top = tops[i] > top ? tops[i] : top;
    for (int64_t j = 0; j < J; j += lanes) {
        const Floats e = exponential(load_row(x, j, J, lowest) - top);
        store_row(to, j, J, e);
        total += e;
    }
    return sum<lanes>(total);
}

// log_probs = log softmax(x); returns -sum of targets * log_probs; grad = scale * the gradient of that.
double cross_entropy_row(int64_t J, float scale, const float* x, const float* targets, float* log_probs, float* grad) {
    float top;
    const float total = exponentials(J, x, grad, top), log_total = std::log(total);
    Floats mass = {}, loss = {};
    for (int64_t j = 0; j < J; j += lanes) {
        const Floats t = load_row(targets, j, J);
        const Floats log_p = (load_row(x, j, J, top) - top) - log_total;  // past J: finite, and t is 0
        store_row(log_probs, j, J, log_p);
        mass += t;
        loss += t * log_p;
    }
    const float share = sum<lanes>(mass) / total;
    for (int64_t j = 0; j < J; j += lanes)
        store_row(grad, j, J, (load_row(grad, j, J) * share - load_row(targets, j, J)) * scale);
    return -static_cast<double>(sum<lanes>(loss));
}

void softmax_row(int64_t J, const float* x, float* p) {
    float top;
    const float inverse = 1.0f / exponentials(J, x, p, top);
    for (int64_t j = 0; j < J; j += lanes) store_row(p, j, J, load_row(p, j, J) * inverse);
}

// to = the sum of the K rows, `stride` floats apart, without row k.
void others_row(int64_t K, int64_t k, int64_t J, int64_t stride, const float* rows, float* to) {
    for (int64_t j = 0; j < J; j += lanes) {
        Floats total = {};
        for (int64_t other = 0; other < K; other++)
            if (other != k) total += load_row(rows + other * stride, j, J);
        store_row(to, j, J, total);
    }
}

// to = scale * p * (to - sum of p * to)
void pull_back_row(int64_t J, float scale, const float* p, float* to) {
    Floats inner = {};
    for (int64_t j = 0; j < J; j += lanes) inner += load_row(p, j, J) * load_row(to, j, J);
    const float mean = sum<lanes>(inner);
    for (int64_t j = 0; j < J; j += lanes)
        store_row(to, j, J, load_row(p, j, J) * (load_row(to, j, J) - mean) * scale);
}
