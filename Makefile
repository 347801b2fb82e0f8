# pgwitness: `make run` and `make check` need nothing but a Debian 12 machine.
#
#   make [all]        build/pgwitness build/replayd build/witnessctl build/pin
#   make run          everything on embedded clusters   DIR=... PORT=...
#   make check        all tests                         T=name KEEP=1
#   make unit         the unit tests and fuzz corpora alone
#   make fuzz         libFuzzer on each target          T=name SECONDS=
#   make drivers      clients of many languages        D="psycopg3 jdbc" TLS=1
#   make lint format install uninstall clean
#
# Modes: DEBUG=1  WERROR=1  V=1  SANITIZE=address,undefined | thread  CC=clang

BUILD   ?= build
DESTDIR ?=
PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR  ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
LIBDIR  ?= $(PREFIX)/lib/pgwitness
DOCDIR  ?= $(PREFIX)/share/doc/pgwitness

PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config

CFLAGS  ?= -O2 -g
ifdef DEBUG
CFLAGS  := -O0 -g3
endif
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wcast-qual -Wcast-align -Wwrite-strings -Wformat=2 \
	-Wimplicit-fallthrough -Wundef -Wvla -Wnull-dereference -Wswitch-enum
ifdef WERROR
WARN    += -Werror
endif
HARDEN  := -fPIE -fstack-protector-strong -fno-strict-aliasing
ifeq ($(SANITIZE)$(DEBUG),)
HARDEN  += -D_FORTIFY_SOURCE=2
endif
LDHARD  := -pie -Wl,-z,relro,-z,now
ifdef SANITIZE
HARDEN  += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
LDHARD  += -fsanitize=$(SANITIZE)
endif
# Set by `make fuzz` alone: libFuzzer's main() in place of test/fuzz/driver.c.
ifdef FUZZER
HARDEN  += -fsanitize=fuzzer-no-link
LDFUZZ  := -fsanitize=fuzzer
endif

PQ_INC  := $(shell $(PG_CONFIG) --includedir 2>/dev/null || echo /usr/include/postgresql)
CPPFLAGS += -D_GNU_SOURCE -Iinclude -isystem $(PQ_INC)
# Each mapping and each page that the loader wrote costs every fork() and
# exit(); what is looked up at the first call costs every child.
LDLIBS_pgwitness  := -Wl,-Bstatic -lpg_query -ljansson -linih -Wl,-Bdynamic \
	-lssl -lcrypto -pthread
LDLIBS_replayd    := -lpq -lsodium -ljansson -lcrypto -linih -pthread
LDLIBS_witnessctl := $(LDLIBS_replayd)
LDLIBS_fuzz       := -lpg_query -lpq -lsodium -ljansson -lssl -lcrypto -linih -pthread
LDLIBS_test       := -lcmocka -lpg_query -lpq -lsodium -ljansson -lssl -lcrypto -linih -pthread

ifdef V
Q :=
else
Q := @
endif

