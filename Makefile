# SPDX-License-Identifier: BSD-2-Clause
#
# Sources are found by wildcard: a new file in lib/, lib/queue-log/, test/unit/, test/fault/,
# test/stress/, examples/, examples/seckill/, its gateway/ or bench/ needs no line here. `make help`
# prints the lines that start with "#:".
#
#: Targets
#:   all             libconveyor.a and queue-log (this is what plain `make` does)
#:   demo            the flash sale: installs what is missing, builds it, runs it; and one whose
#:                   shop is killed and loses nothing
#:   demo-http       the same behind HTTP, under a load that wrk makes, with a page that shows it
#:   check           every test there is: installs what is missing, builds all variants, runs them
#:   check-unit      the unit tests of one build
#:   check-fault     the fault tests of one build: what fails below the library, and misuse
#:   check-stress    the stress programs of one build, $(SECONDS_EACH) seconds each
#:   check-STEP      one step of `check`: gcc clang address thread aarch64 programs service progress
#:                   litmus instructions headers install man; and c11, which is not part of it
#:   progress        test/progress/stop_anywhere, which stops threads everywhere in a call; with
#:                   --help it says more. check-progress runs a part of it
#:   check-model     check-litmus, and has spin check a model of the ring; ten minutes, and not
#:                   part of `check`
#:   explore         litmus programs and the library under all orders that weak memory allows
#:   explore-soak    the same at length, and the litmus programs on this machine
#:   coverage        what of lib/ and include/ the tests reach, line by line; a few minutes, and not
#:                   part of `check`
#:   fuzz            has libFuzzer look for files that a log cannot bear, for SECONDS; by clang
#:   check-mutation  breaks the library in hundreds of places, one after the other, and shows which
#:                   test notices; long, and not part of `check`
#:   soak            all of this at length: stress programs for SECONDS, and fault tests, under
#:                   each sanitizer, flash sales that are killed, every stop, the models, the
#:                   mutants, the coverage
#:   lint            the formatter, static analyzers, manual page and shell checkers
#:   man             the manual pages as HTML, below $(BUILD)/man
#:   examples        the example programs, below $(BUILD)/examples
#:   bench           builds queue-bench and runs `queue-bench report $(BENCH_ARGS)`, about a minute
#:   bench-peers     installs the packages of the queues and databases it compares with
#:   install         headers, archive, conveyor.pc, queue-log, queue-bench and manual pages, below
#:                   $(DESTDIR)$(prefix)
#:   uninstall       takes away what install put there
#:   dist            $(BUILD)/conveyor-VERSION.tar.gz, from the last commit
#:   clean           removes $(BUILD)
#:   help            this list
#:
#: Variables
#:   CC              the compiler: gcc, clang or a cross compiler for aarch64
#:   CFLAGS          optimization and debugging; -O2 -g
#:   SANITIZE        address,undefined or thread
#:   ATOMICS         ck (Concurrency Kit, where it can be used) or c11 (compiler builtins)
#:   BUILD           the directory for all output; build. What is built with SANITIZE or ATOMICS
#:                   is below it: build/address-undefined, build/thread, build/c11
#:   DEPS            no: a missing Debian package is an error instead of being installed
#:   RUN             a command that test programs are run with, such as an emulator
#:   SECONDS_EACH    how long each stress program runs; 2, or 0.2 for coverage
#:   SECONDS         how long the stress programs run in soak, in all, and fuzz; 3600
#:   SOAK            what soak does; stress large fault fuzz durable progress model mutation
#:                   coverage
#:   MUTATION_ARGS   arguments for check-mutation, such as --only 'ring/*'; --help says which
#:   DEMO_ARGS       further arguments for the flash sale, and no second one then
#:   DEMO_HTTP_ARGS  arguments for demo-http, such as --stay; with --help it says which there are
#:   BENCH_ARGS      arguments for the report; --quick
#:   BENCH_CFLAGS    what all of queue-bench is compiled with; -O3 -march=native
#:   PEERS           no: queue-bench without other libraries' queues
#:   LEAVE_OUT       tests that are not built, such as test/unit/bench_%
#:   V               1: show the commands
#:   prefix exec_prefix bindir libdir includedir mandir DESTDIR   where install puts things; /usr/local

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

BUILD ?= build
CFLAGS ?= -O2 -g
SANITIZE ?=
ATOMICS ?= $(DEFAULT_ATOMICS)
DEPS ?= yes
RUN ?=
SECONDS_EACH ?= 2
SECONDS ?= 3600
SOAK ?= stress large fault fuzz durable progress model mutation coverage
MUTATION_ARGS ?=
DEMO_ARGS ?=
DEMO_HTTP_ARGS ?=
BENCH_ARGS ?= --quick
BENCH_CFLAGS ?= -O3 -march=native
PEERS ?= yes
V ?= 0

prefix ?= /usr/local
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
DESTDIR ?=

# ---- The machine and the ways of building -----------------------------------------------------

comma := ,
HOST := $(shell uname -m)
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
CROSS := $(filter-out $(HOST),$(ARCH))

