// What the launches of a cell compute and ask of memory. ReLU patterns, pool codes, weights and statistics, a few percent, are
// left out.
#pragma once

#include <string>
#include <vector>

namespace sgl_fast {

// Bytes: asked, what threads load and store, again if they do so again; distinct, every place once, what is left of them where
// caches serve the rest of a launch.
struct Work {
    double flops = 0, asked = 0, distinct = 0;
    double products = 0;  // operations of tensor cores

    Work& operator+=(const Work& more) {
        flops += more.flops;
        asked += more.asked;
        distinct += more.distinct;
        products += more.products;
        return *this;
    }
};

// asked, distinct: floats of one image
inline Work work_of(double images, double flops, double asked, double distinct) {
    return {images * flops, 4 * images * asked, 4 * images * distinct};
}

// Rows of so many floats, each read and written that often in all, with some 10 operations.
inline Work row_work(double rows, double floats, double times) {
    return work_of(rows, 10 * floats, times * floats, times * floats);
}

// In place of a launch: what it would do, by how many blocks, each with that much dynamic shared memory.
struct Launch {
    std::string kernel;
    Work work;
    double blocks, shared;
};

struct Ledger {
    std::vector<Launch> launches;
};

}  // namespace sgl_fast
