# Builds build/<configuration>/ict and runs tests, benchmarks, ablations, tables and figures.  `make help` lists targets.
#
# Every combination of switches has a folder of its own, so that changing one never mixes objects; a changed compiler,
# flag or library rebuilds because each folder remembers its flags. build/ict points to the program built last.
# A library that is missing is installed by scripts/setup before anything is compiled.

CUDA   ?= auto
ONEDNN ?= auto
SAN    ?= 0
STATIC ?= 0
DEBUG  ?= 0
ARCH   ?= $(if $(filter 1,$(STATIC) $(FUZZER)),x86-64-v3,native)
SCALE  ?= desk
TESTS  ?=
FUZZER := $(if $(filter fuzz,$(MAKECMDGOALS)),1,0)
ARGS   ?=
CUDA_ARCH ?= 80 86 89 90

SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
ifeq ($(origin CC),default)
CC := gcc
endif
# `make fuzz` is a configuration of its own, with clang.
ifeq ($(FUZZER),1)
ifneq ($(MAKECMDGOALS),fuzz)
$(error `make fuzz` goes alone, without other targets)
endif
override CUDA := 0
override ONEDNN := 0
CC := $(shell for c in clang clang-{21..14}; do command -v $$c && break; done)
ifeq ($(CC),)
$(error fuzzing needs clang with libFuzzer: apt-get install clang libclang-rt-dev libomp-dev)
endif
endif
comma := ,
hash := \#
.DEFAULT_GOAL := build
.SECONDARY:
.DELETE_ON_ERROR:

# ------------------------------------------------------------------------------------------------ libraries
# Targets that compile need the libraries before make can ask pkg-config about them: set up while parsing.

COMPILING := $(filter-out help clean lint,$(or $(MAKECMDGOALS),build))
ifneq ($(COMPILING),)
ifneq ($(shell scripts/setup --check >/dev/null 2>&1 && echo yes),yes)
ifneq ($(shell scripts/setup 1>&2 && echo yes),yes)
$(error libraries are missing; see the message of scripts/setup above)
endif
endif
LIBRARIES := yaml-0.1 sqlite3 zlib libpng libjpeg libzip libcjson nettle $(shell pkg-config --exists lapacke && echo lapacke) openblas
LIB_CFLAGS := $(shell pkg-config --cflags $(LIBRARIES))
endif

# found(headers to include, more flags): "yes" when a program that includes them compiles
found = $(shell for header in $(1); do echo "$(hash)include <$$header>"; done | $(CC) $(CPPFLAGS) $(2) -fsyntax-only -xc - 2>/dev/null && echo yes)

ifneq ($(COMPILING),)
DNNL_ARCHIVE := $(wildcard $(addsuffix /libdnnl.a,/usr/lib /usr/lib/x86_64-linux-gnu /usr/local/lib $(CONDA_PREFIX)/lib))
ifeq ($(ONEDNN),auto)
ifeq ($(STATIC),1)
override ONEDNN := $(if $(DNNL_ARCHIVE),1,0)
else
override ONEDNN := $(if $(call found,oneapi/dnnl/dnnl.h),1,0)
endif
endif

