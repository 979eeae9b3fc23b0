# make            train_bert
# make test       every check that needs only a C compiler
# make coverage   which lines of bert.h and the driver no test reaches
# make mutants    changes the code at random and demands a red test: COUNT=100 FILE=bert.h
# make examples   dev/examples: a page of C each
# make lessons    dev/lessons: from nothing to the real thing, eight programs that run in seconds
# make demo       from nothing to a fine-tuned model: downloads, exports, trains, predicts
# make demo-ner   the same for each task: ner, qa, regression, mlm, pretraining, embed
# make install    PREFIX=/usr/local DESTDIR=: header, train_bert, bert-tokenizer, bert-export,
#                 bert-download, a file for pkg-config; make uninstall
# make bench-matmul  GFLOP/s by shape against the machine's measured peak
# make bench-memory  what --gradient_checkpointing saves and costs: bert-base, 8 x 512 tokens
# make bench      speed against PyTorch, ONNX Runtime, OpenVINO (dev/requirements.txt)
# make fuzz       MINUTES=5 of each harness in dev/fuzz (clang's libFuzzer, ASan and UBSan)
# make page       dev/page/page.h, anew, of the page that train_bert inspect writes
# MPI=1 makes a train_bert for several processes (mpirun), with MPICC (default: mpicc).
# NO_OMP=1 turns OpenMP off; CC=clang, CFLAGS=... and ARCH=... (default: this machine's) as usual.

CC ?= cc
PYTHON ?= python3
CFLAGS ?= -O3 -Wall -Wextra -Wpedantic

# What the code asks for. -ffp-contract=off: multiply-adds are fused where the code says so, and
# nowhere else. The next two let loops with square roots and comparisons become vectors. None of
# them lets the compiler forget NaN or change the order of a sum. -falign-loops=64: with AVX2 the
# loop of a tile is two cache lines long; where it lies across three it is up to a tenth slower.
BERT_CFLAGS = -std=c99 -ffp-contract=off -fno-math-errno -fno-trapping-math -falign-loops=64 \
              $(ARCH) $(OMP)
LDLIBS += -lm

works = $(shell d=$$(mktemp -d) && echo '$(2)' > $$d/t.c && \
          $(CC) $(1) $$d/t.c -o $$d/t > $$d/log 2>&1 && $$d/t > $$d/log 2>&1 && echo '$(1)'; rm -rf $$d)
one = int main(void) { return 0; }

# prefer-vector-width: compilers use half of AVX-512's width unless told (a tenth of the time of
# what is not a matmul).
ifndef ARCH
ARCH := $(or $(call works,-march=native -mprefer-vector-width=512,$(one)),$(call works,-march=native,$(one)),$(call works,-mcpu=native,$(one)))
endif

# OpenMP is used where a program with it links and runs: -fopenmp, or Apple's clang with
# Homebrew's libomp.
ifndef NO_OMP
omp = int omp_get_max_threads(void); int main(void) { return omp_get_max_threads() < 1; }
brew := $(or $(wildcard /opt/homebrew/opt/libomp),$(wildcard /usr/local/opt/libomp))
OMP := $(or $(call works,-fopenmp,$(omp)),$(if $(brew),$(call works,-Xpreprocessor -fopenmp -I$(brew)/include -L$(brew)/lib -lomp,$(omp))))
endif

all: train_bert

