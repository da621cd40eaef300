#pragma once

#include <tuple>

#include "call.h"

namespace sgl_fast {

template <class Call>
std::tuple<Tensor, Tensor, Tensor> cross_entropy_of(const Tensor& logits, const Tensor& targets, double weight) {
    const Call call(logits);
    const Sizes size = sizes_of(logits, 3);
    const Tensor x = checked(call, "logits", logits, size), t = checked(call, "targets", targets, size);
    Tensor loss = empty(call, {size[0]}), log_probs = empty(call, size), grad = empty(call, size);
    cross_entropy(call.queue, size[0], size[1], size[2], static_cast<float>(weight), data(x), data(t), out(loss),
                  out(log_probs), out(grad));
    return {loss, log_probs, grad};
}

template <class Call> std::tuple<Tensor, Tensor> pseudo_labels_of(const Tensor& teachers) {
    const Call call(teachers);
    const Sizes size = sizes_of(teachers, 3);
    const Tensor x = checked(call, "teachers", teachers, size);
    Tensor p = empty(call, size), targets = empty(call, size);
    pseudo_labels(call.queue, size[0], size[1], size[2], data(x), out(p), out(targets));
    return {p, targets};
}

template <class Call> Tensor pseudo_label_vjp_of(const Tensor& p, const Tensor& tau) {
    const Call call(p);
    const Sizes size = sizes_of(p, 3);
    const Tensor a = checked(call, "p", p, size), b = checked(call, "tau", tau, size);
    Tensor cotangent = empty(call, size);
    pseudo_label_vjp(call.queue, size[0], size[1], size[2], data(a), data(b), out(cotangent));
    return cotangent;
}

template <class Call> void add_pseudo_label(Library& m) {
    add<&cross_entropy_of<Call>>(
        m, "cross_entropy(Tensor logits, Tensor targets, float weight) -> (Tensor, Tensor, Tensor)");
    add<&pseudo_labels_of<Call>>(m, "pseudo_labels(Tensor teachers) -> (Tensor, Tensor)");
    add<&pseudo_label_vjp_of<Call>>(m, "pseudo_label_vjp(Tensor p, Tensor tau) -> Tensor");
}

}  // namespace sgl_fast