# The sanitizers cannot see into Concurrency Kit's assembly, which is not for aarch64 anyway.
C11_ONLY := $(findstring thread,$(SANITIZE))$(findstring address,$(SANITIZE))
C11_ONLY := $(C11_ONLY)$(filter-out x86_64,$(ARCH))
DEFAULT_ATOMICS := $(if $(C11_ONLY),c11,ck)

ifneq ($(filter-out ck c11,$(ATOMICS)),)
$(error ATOMICS is "$(ATOMICS)"; it can be ck or c11)
endif
ifneq ($(filter-out yes no,$(DEPS)),)
$(error DEPS is "$(DEPS)"; it can be yes or no)
endif
ifneq ($(filter-out address undefined thread,$(subst $(comma), ,$(SANITIZE))),)
$(error SANITIZE is "$(SANITIZE)"; it can be address,undefined or thread)
endif
ifneq ($(filter-out yes no,$(PEERS)),)
$(error PEERS is "$(PEERS)"; it can be yes or no)
endif
ifneq ($(words $(BUILD)),1)
$(error BUILD is "$(BUILD)"; it must be one directory, without blanks)
endif
ifneq ($(filter $(abspath $(BUILD)),/ $(CURDIR) $(abspath $(CURDIR)/..)),)
$(error BUILD is "$(BUILD)"; it must be a directory of its own)
endif

# The plain build is in $(BUILD) itself, each other one in a directory below. The file `flags` there
# makes everything be built again when the compiler or a flag changes, so builds never mix.
VARIANT := $(subst $(comma),-,$(SANITIZE)) $(filter-out $(DEFAULT_ATOMICS),$(ATOMICS))
OUT := $(BUILD)$(subst $() ,,$(patsubst %,/%,$(VARIANT)))

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wpedantic
BACK_END := $(if $(filter c11,$(ATOMICS)),-DQUEUE_ATOMICS_C11,-DQUEUE_ATOMICS_CK)
MACHINE := $(if $(filter x86_64,$(ARCH)),-mcx16)
SANITIZER := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) \
	$(if $(findstring undefined,$(SANITIZE)),-fno-sanitize-recover=all)
OWN_CFLAGS := -std=c11 $(WARNINGS) -D_GNU_SOURCE $(BACK_END)
OWN_CFLAGS := $(strip $(OWN_CFLAGS) $(MACHINE) -pthread $(SANITIZER))
OWN_LDFLAGS := $(strip -pthread $(SANITIZER))

# The archiver that belongs to the compiler.
ifeq ($(origin AR),default)
AR := $(or $(shell $(CC) -print-prog-name=ar 2>/dev/null),ar)
endif

# Criterion runs neither under ThreadSanitizer nor in an emulator: there test/support/stand_in.h. So
# it is under AddressSanitizer, where Criterion takes twice as long.
STAND_IN := $(SANITIZE)$(CROSS)

# ThreadSanitizer wants an address space that is not randomized.
ifeq ($(SANITIZE)$(RUN),thread)
RUN := $(shell setarch -R true 2>/dev/null && echo setarch -R)
endif

# Through a variable: whether \# in a function's arguments keeps its backslash depends on the make.
hash := \#
have_header = $(if $(CROSS),,$(shell echo '$(hash)include <$(1)>' | \
	$(CC) -E -x c -o /dev/null - 2>/dev/null && echo yes))
HAVE_JEMALLOC := $(call have_header,jemalloc/jemalloc.h)
HAVE_SQLITE := $(call have_header,sqlite3.h)
HAVE_MICROHTTPD := $(call have_header,microhttpd.h)

# ---- What there is to build -------------------------------------------------------------------