# The driver's rooms (dev/driver) are part of train_bert.c.
DRIVER = train_bert.c $(wildcard dev/driver/*.h) dev/page/page.h

# OpenMPI's and MPICH's mpicc call the compiler that these variables name. MPI=1 is always built anew.
ifdef MPI
MPICC ?= mpicc
DRIVER_CC = OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC) -DBERT_MPI -pthread
else
DRIVER_CC = $(CC)
endif

train_bert: $(DRIVER) bert.h Makefile $(if $(MPI),always)
	$(DRIVER_CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) train_bert.c -o $@ $(LDLIBS)

# The page as C strings. Both files are committed: who builds needs no sed.
page:
	@{ echo '/* page.h - inspect.html as lines; make page writes it */' && echo '/* clang-format off */' && \
	    echo 'static const char *const page[] = {' && \
	    sed 's/[\\"]/\\&/g; s/^/"/; s/$$/\\n",/' dev/page/inspect.html && echo '};'; } > dev/page/page.h

# What tests: -O1 compiles in a third of the time that -O3 takes. gcc's -O1 mixes old and new vector
# instructions, which costs three times the run, unless told -fexpensive-optimizations (vzeroupper).
# -O0 where no time goes.
TEST_LEVEL = $(eval TEST_LEVEL := -O1 $(subst -Werror,,$(call works,-Werror -fexpensive-optimizations,$(one))))$(TEST_LEVEL)
QUICK_LEVEL = -O0
TEST_CC = $(CC) $(CFLAGS) $(1) $(BERT_CFLAGS) $(LDFLAGS) -I.
test_bert: test_bert.c $(wildcard dev/test/*.h) bert.h Makefile
	$(call TEST_CC,$(TEST_LEVEL)) test_bert.c -o $@ $(LDLIBS)

EXAMPLES = $(patsubst %.c,%,$(wildcard dev/examples/*.c))
examples: $(EXAMPLES)
$(EXAMPLES): %: %.c bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) -I. $< -o $@ $(LDLIBS)

# Of the lessons only the fifth, on speed, gets what this machine has; each would do with
# cc -O2 FILE -lm.
LESSONS = $(patsubst %.c,%,$(sort $(wildcard dev/lessons/*.c)))
lessons: $(LESSONS)
	@for l in $(LESSONS); do echo "== $$l"; ./$$l || exit 1; echo; done
dev/lessons/5_matmul: LESSON_FLAGS = $(ARCH) $(OMP)
$(LESSONS): %: %.c bert.h dev/lessons/7_bert.c Makefile
	$(CC) -O2 -Wall -Wextra -Wpedantic $(LESSON_FLAGS) $(LDFLAGS) $< -o $@ $(LDLIBS)

# The program in README.md, cut out of it.
readme_example: README.md bert.h Makefile
	sed -n '/^```c$$/,/^```$$/{/^```/d;p;}' README.md > $@.c
	$(call TEST_CC,$(QUICK_LEVEL)) $@.c -o $@ $(LDLIBS)

# The two programs in bert.h's manual, cut out of it.
MANUAL = manual_1 manual_2
$(MANUAL): manual_%: bert.h Makefile
	awk -v n=$* '/^    #define BERT_IMPLEMENTATION/ { k++; on = 1 } on && k == n { print substr($$0, 5) } \
	    /^    }$$/ { on = 0 }' bert.h > $@.c
	$(call TEST_CC,$(QUICK_LEVEL)) $@.c -o $@ $(LDLIBS)

# dev/test/*.c: one program each, of what does not fit test_bert.c; they run here, like it, from this
# folder. bert.h's implementation, which most have in common, is compiled once, but for programs that
# look into it or change what it calls (OWN).
TESTS = $(patsubst %.c,%,$(wildcard dev/test/*.c))
OWN = $(patsubst %,dev/test/%,bits failures library limits)
$(TESTS) dev/examples/threads: LDLIBS += -pthread
dev/test/bert.o: bert.h dev/test/test.h Makefile
	echo '#include "bert.h"' | $(call TEST_CC,$(TEST_LEVEL)) -DTEST_LIBRARY -DBERT_IMPLEMENTATION \
	    -include dev/test/test.h -x c -c - -o $@
$(OWN): %: %.c $(wildcard dev/test/*.h) $(DRIVER) bert.h Makefile
	$(call TEST_CC,$(if $(filter %/bits,$@),$(TEST_LEVEL),$(QUICK_LEVEL))) $< -o $@ $(LDLIBS)
$(filter-out $(OWN),$(TESTS)): %: %.c dev/test/bert.o $(wildcard dev/test/*.h) $(DRIVER) bert.h Makefile
	$(call TEST_CC,$(QUICK_LEVEL)) -DTEST_LINKED -DBERT_IMPLEMENTATION_ONCE_ $< dev/test/bert.o -o $@ $(LDLIBS)

# make test builds and runs on all cores, unless -j says how many. A program runs as soon as it is
# built, the longest first, and shows its lines when it ends. The last line is the sum; a program
# that dies without a last line of its own is a failure, and so is an exit code that nothing in its
# lines explains (a leak). dev/test/* have one thread, but where they ask for more.
CORES := $(shell nproc 2> /dev/null || sysctl -n hw.ncpu 2> /dev/null || echo 2)
LONGEST = test_bert $(patsubst %,dev/test/%,bits resume failures commands data)
RUN = $(LONGEST) $(filter-out $(LONGEST),$(TESTS))
test:
	@d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && \
	$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(CORES)) ARCH='$(ARCH)' OMP='$(OMP)' \
	    TEST_LEVEL='$(TEST_LEVEL)' RAN="$$d" test_programs && awk -v lacking=$(words $(RUN)) \
	    'FNR == 1 { well = 0 } \
	     /^[0-9]+ passed, [0-9]+ failed$$/ { p += $$1; f += $$3; lacking--; well = !$$3; next } \
	     /^[^ ]+: exit code [0-9]+$$/ { f += well; well = 0 } \
	     END { f += lacking; print p + 0 " passed, " f " failed"; exit f > 0 }' "$$d"/*

ifdef RAN
.PHONY: test_examples
test_programs: $(patsubst %,$(RAN)/%,$(notdir $(RUN))) test_examples
$(RAN)/test_bert: test_bert
$(patsubst dev/test/%,$(RAN)/%,$(TESTS)): $(RAN)/%: dev/test/%
$(RAN)/driver: readme_example manual_1
$(patsubst %,$(RAN)/%,$(notdir $(RUN))):
	@export OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-passive} $(if $(filter dev/%,$<),OMP_NUM_THREADS=1); \
	./$< > $@ || echo "$<: exit code $$?" >> $@; grep -v '^[0-9]* passed, [0-9]* failed$$' $@
test_examples: readme_example $(MANUAL)
	./readme_example dev/fixtures/text.model.bin "A good film is not dully DULL." | diff - dev/fixtures/text.txt
	./manual_1 dev/fixtures/text.model.bin "A good film is not dully DULL." | paste - dev/fixtures/text.txt | awk 'NF != 5 || $$3 != $$4 { exit 1 }'
	./manual_2 dev/fixtures/text.model.bin manual.bin | awk 'NR == 1 { first = $$4 } { last = $$4 } END { exit NR != 20 || !(last < first) }'
endif

# Lines that make test never reaches; broken code that it does not notice, COUNT random pieces of FILE.
COUNT ?= 100
FILE ?= bert.h
coverage: readme_example manual_1
	$(PYTHON) dev/check/coverage.py

mutants: readme_example manual_1
	$(PYTHON) dev/check/mutants.py --random $(COUNT) --file $(FILE)

bench_matmul: dev/bench/matmul.c dev/bench/bench.h bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) -DBENCH_FLAGS='"$(strip $(CFLAGS) $(BERT_CFLAGS))"' $(LDFLAGS) dev/bench/matmul.c -o $@ $(LDLIBS)

bench_model: dev/bench/model.c dev/bench/bench.h bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) dev/bench/model.c -o $@ $(LDLIBS)

bench_memory: dev/bench/memory.c dev/bench/bench.h bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) dev/bench/memory.c -o $@ $(LDLIBS)

check_math: dev/check/math.c bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) dev/check/math.c -o $@ $(LDLIBS)

batches: dev/check/batches.c $(DRIVER) bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) $(LDFLAGS) dev/check/batches.c -o $@ $(LDLIBS)

bert_tokenizer.so: dev/check/tokenize.c bert.h Makefile
	$(CC) $(CFLAGS) $(BERT_CFLAGS) -D_POSIX_C_SOURCE=200809L -shared -fPIC -I. $(LDFLAGS) dev/check/tokenize.c -o $@ $(LDLIBS)

# What a harness finds it leaves in fuzz/; what is mended goes into dev/fixtures/fuzz_*, small.
MINUTES ?= 5
FUZZ = model data lines tokenizer
FUZZ_LIMITS = -max_total_time=$$((60 * $(MINUTES))) -close_fd_mask=2 -malloc_limit_mb=1000 -timeout=20
$(patsubst %,fuzz_%,$(FUZZ)): fuzz_%: dev/fuzz/%.c $(wildcard dev/fuzz/*.h dev/test/*.h) $(DRIVER) bert.h Makefile
	clang -std=c99 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -w -I. $< -o $@ -lm

fuzz: $(patsubst %,fuzz_%,$(FUZZ))
	for h in $(FUZZ); do mkdir -p fuzz/$$h && \
	    ./fuzz_$$h $(FUZZ_LIMITS) -max_len=12000 -artifact_prefix=$(CURDIR)/fuzz/$$h- $(CURDIR)/fuzz/$$h $(CURDIR)/dev/fixtures/fuzz_$$h || exit 1; done
	[ ! -e dev/fuzz/fuzz_export.py ] || $(PYTHON) dev/fuzz/fuzz_export.py --minutes $(MINUTES)

bench-matmul: bench_matmul
	./bench_matmul

bench-memory: bench_memory
	./bench_memory 8 512 5

bench: bench_model bert_tokenizer.so models/$(MODEL)/config.json
	$(PYTHON) dev/bench/bench.py --model models/$(MODEL)

# dev/demo.py. EPOCHS=, SEED= and DEMO_FLAGS="..." (of train_bert train) as make's arguments; MODEL is
# a folder under models/ or a Hugging Face id.
MODEL ?= all-MiniLM-L6-v2
DEMO = dev/demo.py $(1) --model $(MODEL) $(EPOCHS:%=--epochs %) $(SEED:%=--seed %) $(DEMO_FLAGS)

models/$(MODEL)/config.json:
	$(PYTHON) dev/download.py $(MODEL)

demo: train_bert
	@$(PYTHON) $(call DEMO,reviews)

demo-%: train_bert
	@$(PYTHON) $(call DEMO,$*)

# PREFIX/share/bert.h keeps the order of this folder, by which the Python programs find each other and
# bert.h's tables. For another machine's processor: ARCH=-march=x86-64-v3, say.
PREFIX ?= /usr/local
INSTALL ?= install
TO = $(DESTDIR)$(PREFIX)
SHARE = $(PREFIX)/share/bert.h
SHARED = bert.h tokenizer.py $(patsubst %,dev/%,export_hf.py hf_files.py text_files.py download.py unicode.bin.z)
VERSION = $(shell awk -F'"' '/define BERT_VERSION/ { print $$2 }' bert.h)
# A line of shell: bin/bert-NAME runs PROGRAM, with the words in 3 before the user's own.
command = printf '\#!/bin/sh\nexec python3 "%s" $(3)"$$@"\n' '$(SHARE)/$(2)' > '$(TO)/bin/bert-$(1)' && \
    chmod 755 '$(TO)/bin/bert-$(1)'

install: train_bert
	$(INSTALL) -d '$(TO)/bin' '$(TO)/include' '$(TO)/lib/pkgconfig' '$(TO)/share/bert.h/dev'
	$(INSTALL) -m 755 train_bert '$(TO)/bin/train_bert'
	$(INSTALL) -m 644 bert.h '$(TO)/include/bert.h'
	for f in $(SHARED); do $(INSTALL) -m 644 $$f '$(TO)/share/bert.h/'$$f || exit 1; done
	$(call command,tokenizer,tokenizer.py)
	$(call command,export,dev/export_hf.py)
	$(call command,download,dev/download.py,--dir . )
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' dev/bert.pc.in > '$(TO)/lib/pkgconfig/bert.pc'

uninstall:
	rm -rf '$(TO)/share/bert.h'
	cd '$(TO)' && rm -f bin/train_bert bin/bert-tokenizer bin/bert-export bin/bert-download include/bert.h lib/pkgconfig/bert.pc

clean:
	rm -f train_bert test_bert readme_example readme_example.c bench_matmul bench_model bench_memory check_math \
	    $(MANUAL) $(MANUAL:%=%.c) manual.bin bert_tokenizer.so batches $(EXAMPLES) $(LESSONS) $(TESTS) dev/test/bert.o $(patsubst %,fuzz_%,$(FUZZ))

.PHONY: all always page test test_programs coverage mutants examples lessons fuzz demo bench bench-matmul bench-memory install uninstall clean
.DELETE_ON_ERROR:
