#pragma once

#include <tuple>

#include "call.h"

namespace sgl_fast {

template <class Call> Tensor row_norms_of(const Tensor& rows) {
    const Call call(rows);
    const Sizes size = sizes_of(rows, 2);
    const Tensor x = checked(call, "rows", rows, size);
    Tensor norms = empty(call, {size[0]});
    row_norms(call.queue, size[0], size[1], data(x), out(norms));
    return norms;
}

template <class Call>
std::tuple<Tensor, Tensor, Tensor> sgd_of(const Tensor& weights, const Tensor& grad, const Tensor& buffer,
                                          const Tensor& lr, double momentum, double weight_decay, double clip) {
    const Call call(weights);
    const Sizes size = sizes_of(weights, 2);
    const Tensor w = checked(call, "weights", weights, size), g = checked(call, "grad", grad, size);
    const Tensor b = checked(call, "buffer", buffer, size), step = checked(call, "lr", lr, {});
    Tensor new_weights = call.large(size), new_buffer = call.large(size), norms = empty(call, {size[0]});
    const Sgd settings{static_cast<float>(momentum), static_cast<float>(weight_decay), static_cast<float>(clip)};
    sgd(call.queue, size[0], size[1], settings, data(step), data(w), data(g), data(b), out(new_weights),
        out(new_buffer), out(norms));
    return {new_weights, new_buffer, norms};
}

template <class Call> std::tuple<Tensor, Tensor> perturb_of(const Tensor& weights, const Tensor& direction, double r) {
    const Call call(weights);
    const Sizes size = sizes_of(weights, 2);
    const Tensor w = checked(call, "weights", weights, size), d = checked(call, "direction", direction, size);
    Tensor both = call.large({2 * size[0], size[1]}), eps = empty(call, {size[0]});
    perturb(call.queue, size[0], size[1], static_cast<float>(r), data(w), data(d), out(both), out(eps));
    return {both, eps};
}

template <class Call> Tensor central_difference_of(const Tensor& both, const Tensor& eps) {
    const Call call(both);
    const Sizes size = sizes_of(both, 2);
    const int64_t K = size[0] / 2;
    const Tensor x = checked(call, "both", both, {2 * K, size[1]}), e = checked(call, "eps", eps, {K});
    Tensor result = empty(call, {K, size[1]});
    central_difference(call.queue, K, size[1], data(x), data(e), out(result));
    return result;
}

template <class Call> void add_flat_update(Library& m) {
    add<&row_norms_of<Call>>(m, "row_norms(Tensor rows) -> Tensor");
    add<&sgd_of<Call>>(m,
                       "sgd(Tensor weights, Tensor grad, Tensor buffer, Tensor lr, float momentum, float weight_decay,"
                       " float clip) -> (Tensor, Tensor, Tensor)");
    add<&perturb_of<Call>>(m, "perturb(Tensor weights, Tensor direction, float r) -> (Tensor, Tensor)");
    add<&central_difference_of<Call>>(m, "central_difference(Tensor both, Tensor eps) -> Tensor");
}

}  // namespace sgl_fast