VERSION := $(shell sed -n 's/^\#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)

HEADERS := $(wildcard include/conveyor.h include/conveyor/*.h include/conveyor/impl/*.h)
MAN_PAGES := $(wildcard man/*.[1-9])
LIB_SOURCES := $(filter-out $(if $(HAVE_JEMALLOC),,lib/alloc_jemalloc.c),$(wildcard lib/*.c))
# The program that looks at logs and mends them.
QUEUE_LOG_SOURCES := $(wildcard lib/queue-log/*.c)
SUPPORT_SOURCES := $(wildcard test/support/*.c)
ACCESSES_SOURCES := $(wildcard test/support/accesses/*.c)
# When crossing, what asks for more libraries is left out: they are those of this machine.
MORE_LIBS := $(if $(CROSS),$(shell grep -ls '^/\* LIBS:.*-l' test/unit/*.c test/fault/*.c test/stress/*.c))
UNIT_SOURCES := $(filter-out $(MORE_LIBS) $(LEAVE_OUT),$(wildcard test/unit/*.c))
FAULT_SOURCES := $(filter-out $(MORE_LIBS) $(LEAVE_OUT),$(wildcard test/fault/*.c))
STRESS_SOURCES := $(filter-out $(MORE_LIBS) $(LEAVE_OUT),$(wildcard test/stress/*.c))
FUZZ_SOURCES := $(wildcard test/fuzz/*.c)
# Points before memory accesses are made in a sanitizer's name: by a compiler that comes with its
# header, which Debian's clang alone does not, and not beside a real one.
ACCESSES_CAN := $(if $(SANITIZE)$(CROSS),,$(call have_header,sanitizer/tsan_interface.h))
STRESS_SOURCES := $(filter-out $(if $(ACCESSES_CAN),,test/stress/linearizable_accesses.c), \
	$(STRESS_SOURCES))
EXAMPLE_SOURCES := $(filter-out $(if $(HAVE_SQLITE),,examples/transaction.c), \
	$(wildcard examples/*.c))
SECKILL_SOURCES := $(if $(and $(HAVE_SQLITE),$(HAVE_JEMALLOC)),$(wildcard examples/seckill/*.c))
# The same sale behind HTTP, where there is a library for that, and what it shares with the other.
GATEWAY_SOURCES := $(if $(and $(HAVE_MICROHTTPD),$(SECKILL_SOURCES)), \
	$(wildcard examples/seckill/gateway/*.c))
GATEWAY_SHARED := $(patsubst %,examples/seckill/%.c,arguments monitor reconcile sale store \
	temporary text)
BENCH_SOURCES := $(wildcard bench/*.c)
# What of the bench has no measurement in it, and is tested like the library.
BENCH_LOGIC := $(patsubst %,bench/%.c,histogram options place result schedule statistics subject)

objects = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
programs = $(patsubst %.c,$(OUT)/%,$(1))

LIB := $(OUT)/libconveyor.a
QUEUE_LOG := $(OUT)/queue-log
UNIT := $(call programs,$(UNIT_SOURCES))
FAULT := $(call programs,$(FAULT_SOURCES))
STRESS := $(call programs,$(STRESS_SOURCES))
# These go through what fuzzers have found, and take part in the unit tests.
FUZZ := $(call programs,$(FUZZ_SOURCES))
EXAMPLES := $(call programs,$(EXAMPLE_SOURCES))
SECKILL := $(if $(SECKILL_SOURCES),$(OUT)/examples/seckill)
GATEWAY := $(if $(GATEWAY_SOURCES),$(OUT)/examples/seckill-gateway)
BENCH := $(if $(CROSS),,$(OUT)/bench/queue-bench)

.PHONY: all unit fault stress examples programs
all: $(LIB) $(QUEUE_LOG)
unit: $(UNIT) $(FUZZ)
fault: $(FAULT)
stress: $(STRESS)
examples: $(EXAMPLES) $(SECKILL) $(GATEWAY)
	$(if $(SECKILL),,@echo '  --  seckill is left out: it needs libsqlite3-dev and libjemalloc-dev')
	$(if $(GATEWAY),,@echo '  --  seckill-gateway is left out: it needs libmicrohttpd-dev as well')
programs: all unit fault stress examples $(BENCH)

# ---- How it is built --------------------------------------------------------------------------

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@echo '  $(1)  $(2)')

TEST_SOURCES := $(SUPPORT_SOURCES) $(UNIT_SOURCES) $(FAULT_SOURCES) $(STRESS_SOURCES)
TEST_SOURCES += $(FUZZ_SOURCES)
SOURCES := $(LIB_SOURCES) $(TEST_SOURCES) $(EXAMPLE_SOURCES) $(SECKILL_SOURCES) $(BENCH_LOGIC)
SOURCES += $(GATEWAY_SOURCES) $(QUEUE_LOG_SOURCES)

$(call objects,$(LIB_SOURCES)): OWN_CFLAGS += -Ilib
$(call objects,$(TEST_SOURCES)): OWN_CFLAGS += -Ilib -Itest/support
$(call objects,$(TEST_SOURCES)): OWN_CFLAGS += $(if $(STAND_IN),-DUNIT_STAND_IN)

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(OWN_CFLAGS) -Iinclude $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Made anew each time, so that it keeps no member whose source is gone.
$(LIB): $(call objects,$(LIB_SOURCES))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define link
@mkdir -p $(@D)
$(call say,LD,$@)
$(Q)$(CC) $(OWN_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB)
endef

# A program of one source file asks for further libraries in a line of its own: /* LIBS: -lfoo */
extra_libs = $$(sed -n 's,^/\* LIBS: \(.*\) \*/$$,\1,p' $(@:$(OUT)/%=%.c))

$(filter $(OUT)/test/unit/bench_%,$(UNIT)): $(call objects,$(BENCH_LOGIC))
$(call objects,$(filter test/unit/bench_%,$(UNIT_SOURCES))): OWN_CFLAGS += -Ibench

$(UNIT) $(FAULT) $(STRESS) $(FUZZ): $(OUT)/%: $(OUT)/obj/%.o $(call objects,$(SUPPORT_SOURCES)) $(LIB)
	$(link) $(extra_libs) $(if $(STAND_IN),,$(if $(filter $(UNIT) $(FAULT),$@),-lcriterion))

# The linearizability programs stop threads in the middle of calls: they, and libraries of their
# own, are compiled with points at which that can be done (test/support/preempt.h): before each
# basic block, or before each memory access, for which the compiler believes that it builds for
# ThreadSanitizer.
POINTS := -fsanitize-coverage=trace-pc
ACCESSES := -fsanitize=thread
POINTS_OBJECTS := $(patsubst %.c,$(OUT)/points/%.o,$(LIB_SOURCES))
ACCESSES_OBJECTS := $(patsubst %.c,$(OUT)/accesses/%.o,$(LIB_SOURCES))

$(OUT)/points/libconveyor.a: $(POINTS_OBJECTS)
$(OUT)/accesses/libconveyor.a: $(ACCESSES_OBJECTS)
$(OUT)/points/libconveyor.a $(OUT)/accesses/libconveyor.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define with-points
@mkdir -p $(@D)
$(call say,CC,$<)
$(Q)$(CC) $(OWN_CFLAGS) $(1) -Iinclude -Ilib $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
endef

$(OUT)/points/%.o: %.c $(OUT)/flags
	$(call with-points,$(POINTS))
$(OUT)/accesses/%.o: %.c $(OUT)/flags
	$(call with-points,$(ACCESSES))

$(call objects,test/stress/linearizable.c): OWN_CFLAGS += $(POINTS)
$(OUT)/test/stress/linearizable: $(OUT)/points/libconveyor.a
$(OUT)/test/stress/linearizable: private LIB := $(OUT)/points/libconveyor.a
$(call objects,test/stress/linearizable_accesses.c): OWN_CFLAGS += $(ACCESSES)
$(OUT)/test/stress/linearizable_accesses: $(OUT)/accesses/libconveyor.a
$(OUT)/test/stress/linearizable_accesses: private LIB := $(OUT)/accesses/libconveyor.a
$(OUT)/test/stress/linearizable_accesses: $(call objects,$(ACCESSES_SOURCES))

-include $(POINTS_OBJECTS:.o=.d) $(ACCESSES_OBJECTS:.o=.d)

$(QUEUE_LOG): $(call objects,$(QUEUE_LOG_SOURCES) bench/histogram.c) $(LIB)
	$(link)

$(EXAMPLES): $(OUT)/%: $(OUT)/obj/%.o $(LIB)
	$(link) $(extra_libs)

$(SECKILL): $(call objects,$(SECKILL_SOURCES)) $(LIB)
	$(link) -lsqlite3 -ljemalloc -lm

$(GATEWAY): $(call objects,$(GATEWAY_SOURCES) $(GATEWAY_SHARED)) $(LIB)
	$(link) -lmicrohttpd -lsqlite3 -ljemalloc -lm

# The page is part of the program; the compiler does not say so among what it has read.
$(call objects,examples/seckill/gateway/page.c): examples/seckill/gateway/page.html

# The bench: everything in it, the library and the peers that are there included, is compiled with
# the same flags, apart from what is in $(OUT)/obj.
HAVE_CXX := $(if $(CROSS),,$(shell command -v $(CXX) 2>/dev/null))
ADAPTERS := $(if $(CROSS),,$(shell bench/peers.sh $(if $(filter no,$(PEERS)),own,present) \
	'$(CC)' $(HAVE_CXX)))
ADAPTER_CFLAGS = $(shell bench/peers.sh cflags $<)
BENCH_LIB := $(OUT)/native/libconveyor.a
BENCH_LIB_OBJECTS := $(patsubst %.c,$(OUT)/native/%.o,$(LIB_SOURCES))
BENCH_OBJECTS := $(addprefix $(OUT)/native/,$(addsuffix .o,$(basename $(BENCH_SOURCES) $(ADAPTERS))))
BENCH_LINKER = $(if $(filter %.cc,$(ADAPTERS)),$(CXX),$(CC))

$(OUT)/native/lib/%.o: OWN_CFLAGS += -Ilib
$(OUT)/native/bench/result.o: OWN_CFLAGS += -DBENCH_FLAGS='"$(BENCH_CFLAGS)"' \
	-DBENCH_COMMIT='"$(COMMIT)"'
$(OUT)/native/bench/result.o: $(OUT)/native/commit

# A report says what it was made from.
COMMIT = $(shell git describe --always --dirty --abbrev=10 2>/dev/null)
$(OUT)/native/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' >$@

$(OUT)/native/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(OWN_CFLAGS) -Iinclude $(ADAPTER_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(BENCH_CFLAGS) \
		-MMD -MP -c -o $@ $<

$(OUT)/native/%.o: %.cc $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) -std=c++17 -Wall -Wextra $(filter-out -std=c11 $(WARNINGS),$(OWN_CFLAGS)) -Iinclude \
		$(ADAPTER_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(BENCH_CFLAGS) -MMD -MP -c -o $@ $<

# After the C library, which is to keep malloc for itself: see bench/alloc.c.
BENCH_JEMALLOC = $(if $(HAVE_JEMALLOC),$(OUT)/native/lib/alloc_jemalloc.o $(if $(filter %.cc,$(ADAPTERS)),-lstdc++) \
	-Wl$(comma)-lc -ljemalloc)

$(BENCH_LIB): $(BENCH_LIB_OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BENCH): $(BENCH_OBJECTS) $(BENCH_LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(BENCH_LINKER) $(OWN_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(BENCH_OBJECTS) $(BENCH_LIB) \
		$(shell bench/peers.sh libs $(ADAPTERS)) -lm $(BENCH_JEMALLOC)

-include $(BENCH_OBJECTS:.o=.d) $(BENCH_LIB_OBJECTS:.o=.d)

# ---- Progress ---------------------------------------------------------------------------------

# Stops threads in the library as it is built for users, and in the queues that the bench compares
# with, through its adapters.
PROGRESS_SOURCES := $(wildcard test/progress/*.c)
PROGRESS_ADAPTERS := $(filter-out %/conveyor.c bench/stores/%,$(ADAPTERS))
PROGRESS_OBJECTS := $(call objects,$(PROGRESS_SOURCES) bench/subject.c) \
	$(addprefix $(OUT)/native/,$(addsuffix .o,$(basename $(PROGRESS_ADAPTERS))))
PROGRESS := $(if $(CROSS),,$(OUT)/test/progress/stop_anywhere)

.PHONY: progress
progress: $(PROGRESS)

$(PROGRESS): $(PROGRESS_OBJECTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(if $(filter %.cc,$(PROGRESS_ADAPTERS)),$(CXX),$(CC)) $(OWN_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ \
		$(PROGRESS_OBJECTS) $(LIB) $(shell bench/peers.sh libs $(PROGRESS_ADAPTERS)) -lm

-include $(PROGRESS_OBJECTS:.o=.d)

FLAGS := $(CC) $(OWN_CFLAGS) $(CPPFLAGS) $(CFLAGS) : $(OWN_LDFLAGS) $(LDFLAGS)
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

-include $(patsubst %.o,%.d,$(call objects,$(SOURCES) $(ACCESSES_SOURCES)))

# ---- Tests ------------------------------------------------------------------------------------

.PHONY: check-unit check-fault check-stress run-unit run-fault run-stress run-examples
check-unit: unit
	$(run-unit)
check-fault: fault
	$(run-fault)
check-stress: stress
	$(run-stress)

# For check.sh, which runs what could be built even when something could not.
run-unit:
	$(run-unit)
run-fault:
	$(run-fault)
run-stress:
	$(run-stress)
run-examples:
	@RUN='$(RUN)' test/support/run.sh example $(OUT) $(EXAMPLE_SOURCES)

define run-unit
@RUN='$(RUN)' test/support/run.sh unit $(OUT) $(UNIT_SOURCES) $(FUZZ_SOURCES)
endef
define run-fault
@RUN='$(RUN)' test/support/run.sh unit $(OUT) $(FAULT_SOURCES)
endef
define run-stress
@RUN='$(RUN)' SECONDS_EACH='$(SECONDS_EACH)' test/support/run.sh stress $(OUT) $(STRESS_SOURCES)
endef

# Both begin with the packages, before which nothing here can be known about the compiler; so what
# follows is a make of its own.
# Under another name, so that `make -n` does not take the scripts for a make and run them.
SUBMAKE := $(MAKE)

.PHONY: check demo run-demo demo-http run-demo-http
check:
	@test/support/deps.sh check $(DEPS)
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' test/support/check.sh all

demo:
	@test/support/deps.sh demo $(DEPS)
	@$(MAKE) --no-print-directory run-demo

run-demo: $(SECKILL)
	@examples/seckill/demo.sh $(SECKILL) $(DEMO_ARGS)

demo-http:
	@test/support/deps.sh demo-http $(DEPS)
	@$(MAKE) --no-print-directory run-demo-http

run-demo-http: $(GATEWAY)
	@CC='$(CC)' examples/seckill/gateway/demo.sh $(GATEWAY) $(DEMO_HTTP_ARGS)

STEPS := gcc clang c11 address thread aarch64 programs service progress litmus instructions \
	headers install man
.PHONY: $(STEPS:%=check-%) check-model lint
check-model:
	@test/support/deps.sh check-model $(DEPS)
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' test/support/check.sh model
$(STEPS:%=check-%): check-%:
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' test/support/check.sh $*
lint:
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' test/support/check.sh lint

# What `make check` does briefly, for SECONDS in all, and what takes minutes by itself.
.PHONY: soak
soak:
	@test/support/deps.sh soak $(DEPS)
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' SOAK_SECONDS='$(SECONDS)' test/support/soak.sh $(SOAK)

# With the sanitizers, and all sources at once: what libFuzzer measures has to be in all of them.
FUZZ_CC := clang
FUZZ_FLAGS := -std=c11 -O1 -g $(WARNINGS) -Werror -D_GNU_SOURCE -DQUEUE_ATOMICS_C11 -DFUZZ_ENGINE \
	$(if $(filter x86_64,$(HOST)),-mcx16) -pthread -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=all -Iinclude -Ilib -Itest/support
# Debian has it in a package of its own, libclang-rt-VERSION-dev.
HAVE_FUZZER := $(if $(filter fuzz,$(MAKECMDGOALS)),$(shell \
	echo 'int LLVMFuzzerTestOneInput(const char *data, long size) { return !data && size; }' | \
	$(FUZZ_CC) -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null && echo yes))
FUZZERS := $(if $(HAVE_FUZZER),$(FUZZ_SOURCES:test/fuzz/%.c=$(BUILD)/fuzz/%))

.PHONY: fuzz
fuzz: $(FUZZERS)
	$(if $(FUZZERS),,@echo '  --  fuzz is left out: $(FUZZ_CC) has no libFuzzer here (libclang-rt-VERSION-dev)')
	@test/support/fuzz.sh $(SECONDS) $(FUZZERS)

$(FUZZERS): $(BUILD)/fuzz/%: test/fuzz/%.c test/support/disk.c $(filter-out lib/alloc_jemalloc.c, \
		$(LIB_SOURCES)) $(HEADERS) $(wildcard lib/*.h test/support/*.h)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $(filter %.c,$^)

# The value of a variable, for scripts.
print-%:
	@echo '$($*)'

.PHONY: check-mutation
check-mutation:
	@test/support/deps.sh check $(DEPS)
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' CC='$(CC)' test/mutation/mutation.sh $(MUTATION_ARGS)

.PHONY: bench run-bench bench-peers
bench:
	@test/support/deps.sh bench $(DEPS)
	@$(MAKE) --no-print-directory run-bench

run-bench: $(BENCH)
	@$(BENCH) report --output $(OUT)/bench/report $(BENCH_ARGS)

bench-peers:
	@test/support/deps.sh bench-peers $(DEPS)

# ---- Memory model ------------------------------------------------------------------------------

# Litmus programs, and the library's own files, under an explorer of all executions (explorer.c in
# test/model/explorer says how); by gcc, whose instrumentation it takes the place of. PATIENCE and
# LOOKS, how often something is looked at again, are 1 and 2 there, and ACKNOWLEDGE, so many items
# at once, is 1: more is more of the same.
MODEL := $(OUT)/model
MODEL_CC := gcc
MODEL_WARNINGS ?= $(WARNINGS) -Werror
MODEL_HEADERS := $(HEADERS) $(wildcard lib/*.h test/model/*.h test/model/explorer/*.h)
MODEL_CFLAGS := -std=c11 -O1 -g $(MODEL_WARNINGS) -D_GNU_SOURCE -DQUEUE_ATOMICS_C11 -pthread \
	$(if $(filter x86_64,$(HOST)),-mcx16) -Iinclude -Ilib -Itest/model -Itest/model/explorer
EXPLORED := -fsanitize=thread -Wno-tsan -U__SANITIZE_THREAD__ -include test/model/explorer/atomic.h \
	-DLITMUS_EXPLORER
LITMUS := $(notdir $(basename $(wildcard test/model/litmus/*.c)))
LITMUS_EXPLORED := $(LITMUS:%=$(MODEL)/explored/%)
LITMUS_NATIVE := $(LITMUS:%=$(MODEL)/native/%)
LITMUS_PLAIN := $(LITMUS:%=$(MODEL)/plain/%)
LITMUS_SECONDS ?= 1
EXPLORED_PROGRAMS := $(patsubst %,$(MODEL)/explore-%,ring ring-few ring-rseq queue epoch bucket \
	call log message topic spill)

.PHONY: explore explore-programs explore-soak
$(MODEL)/explorer.o: test/model/explorer/explorer.c test/model/explorer/explorer.h
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) -O2 -c -o $@ $<

$(LITMUS_EXPLORED): $(MODEL)/explored/%: test/model/litmus/%.c $(MODEL)/explorer.o $(MODEL_HEADERS)
	@mkdir -p $(@D)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) $(EXPLORED) -Dmain=program_main -c -o $@.o $<
	$(Q)$(MODEL_CC) -no-pie -o $@ $@.o $(MODEL)/explorer.o

$(MODEL)/native.o: test/model/native.c $(MODEL_HEADERS)
	@mkdir -p $(@D)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) -O2 -DLITMUS_NATIVE -c -o $@ $<

$(MODEL)/rseq.o: lib/rseq.c $(MODEL_HEADERS)
	@mkdir -p $(@D)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) -O2 -c -o $@ $<

$(LITMUS_NATIVE): $(MODEL)/native/%: test/model/litmus/%.c $(MODEL)/native.o $(MODEL)/rseq.o
	@mkdir -p $(@D)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) -O2 -DLITMUS_NATIVE -Dmain=litmus_main -c -o $@.o $<
	$(Q)$(MODEL_CC) -pthread -o $@ $@.o $(MODEL)/native.o $(MODEL)/rseq.o

# As another model checker takes them.
$(LITMUS_PLAIN): $(MODEL)/plain/%: test/model/litmus/%.c $(MODEL_HEADERS)
	@mkdir -p $(@D)
	$(Q)$(MODEL_CC) $(MODEL_CFLAGS) -include test/model/explorer/atomic.h \
		-DMODEL_WITHOUT_PAIR -DLITMUS_PACKED_PAIR -o $@ $<

$(MODEL)/patient-ring.c: lib/ring.c
	@mkdir -p $(@D)
	@grep -q '^.define PATIENCE 64$$' $< && grep -q '^.define LOOKS 8$$' $< || \
		{ echo '$<: PATIENCE and LOOKS are not where they were'; exit 1; }
	$(Q)sed -e 's/^\(.define PATIENCE\) .*/\1 1/' -e 's/^\(.define LOOKS\) .*/\1 2/' $< >$@

# Rings of any size are large ones.
$(MODEL)/few-ring.c: $(MODEL)/patient-ring.c
	@grep -q '^.define MANY 64$$' $< || { echo 'lib/ring.c: MANY is not where it was'; exit 1; }
	$(Q)sed -e 's/^\(.define MANY\) .*/\1 1/' $< >$@

$(MODEL)/patient-spill.c: lib/spill.c
	@mkdir -p $(@D)
	@grep -q '^.define ACKNOWLEDGE 64$$' $< || \
		{ echo '$<: ACKNOWLEDGE is not where it was'; exit 1; }
	$(Q)sed -e 's/^\(.define ACKNOWLEDGE\) .*/\1 1/' $< >$@

define explored-program
@mkdir -p $@.d
$(call say,CC,$@)
$(Q)for file in $(filter %.c,$^); do \
	$(MODEL_CC) $(MODEL_CFLAGS) $(EXPLORED) $(1) -Dmain=program_main \
		-c -o $@.d/$$(basename $$file).o $$file || exit; \
done
$(Q)$(MODEL_CC) -no-pie -o $@ $@.d/*.o $(MODEL)/explorer.o
endef
$(EXPLORED_PROGRAMS): $(MODEL)/explorer.o $(MODEL_HEADERS)
$(MODEL)/explore-ring: test/model/explorer/explore_ring.c $(MODEL)/patient-ring.c lib/alloc.c
	$(call explored-program)
$(MODEL)/explore-ring-few: test/model/explorer/explore_ring.c $(MODEL)/few-ring.c lib/alloc.c
	$(call explored-program)
$(MODEL)/explore-ring-rseq: test/model/explorer/explore_ring.c $(MODEL)/patient-ring.c lib/alloc.c
	$(call explored-program,-DMODEL_RSEQ)
$(MODEL)/explore-queue: $(patsubst %,test/model/explorer/%.c,explore_queue machine) \
		$(MODEL)/patient-ring.c $(patsubst %,lib/%.c,alloc queue select wait descriptor)
	$(call explored-program)
$(MODEL)/explore-bucket: $(patsubst %,test/model/explorer/%.c,explore_bucket machine) \
		$(MODEL)/patient-ring.c $(patsubst %,lib/%.c,alloc bucket wait)
	$(call explored-program)
$(MODEL)/explore-message: test/model/explorer/explore_message.c
	$(call explored-program)
$(MODEL)/explore-topic: $(patsubst %,test/model/explorer/%.c,explore_topic machine) \
		$(MODEL)/patient-ring.c $(patsubst %,lib/%.c,alloc topic epoch queue wait descriptor)
	$(call explored-program)
$(MODEL)/explore-spill: $(patsubst %,test/model/explorer/%.c,explore_spill machine) \
		$(MODEL)/patient-ring.c $(MODEL)/patient-spill.c \
		$(patsubst %,lib/%.c,alloc queue wait descriptor)
	$(call explored-program)
$(MODEL)/explore-call: $(patsubst %,test/model/explorer/%.c,explore_call machine) \
		$(patsubst %,lib/%.c,call wait)
	$(call explored-program)
$(MODEL)/explore-log: $(patsubst %,test/model/explorer/%.c,explore_log machine) \
		$(patsubst %,lib/%.c,alloc descriptor disk log log_commit log_format log_half \
		log_reader log_recover log_segment wait)
	$(call explored-program)
$(MODEL)/explore-epoch: $(patsubst %,test/model/explorer/%.c,explore_epoch machine) \
		$(patsubst %,lib/%.c,alloc epoch wait)
	$(call explored-program)

# What most changes of an order show up in; for test/mutation as well.
explore: $(LITMUS_EXPLORED) $(EXPLORED_PROGRAMS)
	@test/model/litmus.sh explore $(MODEL)/explored
	@test/model/explorer/explore.sh $(MODEL)

# For minutes instead of seconds.
explore-soak: explore-programs
	@test/model/litmus.sh native $(MODEL)/native $(LITMUS_SECONDS)
	@test/model/explorer/explore.sh $(MODEL) soak

explore-programs: $(LITMUS_EXPLORED) $(LITMUS_NATIVE) $(LITMUS_PLAIN) $(EXPLORED_PROGRAMS)

# Short: what only many rounds reach has a reason to be listed.
.PHONY: coverage
coverage: SECONDS_EACH = 0.2
coverage:
	@test/support/deps.sh coverage $(DEPS)
	@MAKE='$(SUBMAKE)' BUILD='$(BUILD)' SECONDS_EACH='$(SECONDS_EACH)' test/support/coverage.sh

# ---- Manual pages, installation, distribution ---------------------------------------------------

.PHONY: man
man: $(MAN_PAGES:man/%=$(BUILD)/man/%.html)
$(BUILD)/man/%.html: man/%
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)mandoc -T html -O man=%N.%S.html $< >$@

define PC
prefix=$(prefix)
exec_prefix=$(exec_prefix:$(prefix)%=$${prefix}%)
libdir=$(libdir:$(exec_prefix)%=$${exec_prefix}%)
includedir=$(includedir:$(prefix)%=$${prefix}%)

Name: conveyor
Description: Bounded message queues, token buckets, worker pools and calls between threads
Version: $(VERSION)
Cflags: $(strip -I$${includedir} $(MACHINE) $(filter %_C11,$(BACK_END)) -pthread)
Libs: -L$${libdir} -lconveyor -pthread -Wl,-z,nodelete
endef

$(OUT)/conveyor.pc: $(OUT)/flags FORCE
	@$(file >$@,$(PC))

INSTALL := install

ifneq ($(filter install uninstall,$(MAKECMDGOALS)),)
$(foreach directory,prefix exec_prefix bindir libdir includedir mandir,$(if $(filter-out /%,$($(directory))), \
	$(error $(directory) is "$($(directory))"; it must begin with a slash)))
endif

# A page can be asked for by the name of each function that it describes.
names = $$(sed -n '/^\.Sh NAME/,/^\.Sh [^N]/s/^\.Nm \([-a-z_0-9]*\).*/\1/p' man/$$page)

.PHONY: install uninstall
install: $(LIB) $(QUEUE_LOG) $(OUT)/conveyor.pc $(BENCH)
	$(call say,INSTALL,$(DESTDIR)$(prefix))
	$(Q)$(INSTALL) -d '$(DESTDIR)$(libdir)/pkgconfig' '$(DESTDIR)$(includedir)/conveyor/impl'
	$(Q)$(INSTALL) -m 644 $(LIB) '$(DESTDIR)$(libdir)'
	$(Q)$(INSTALL) -D -m 755 $(QUEUE_LOG) '$(DESTDIR)$(bindir)/queue-log'
	$(Q)$(if $(BENCH),$(INSTALL) -D -m 755 $(BENCH) '$(DESTDIR)$(bindir)/queue-bench')
	$(Q)$(INSTALL) -m 644 $(OUT)/conveyor.pc '$(DESTDIR)$(libdir)/pkgconfig'
	$(Q)for header in $(HEADERS:include/%=%); do \
		$(INSTALL) -m 644 include/$$header '$(DESTDIR)$(includedir)/'$$header || exit; \
	done
	$(Q)for page in $(MAN_PAGES:man/%=%); do \
		section=$${page##*.}; \
		directory='$(DESTDIR)$(mandir)/man'$$section; \
		$(INSTALL) -D -m 644 man/$$page "$$directory/$$page" || exit; \
		for name in $(names); do \
			[ $$name.$$section = $$page ] || \
				echo ".so man$$section/$$page" >"$$directory/$$name.$$section" || exit; \
		done; \
	done

uninstall:
	$(call say,UNINSTALL,$(DESTDIR)$(prefix))
	$(Q)rm -f '$(DESTDIR)$(bindir)/queue-log' '$(DESTDIR)$(bindir)/queue-bench'
	$(Q)rm -f '$(DESTDIR)$(libdir)/libconveyor.a' '$(DESTDIR)$(libdir)/pkgconfig/conveyor.pc'
	$(Q)for header in $(HEADERS:include/%=%); do \
		rm -f '$(DESTDIR)$(includedir)/'$$header; \
	done
	$(Q)for page in $(MAN_PAGES:man/%=%); do \
		section=$${page##*.}; \
		directory='$(DESTDIR)$(mandir)/man'$$section; \
		rm -f "$$directory/$$page"; \
		for name in $(names); do rm -f "$$directory/$$name.$$section"; done; \
	done
	$(Q)rmdir '$(DESTDIR)$(includedir)/conveyor/impl' '$(DESTDIR)$(includedir)/conveyor' \
		2>/dev/null || true

.PHONY: dist clean help FORCE
dist:
	@git rev-parse --verify -q HEAD >/dev/null || \
		{ echo 'make dist needs a git checkout' >&2; exit 2; }
	@mkdir -p $(BUILD)
	$(call say,TAR,$(BUILD)/conveyor-$(VERSION).tar.gz)
	$(Q)git archive --prefix=conveyor-$(VERSION)/ -o $(BUILD)/conveyor-$(VERSION).tar.gz HEAD

clean:
	$(Q)rm -rf '$(BUILD)'

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile
