// The module sgl_fast._C, one for each Python: what is not a tensor, of the library of operators that all Pythons share.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <stdexcept>

#include "library.h"

namespace {

namespace py = pybind11;
using namespace sgl_fast;
using Table = std::vector<std::vector<int32_t>>;

// std::runtime_error unless each row has the columns of Row.
template <class Row> std::vector<Row> rows_of(const Table& table) {
    constexpr size_t columns = sizeof(Row) / sizeof(int32_t);
    static_assert(sizeof(Row) == columns * sizeof(int32_t) && std::is_trivially_copyable<Row>::value,
                  "a row is its columns");
    std::vector<Row> rows(table.size());
    for (size_t i = 0; i < table.size(); i++) {
        if (table[i].size() != columns)
            throw std::runtime_error("need rows of " + std::to_string(columns) + " columns; got " +
                                     std::to_string(table[i].size()));
        std::memcpy(&rows[i], table[i].data(), sizeof(Row));
    }
    return rows;
}

int64_t program(const std::vector<int32_t>& head, const Table& convs, const Table& pools, const Table& uses,
                const Table& edges, const Table& out_edges, const Table& terms, const Table& states) {
    return number_of({rows_of<rows::Head>({head})[0], rows_of<rows::Conv>(convs), rows_of<rows::Pool>(pools),
                      rows_of<rows::Use>(uses), rows_of<rows::Edge>(edges), rows_of<rows::Edge>(out_edges),
                      rows_of<rows::Term>(terms), rows_of<rows::State>(states)});
}

void load(int device, const std::vector<py::bytes>& modules) {
    load_cuda(device, std::vector<std::string>(modules.begin(), modules.end()));
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.def("program", &program);
    m.def("isa", &instruction_set);
    py::module_ cuda = m.def_submodule("cuda");
    cuda.def("why_no_driver", &why_no_driver);
    cuda.def("load", &load);
    cuda.def("loaded", &cuda_loaded);
}