MAINS   := postmaster/main.c replayd/replayd.c replayd/witnessctl.c
# Places to die at, for make torture (include/killpoint.h).
ifdef KILLPOINTS
CPPFLAGS += -DPGW_KILLPOINTS
else
MAINS   += common/killpoint.c
endif
SRC     := $(wildcard common/*.c postmaster/*.c backend/*.c replayd/*.c)
obj      = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(MAINS),$(wildcard $(1)/*.c)))
COMMON  := $(BUILD)/libcommon.a
BACKEND := $(BUILD)/libbackend.a
REPLAYD := $(BUILD)/libreplayd.a
TESTS   := $(patsubst test/unit/%.c,$(BUILD)/test/%,$(wildcard test/unit/test_*.c))
FUZZ    := $(patsubst test/fuzz/%.c,$(BUILD)/test/%,$(wildcard test/fuzz/fuzz_*.c))
PROGRAMS := $(BUILD)/pgwitness $(BUILD)/replayd $(BUILD)/witnessctl

all: $(PROGRAMS) pin

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC    $<")
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP -c -o $@ $<

# pgwitness --init writes it: the assembler takes it in (.incbin).
$(BUILD)/obj/postmaster/datadir.o: etc/pgwitness.conf.sample

$(COMMON): $(call obj,common)
$(BACKEND): $(call obj,backend)
$(REPLAYD): $(call obj,replayd)
$(BUILD)/lib%.a:
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/pgwitness: $(BUILD)/obj/postmaster/main.o $(call obj,postmaster) $(BACKEND) $(COMMON)
$(BUILD)/replayd: $(BUILD)/obj/replayd/replayd.o $(REPLAYD) $(COMMON)
$(BUILD)/witnessctl: $(BUILD)/obj/replayd/witnessctl.o $(REPLAYD) $(COMMON)
$(PROGRAMS):
	$(if $(Q),@echo "  LD    $@")
	$(Q)$(CC) $(LDHARD) $(LDFLAGS) -o $@ $^ $(LDLIBS_$(@F))

$(BUILD)/test/%: $(BUILD)/obj/test/unit/%.o $(BACKEND) $(REPLAYD) $(COMMON)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDHARD) $(LDFLAGS) -o $@ $^ $(LDLIBS_test)

FUZZ_PARTS := $(BUILD)/obj/test/fuzz/arena.o $(BUILD)/obj/test/fuzz/world.o \
	$(BUILD)/obj/test/fuzz/server.o \
	$(if $(FUZZER),,$(BUILD)/obj/test/fuzz/driver.o)
$(BUILD)/test/fuzz_%: $(BUILD)/obj/test/fuzz/fuzz_%.o $(FUZZ_PARTS) $(BACKEND) $(REPLAYD) $(COMMON)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDHARD) $(LDFLAGS) $(LDFUZZ) -Wl,--wrap=poll,--wrap=sem_clockwait \
	    -o $@ $^ $(LDLIBS_fuzz)

# The extension of the verification cluster; replayd loads it by its path.
pin: $(BUILD)/pin/pgwitness_pin.so
$(BUILD)/pin/pgwitness_pin.so: $(wildcard replayd/pin/*)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC    replayd/pin")
	$(Q)$(CC) -std=gnu11 -O2 -g -fPIC -Wall -Wno-declaration-after-statement \
	    -I$(shell $(PG_CONFIG) --includedir-server 2>/dev/null) -shared \
	    -o $@ $(filter %.c,$^)

deps:
	@etc/deps.sh

run: deps
	$(Q)$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) DIR="$(DIR)" PORT="$(PORT)" etc/run.sh

check: deps
	$(Q)$(MAKE) --no-print-directory all tests
	@BUILD=$(BUILD) T="$(T)" KEEP="$(KEEP)" test/run.sh

# A disk that fails on demand, for LD_PRELOAD (test/integration/disk.t).
$(BUILD)/test/faultdisk.so: test/support/faultdisk.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O1 -g -fPIC -shared -o $@ $<

# Records per fdatasync and per second; DIR= says on which disk.
spoolbench: $(BUILD)/bench/spool_bench
	@$< $(DIR)
$(BUILD)/bench/%: $(BUILD)/obj/test/bench/%.o $(BACKEND) $(REPLAYD) $(COMMON)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDHARD) $(LDFLAGS) -o $@ $^ $(LDLIBS_test)

# Jobs per second of one replay worker, and how far verdicts are behind: JOBS=
replaybench: all $(BUILD)/bench/replay_bench
	@BUILD=$(BUILD) JOBS="$(JOBS)" KEEP="$(KEEP)" test/bench/replay.sh
$(BUILD)/bench/replay_bench: $(BUILD)/obj/test/bench/replay_bench.o $(REPLAYD) $(COMMON)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDHARD) $(LDFLAGS) -o $@ $^ $(LDLIBS_replayd)

tests: $(TESTS) $(FUZZ) $(BUILD)/test/faultdisk.so pin
unit: tests
	@BUILD=$(BUILD) UNIT_ONLY=1 T="$(T)" test/run.sh

# libFuzzer: T=name, SECONDS= for each target, OUT= for what it finds:
# test/fuzz/README.
fuzz:
	@etc/deps.sh fuzz
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang FUZZER=1 \
	    SANITIZE=address,undefined fuzzers
	@BUILD=$(BUILD)/fuzz T="$(T)" SECONDS="$(SECONDS)" OUT="$(OUT)" \
	    test/fuzz/run.sh
fuzzers: $(FUZZ)

# Against PgBouncer and a bare relay.  SHORT=1: minutes; LOAD="S U" CLIENTS=8
# MODE=simple TARGET= SECTION= OTHER=build-before: test/bench/README.
bench: deps
	@etc/deps.sh bench
	$(Q)$(MAKE) --no-print-directory benches
	@BUILD=$(BUILD) test/bench/bench.sh
benches: all $(BUILD)/bench/parts_bench $(BUILD)/bench/spool_bench

# What the project did not write: PostgreSQL's own suites, and drivers.
conformance:
	$(Q)$(MAKE) --no-print-directory suites
	$(Q)$(MAKE) --no-print-directory drivers

# T=regress, isolation or libpq_pipeline: one of them.
suites: deps
	@etc/deps.sh conformance
	@etc/pgsource.sh $(BUILD)/suites
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(MAKE) --no-print-directory -C test/conformance/suites \
	    OUT="$(abspath $(BUILD))/suites" PG_CONFIG="$(PG_CONFIG)"
	@BUILD=$(BUILD) TESTS=test/conformance/suites TEST_TIMEOUT=14400 JOBS=1 \
	    T="$(T)" KEEP="$(KEEP)" test/run.sh

# Real drivers, directly and through pgwitness: test/conformance/drivers.
drivers: deps
	@etc/deps.sh drivers
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(MAKE) --no-print-directory -C test/conformance/drivers \
	    OUT="$(abspath $(BUILD))/drivers"
	@BUILD=$(BUILD) TESTS=test/conformance/drivers TEST_TIMEOUT=1800 \
	    D="$(D)" TLS="$(TLS)" KEEP="$(KEEP)" test/run.sh

# SEED= KILLS=2000 MINUTES=15 LEVEL=before_commit STORM= SPOOL= KEEP=1; with
# KILLPOINTS=1 BUILD=build-kill at named points: test/torture/README.
torture: deps
	$(Q)$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) SEED="$(SEED)" KILLS="$(KILLS)" MINUTES="$(MINUTES)" \
	    LEVEL="$(LEVEL)" STORM="$(STORM)" SPOOL="$(SPOOL)" KEEP="$(KEEP)" \
	    KILLPOINTS="$(KILLPOINTS)" test/alone.sh torture/torture.pl

# TX=200000 CLIENTS=16 LEVEL=before_commit KEEP=1: test/truth/README.
truth: deps
	$(Q)$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) TX="$(TX)" CLIENTS="$(CLIENTS)" LEVEL="$(LEVEL)" \
	    KEEP="$(KEEP)" test/alone.sh truth/truth.pl

lint:
	@etc/layers.sh

format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

install: all
	@BUILD=$(BUILD) DESTDIR="$(DESTDIR)" SBINDIR="$(SBINDIR)" BINDIR="$(BINDIR)" \
	    LIBDIR="$(LIBDIR)" DOCDIR="$(DOCDIR)" \
	    SYSCONFDIR="$(SYSCONFDIR)" etc/install.sh install

uninstall:
	@DESTDIR="$(DESTDIR)" SBINDIR="$(SBINDIR)" BINDIR="$(BINDIR)" \
	    LIBDIR="$(LIBDIR)" DOCDIR="$(DOCDIR)" \
	    SYSCONFDIR="$(SYSCONFDIR)" etc/install.sh uninstall

clean:
	rm -rf $(BUILD)

.PHONY: all pin deps run check tests unit fuzz fuzzers drivers conformance suites bench benches spoolbench replaybench torture truth lint format install uninstall clean
.SECONDARY:
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
