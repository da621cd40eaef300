// Memory of one call, and of one thread in it.
#pragma once

#include <cstddef>

#include "isa_namespace.h"

ISA_NAMESPACE_BEGIN

// A thread's scratch memory, handed out front to back. Without memory it only counts what is asked for.
struct Scratch {
    float* start = nullptr;
    size_t floats = 0, used = 0;

    float* allocate(size_t n) {
        size_t offset = used;
        used += (n + 15) / 16 * 16;
        if (!start) return nullptr;
        if (used > floats) __builtin_trap();
        return start + offset;
    }
    float* filled(size_t n, float value) {
        float* p = allocate(n);
        for (size_t i = 0; p && i < n; i++) p[i] = value;
        return p;
    }
};

struct Workspace {
    float* scratch = nullptr;  // of thread 0; the others follow
    size_t scratch_floats = 0;
    float* partial[2];  // (V, N, norms) each: two sums a channel, of one image
};

// The most scratch memory that a thread needs in one of the phases.
template <class Input, class Source, class Hidden, class Node, class P> size_t scratch_floats(const P& pass) {
    size_t most = 0;
    auto consider = [&](const auto& phase) {
        Scratch count;
        phase(count);
        most = count.used > most ? count.used : most;
    };
    int last = pass.head.nodes;  // state with out-edges
    for (int which = 0; which < 2 && pass.head.preprocess; which++)
        consider([&](Scratch& s) { Input(pass, which, s); });
    for (int j = 0; j <= last; j += last)
        consider([&](Scratch& s) {
            Node(pass, last - 1, s);
            Source(pass, j, s);
        });
    consider([&](Scratch& s) { Hidden(pass, 0, s); });
    return most;
}

ISA_NAMESPACE_END
