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

.PHONY: search test bench gpu lint environment sanitize gates resources simulate

search: environment
	$(RUN) -m sgl_fast.search --space pc_darts --data embedded --out runs/search $(SEARCH)

test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest $(PARALLEL)
	OMP_NUM_THREADS=1 $(RUN) -m pytest bench --short --benchmark-only --benchmark-columns=median

# Every row, then the report; a ratio below its limit fails after the report is written. BENCH="--threads 1" and so on.
bench: environment
	mkdir -p build
	$(RUN) -m pytest bench --benchmark-only --benchmark-columns=median --benchmark-json=build/bench.json $(BENCH); \
		status=$$?; $(RUN) -m bench.report build/bench.json && exit $$status

lint: environment
	$(VENV)/bin/ruff check sgl_fast kernels tests bench docs
	$(VENV)/bin/mypy

environment: $(BUILT)

$(READY): pyproject.toml setup.py
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "setuptools>=77" wheel ninja $(TORCH)
	SGL_FAST_NO_EXT=1 $(VENV)/bin/pip install --quiet --no-build-isolation --editable ".[test]"
	touch $@

$(BUILT): $(READY) $(KERNELS) $(CUDA_KERNELS) csrc/bindings.cpp $(wildcard csrc/bindings/*)
	mkdir -p build
	$(RUN) setup.py --quiet build_ext --inplace > build/build.log 2>&1 || { cat build/build.log; exit 1; }
	@grep "^sgl_fast: " build/build.log || true
	touch $@

# Everything worth knowing of a GPU, in at most ten minutes, into bench/results: build, tests, timings, profile, tools. It
# needs an environment with torch and pytest, which PYTHON names; GPU="--half first", "--half second" and so on.
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
	$(PYTHON) csrc/tests/resources.py $(CUDA12) $(RESOURCES)
	$(RUN) tests/triton_resources.py $(RESOURCES)

$(CUDA12)/.ready:
	$(PYTHON) -m pip install --quiet --no-deps --target $(CUDA12) nvidia-cuda-nvrtc-cu12==12.9.86 \
		nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-runtime-cu12==12.9.79 nvidia-cuda-cccl-cu12==12.9.27
	touch $@

# The kernels by simulated threads: every read and write watched, then every pair of threads.
simulate: $(SIMULATED:%=build/simulate/address/%) $(SIMULATED:%=build/simulate/thread/%)
	set -e; for program in $^; do echo $$program; $$program; done

SIMULATOR := csrc/tests/sim/cudasim.cpp
SIMULATE := $(CXX) -std=c++17 -O1 -g1 -Wall -Werror -Wno-psabi -Wno-unknown-pragmas -DCUDASIM

build/simulate/address/%: csrc/tests/%.cpp csrc/tests/check.h build/programs.h $(CUDA_KERNELS) $(SHARED) $(wildcard csrc/tests/sim/*)
	mkdir -p $(@D)
	$(SIMULATE) -fsanitize=address,undefined -fno-sanitize-recover=all $< $(SIMULATOR) csrc/program.cpp -o $@

build/simulate/thread/%: csrc/tests/%.cpp csrc/tests/check.h build/programs.h $(CUDA_KERNELS) $(SHARED) $(wildcard csrc/tests/sim/*)
	mkdir -p $(@D)
	$(SIMULATE) -DCUDASIM_TSAN -c $(SIMULATOR) -o $@.simulator.o
	$(SIMULATE) -fsanitize=thread $< $@.simulator.o csrc/program.cpp -o $@