CUDA_SOURCES := $(wildcard core/backend/cuda/*.cu)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc)))
ifeq ($(CUDA),auto)
override CUDA := $(if $(and $(CUDA_SOURCES),$(CUDA_HOME),$(wildcard /dev/nvidia[0-9]*)),1,0)
endif
ifeq ($(CUDA),1)
ifeq ($(CUDA_SOURCES),)
$(error CUDA=1, but core/backend/cuda holds no sources: build without CUDA=1)
endif
ifeq ($(CUDA_HOME),)
$(error CUDA=1, but no nvcc: install the CUDA toolkit (environment.yml has it) or set CUDA_HOME)
endif
endif
endif

# ------------------------------------------------------------------------------------------------ flags
# -ffp-contract=off (nvcc: --fmad=false): a product and a sum are fused only where the source says fmaf(). So optimised, sanitized and debug builds
#   of our own loops agree to the last bit, on any processor, and a kernel can be compared with its plain statement.
# -fno-math-errno -fno-trapping-math: nobody here reads errno or the floating-point flags after sqrtf(); without the two, loops
#   that contain it do not vectorise. Neither changes a value (this is not -ffast-math, which is not used).

CONFIG := $(if $(filter 1,$(FUZZER)),fuzz,$(if $(filter 1,$(CUDA)),cuda,cpu))-$(ARCH)$(if $(filter 0,$(ONEDNN)),-portable)$(if $(filter 1,$(STATIC)),-static)$(if $(filter 1,$(SAN)),-san)$(if $(filter 1,$(DEBUG)),-debug)
B := build/$(CONFIG)

WARNINGS := -Wall -Wextra -Werror
OPTIMISE := $(if $(filter 1,$(DEBUG)),-Og -g3,$(if $(filter 1,$(SAN)),-O1 -g,-O3 -g))
SANITIZE := $(if $(filter 1,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
# Fuzzers: clang's instrumentation, one thread, and no warnings, because gcc is the compiler that judges. Without OpenMP its version,
# which provenance states, is 0.
ifeq ($(FUZZER),1)
WARNINGS := -w
OPTIMISE := -O1 -g
SANITIZE := -fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
INSTRUMENT := -fsanitize=fuzzer-no-link -DICT_LIBFUZZER=1 -D_OPENMP=0
else
OPENMP := -fopenmp
endif
DEFINES  := $(if $(filter 1,$(ONEDNN)),-DICT_ONEDNN=1) $(if $(filter 1,$(CUDA)),-DICT_CUDA=1) -DICT_CONFIGURATION='"$(CONFIG)"'
PACKED = $(shell $(CUDA_HOME)/bin/nvcc --help 2>/dev/null | grep -q -- --compress-mode && echo --compress-mode=size)
SECTIONS := $(if $(filter 1,$(STATIC)),-ffunction-sections -fdata-sections)
ALL_CFLAGS := $(CPPFLAGS) -Icore -I. $(CFLAGS) -std=gnu11 $(OPTIMISE) -march=$(ARCH) $(OPENMP) -ffp-contract=off \
	-fno-math-errno -fno-trapping-math $(WARNINGS) $(SANITIZE) $(INSTRUMENT) $(SECTIONS) $(DEFINES) $(LIB_CFLAGS) \
	$(if $(filter 1,$(CUDA)),-isystem $(CUDA_HOME)/include)
ALL_NVCCFLAGS := -std=c++17 -O3 $(if $(filter 1,$(STATIC)),$(PACKED),-lineinfo) --fmad=false -Icore -I. $(DEFINES) -Xcompiler "-fopenmp -Wall -Wextra -march=$(ARCH)" \
	$(foreach a,$(CUDA_ARCH:90=90a),-gencode arch=compute_$(a),code=sm_$(a)) \
	-gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))

# STATIC=1: everything that exists as an archive is linked in; what Debian has only as a shared library (libzip, cJSON) is
# copied, with what it needs itself, into lib/ beside the program, which looks there first (rpath, not runpath, because only
# that holds for the libraries' own libraries). The folder then runs on any machine with glibc and libgomp. oneDNN is left
# out unless asked for or an archive: the CPU is not what such a program is carried elsewhere for.
#
# To be carried it is kept small. Debian's OpenBLAS has kernels for seventeen processors, 25 MB of them; a program compiled for
# x86-64-v3 runs only where the Haswell ones do, so the other names of the table are tied to those, and the linker leaves the
# rest in the archive. Unused functions go, and debugging information, the kernels' line numbers too; cubins are packed.
ifneq ($(COMPILING),)
ifeq ($(STATIC),1)
ONE_PROCESSOR := $(if $(filter x86-64-v3 x86-64-v4,$(ARCH)),$(shell nm "$$($(CC) -print-file-name=libopenblas.a)" 2>/dev/null | \
	sed -nE 's/^ +U (gotoblas_[A-Z0-9_]+)$$/\1/p' | sort -u | grep -v '^gotoblas_HASWELL$$' | sed 's/.*/-Wl,--defsym=&=gotoblas_HASWELL/'))
LDLIBS := -Wl,--gc-sections -s $(ONE_PROCESSOR) -Wl,-Bstatic -lyaml -lsqlite3 -lpng16 -ljpeg -lnettle -llapacke -lopenblas -lgfortran -lquadmath \
	-Wl,-Bdynamic $(if $(filter 1,$(ONEDNN)),$(or $(DNNL_ARCHIVE),-ldnnl) -lstdc++) -lzip -lcjson -Wl,-Bstatic -lz -Wl,-Bdynamic \
	-Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib' -ldl -lpthread -lm
else
LDLIBS := $(shell pkg-config --libs $(LIBRARIES)) $(if $(filter 1,$(ONEDNN)),-ldnnl) -lm
endif
ifeq ($(CUDA),1)
LDLIBS += -L$(CUDA_HOME)/lib64 -lcudnn_graph -lcublasLt -lcublas -lcudart_static -lstdc++ -ldl -lrt -lpthread
endif
endif

# ------------------------------------------------------------------------------------------------ what is built

MAIN     := core/command/main.c
SOURCES  := $(sort $(filter-out $(MAIN),$(wildcard core/*/*.c core/backend/cpu/*.c eval/*.c)) \
	$(if $(filter 1,$(CUDA)),$(CUDA_SOURCES) $(wildcard core/backend/cuda/*.c)))
OBJECTS  := $(SOURCES:%=$B/%.o)
UNIT     := $(sort $(wildcard tests/*/test_*.c))
FUZZERS  := $(patsubst %.c,$B/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# Our CUDA kernels on the processor (tests/emulate): the parity tests of single ops, where no card's program is built and
# the compiler knows C++.
EMULATED := $(if $(filter 000yes,$(CUDA)$(STATIC)$(FUZZER)$(shell echo | $(CC) -fsyntax-only -xc++ - 2>/dev/null && echo yes)),ops products attention step choice)
EMULATED_SOURCES := $(filter-out %/conv_parts.cu,$(CUDA_SOURCES)) $(addprefix core/backend/,device.c $(addprefix cuda/,ops.c conv.c linear.c product.c product_search.c)) \
	$(wildcard tests/emulate/*.c tests/emulate/*.cc)
EMULATED_OBJECTS := $(EMULATED_SOURCES:%=$B/emulated/%.o)
PROGRAMS := $(UNIT:%.c=$B/%) $(FUZZERS) $(EMULATED:%=$B/emulated/test_cuda_%)
FEATURES := $(if $(filter 1,$(ONEDNN)),✓ oneDNN,✗ oneDNN: portable convolutions, slower in narrow layers → install libdnnl-dev, do not set ONEDNN=0)
FEATURES_CUDA := $(if $(filter 1,$(CUDA)),✓ CUDA ($(CUDA_HOME)),✗ CUDA: this build runs on the CPU → CUDA=1 on a machine with the CUDA toolkit)

.PHONY: build lib programs test fuzz lint bench ablations tables figures report clean help FORCE

build: $B/ict
	@ln -sfn $(CONFIG)/ict build/ict

lib: $B/libict.a

# Rewritten only when its content changes: everything that depends on it is then stale.
$B/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) | $(LDLIBS) | $(if $(filter 1,$(CUDA)),$(ALL_NVCCFLAGS)))' >$@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; printf '  %s\n' 'build $(CONFIG)'$(if $(filter 0,$(FUZZER)), '$(FEATURES)' '$(FEATURES_CUDA)'); fi

$B/objects: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(OBJECTS) >$@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi

$B/%.c.o: %.c $B/flags
	@mkdir -p $(@D)
	@echo "  cc  $<"
	@$(CC) $(ALL_CFLAGS) $(LATE_CFLAGS) -MMD -MP -c $< -o $@

# Has the tables of plans in it.
$B/core/backend/cuda/choices.c.o: $(wildcard core/backend/cuda/plans/*.txt)

$B/%.cu.o: %.cu $B/flags
	@mkdir -p $(@D)
	@echo "  nvcc $<"
	@$(CUDA_HOME)/bin/nvcc $(ALL_NVCCFLAGS) -MMD -MP -c $< -o $@

$B/libict.a: $(OBJECTS) $B/objects
	@rm -f $@ && ar rcs $@ $(OBJECTS)

$B/ict: $B/$(MAIN).o $B/libict.a
	@echo "  ld  $@"
	@$(CC) $(SANITIZE) -fopenmp $(LDFLAGS) $^ $(LDLIBS) -o $@
	@$(if $(filter 1,$(STATIC)),scripts/bundle_libraries $@)

$B/tests/%: $B/tests/%.c.o $B/libict.a
	@mkdir -p $(@D)
	@$(CC) $(SANITIZE) -fopenmp $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

# A launch kernel<<<...>>>(...) is not C++: it becomes operators (tests/emulate/cuda_runtime_api.h).
# UndefinedBehaviourSanitizer is left out, for it takes minutes to compile the templates.
EMULATED_CFLAGS := -Itests/emulate $(ALL_CFLAGS) -DICT_CUDA=1
EMULATED_CXXFLAGS := $(subst $(comma)undefined,,$(subst -O3,-O2,$(subst -std=gnu11,-std=gnu++17,$(EMULATED_CFLAGS)))) -fno-strict-aliasing

$B/emulated/%.cu.o: %.cu $B/flags
	@mkdir -p $(@D)
	@echo "  cc  $< (emulated)"
	@sed -e '1i #line 1 "$<"' -e 's/<<</ % Launch(/; s/>>>(/) % std::make_tuple(/; s/extern __shared__/extern __thread/' $< | \
		$(CC) $(EMULATED_CXXFLAGS) -w -MMD -MP -MT $@ -MF $(@:.o=.d) -x c++ -c - -o $@

$B/emulated/%.cc.o: %.cc $B/flags
	@mkdir -p $(@D)
	@$(CC) $(EMULATED_CXXFLAGS) -MMD -MP -x c++ -c $< -o $@

$B/emulated/%.c.o: %.c $B/flags
	@mkdir -p $(@D)
	@$(CC) $(EMULATED_CFLAGS) -MMD -MP -c $< -o $@

$B/emulated/test_%: $B/tests/parity/test_%.c.o $(EMULATED_OBJECTS) $B/libict.a
	@$(CC) $(SANITIZE) -fopenmp $(LDFLAGS) $^ $(LDLIBS) -lstdc++ -lcmocka -o $@

# Nearest names take most of a run's time when each step of comparing letters is recorded; there is nothing to discover in it.
ifeq ($(FUZZER),1)
$B/core/base/text.c.o: LATE_CFLAGS := -fno-sanitize=fuzzer-no-link
endif

# A fuzz target with libFuzzer's main, or with ours, which replays seeds.
FUZZ_PARTS := tests/fuzz/fuzz.c $(if $(filter 1,$(FUZZER)),tests/fuzz/repair.c,tests/fuzz/replay.c)
$B/tests/fuzz/fuzz_%: $B/tests/fuzz/fuzz_%.c.o $(FUZZ_PARTS:%=$B/%.o) $B/libict.a
	@$(CC) $(SANITIZE) $(if $(filter 1,$(FUZZER)),-fsanitize=fuzzer --driver-mode=g++ -static-libstdc++ -static-libgcc,-fopenmp) $(LDFLAGS) $^ $(LDLIBS) $(if $(filter 1,$(FUZZER)),-lgomp) -o $@

fuzz: $(FUZZERS)
	@$(if $(filter 1,$(STATIC)),scripts/bundle_libraries $(firstword $(FUZZERS)))
	@ln -sfn $(CONFIG)/tests/fuzz build/fuzzers

-include $(shell find $B -name '*.d' 2>/dev/null)

# ------------------------------------------------------------------------------------------------ tests and checks

programs: $(PROGRAMS)

test: $B/ict programs
	@ICT=$B/ict scripts/run_tests "$(TESTS)" $(PROGRAMS) $(sort $(wildcard tests/cli/*.sh))

lint:
	@scripts/lint

bench: build
	@scripts/bench $(ARGS)

# ------------------------------------------------------------------------------------------------ questions and answers

ABLATIONS := $(patsubst ablations/%.yaml,%,$(sort $(wildcard ablations/*.yaml)))

# Tiny networks on a CPU do not fill several threads: one run a processor is faster. At scale smoke one seed is enough.
SIDE_BY_SIDE := $(if $(filter smoke desk,$(SCALE)),$(if $(findstring cuda,$(ARGS)),,--jobs $(shell nproc) --threads 1))
SEEDS := $(if $(filter smoke,$(SCALE)),$(if $(findstring seed=,$(ARGS)),,seed=0))
ANSWERS := table ablation table verdict figure arms figure bars figure loss figure samples_arms

# What some questions end with besides: distances cost different times and clip differently (figures 2b, 2c and 6b); two judges.
more_answers = case $$name in \
	loss*) set -- "$$@" figure arms_time figure update_norm ;; judges) set -- "$$@" table judges figure flattery ;; esac

# ask(names): the runs (those that are finished are skipped), then tables and figures of what there is, also when a run failed: one that
# cannot be given does not keep the others back. All in one queue, so that seed 0 of all of them comes first and a training that two
# questions share is done once.
ask = ./run $(1:%=ablations/%.yaml) --scale $(SCALE) $(SIDE_BY_SIDE) $(SEEDS) $(ARGS); code=$$?; [ $$code != 2 ] || exit 2; \
	for name in $(1); do set -- $(ANSWERS); $(more_answers); while [ $$\# -gt 0 ]; do \
	$B/ict $$1 $$2 experiment=$$name scale=$(SCALE) || [ $$code != 0 ] || code=1; shift 2; done; done; exit $$code

ablation-%: ablations/%.yaml build
	@$(call ask,$*)

ablations: build
	@$(call ask,$(ABLATIONS))

tables: build
	./run table all

figures: build
	./run figure all

report: build
	./run report

clean:
	rm -rf build

help:
	@echo "make                 build the program (build/ict); installs missing libraries first"
	@echo "make test            unit, gradient, golden, parity and command-line tests; TESTS=pattern for some"
	@echo "make test SAN=1      the same under AddressSanitizer and UndefinedBehaviourSanitizer"
	@echo "make fuzz            the fuzz targets, for scripts/fuzz; needs clang; STATIC=1 to carry them elsewhere"
	@echo "make lint            formatting, static analysis, include order, lengths of functions and files"
	@echo "make bench           rates of training and sampling, beside PyTorch where it is installed"
	@echo "make ablation-NAME   runs, table and figure of one question; SCALE=smoke|desk|hour|paper, ARGS=\"seed=0\""
	@echo "make ablations       all of them: $(ABLATIONS)"
	@echo "make tables figures report   answers from results/ict.db"
	@echo "make clean           removes build/"
	@echo
	@echo "switches             CUDA=0|1  ONEDNN=0|1  SAN=1  DEBUG=1  STATIC=1 (portable folder)  ARCH=native"
