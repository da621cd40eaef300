// The phases of the forward, one after the other.
#pragma once

#include "blocks.h"
#include "hidden.h"
#include "nodes.h"
#include "preprocess.h"
#include "sources.h"

ISA_NAMESPACE_BEGIN

inline void Forward::preprocess() const {
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
        for (int which = 0; which < 2; which++) {
            Scratch reused = scratch;
            PreprocessForward work(*this, which, reused);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
    for (int which = 0; which < 2; which++) finish(program.input_convs(which), in_pixels);
}

inline void Forward::hidden(int j) const {
    if (!program.states[j].halves) return;
    on_threads(space, [&](Scratch scratch, int first, int last) {
        HiddenForward work(*this, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    finish(program.halves_of(program.states[j]), pixels);
}

inline void Forward::run() const {
    if (head.preprocess) preprocess();
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
        for (int j = 0; j < 2; j++) {
            Scratch reused = scratch;
            SourceForward work(*this, j, reused);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
    for (int j = 0; j < 2; j++) finish_sources(j);
    for (int j = 0; j < 2; j++) hidden(j);
    for (int node = 0; node < head.nodes; node++) {
        bool last_node = node + 1 == head.nodes;
        on_threads(space, [&](Scratch scratch, int first, int last) {
            NodeForward sum(*this, node, scratch);
            if (last_node) return each_image(*this, first, last, [&](int v, int n) { sum.image(v, n); });
            SourceForward work(*this, node + 2, scratch);
            each_image(*this, first, last, [&](int v, int n) {
                sum.image(v, n);
                work.image(v, n);
            });
        });
        if (last_node) break;
        finish_sources(node + 2);
        hidden(node + 2);
    }
}

inline void run_forward(const Pool& pool, const Program& program, const CellInputs& in, bool replay,
                        const CellSaved& saved, float* out) {
    Workspace space;
    Forward forward{{pool, program, in, saved, out}, space, replay, out};
    size_t partial = size_t(in.V) * in.N * program.head.norms;
    space.scratch_floats = scratch_floats<PreprocessForward, SourceForward, HiddenForward, NodeForward>(forward);
    const Block block(forward.threads() * space.scratch_floats + 2 * partial);
    space.scratch = block.memory;
    space.partial[0] = block.memory + forward.threads() * space.scratch_floats;
    space.partial[1] = space.partial[0] + partial;
    forward.run();
}

ISA_NAMESPACE_END
