#pragma once

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <cstring>
#include <vector>

#include "../program.h"

namespace sgl_fast {

namespace py = pybind11;

// RuntimeError unless each row has the columns of Row.
template <class Row> std::vector<Row> rows_of(const std::vector<std::vector<int32_t>>& table) {
    constexpr size_t columns = sizeof(Row) / sizeof(int32_t);
    static_assert(sizeof(Row) == columns * sizeof(int32_t) && std::is_trivially_copyable<Row>::value,
                  "a row is its columns");
    std::vector<Row> rows(table.size());
    for (size_t i = 0; i < table.size(); i++) {
        TORCH_CHECK(table[i].size() == columns, "need rows of ", columns, " columns; got ", table[i].size());
        std::memcpy(&rows[i], table[i].data(), sizeof(Row));
    }
    return rows;
}

inline void bind_program(py::module_& m) {
    using Table = const std::vector<std::vector<int32_t>>&;
    py::class_<Program>(m, "Program", py::module_local())
        .def(py::init([](const std::vector<int32_t>& head, Table convs, Table pools, Table uses, Table edges,
                         Table out_edges, Table terms, Table states) {
            return Program({rows_of<rows::Head>({head})[0], rows_of<rows::Conv>(convs), rows_of<rows::Pool>(pools),
                            rows_of<rows::Use>(uses), rows_of<rows::Edge>(edges), rows_of<rows::Edge>(out_edges),
                            rows_of<rows::Term>(terms), rows_of<rows::State>(states)});
        }));
}

}  // namespace sgl_fast
