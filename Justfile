# Bandolier's commands. `just` alone lists them; `just setup` installs what they need, and they call it themselves.
# Settings stand before the recipe: just cpus=64 mem=4G cmd='stress 5s; quit' qemu-smp
# A path that you give counts from the folder that you stand in. Where none is given, recordings, page and plots are in
# target/bench beside this file, wherever cargo builds (CARGO_TARGET_DIR).

# Number of CPUs of the virtual machine.
cpus := "8"
# Their APIC ids, where QEMU is not to choose them, such as 0,261,512,513; cpus counts for nothing then.
apic-ids := ""
# Its memory, in QEMU's notation.
mem := "1G"
# CPU model and features; `max,-x2apic` for xAPIC mode.
cpu := "max"
# The way in: direct (our loader), iso (Limine, BIOS) or uefi (Limine, OVMF).
boot := "direct"
# What the image is to the machine, with boot=iso and boot=uefi: cd, usb or disk.
drive := "cd"
# An image that is there, such as target/bandolier-stick.iso, instead of one made for this boot.
image := ""
# auto takes KVM only where kvm_intel or kvm_amd is loaded; icount emulates with a clock of instructions.
accel := "auto"
# Shell commands to run, separated by semicolons.
cmd := ""
# Kernel options, such as chaos=drop-ipi.
append := ""
# Recordings to load for `replay`: paths, or names of files in tests/data or ../shared/traces.
modules := ""
# Pixels of the screen, such as 1920x1080, for boot=iso and boot=uefi; none if empty.
screen := ""
# Extra arguments for QEMU.
qemu := ""
# Seconds that a machine may run when nobody is at a terminal.
timeout := "120"

words := "folder=" + quote(invocation_directory()) + " cpus=" + quote(cpus) + " apic-ids=" + quote(apic-ids) + " mem=" + quote(mem) + " cpu=" + quote(cpu) + " boot=" + quote(boot) + " drive=" + quote(drive) + " image=" + quote(image) + " accel=" + quote(accel) + " append=" + quote(append) + " modules=" + quote(modules) + " screen=" + quote(screen) + " qemu=" + quote(qemu) + " timeout=" + quote(timeout)
# The command that boots the same machine again; settings that have their default are left out.
again := "just" + (if cpus == "8" { "" } else { " cpus=" + cpus }) + (if apic-ids == "" { "" } else { " apic-ids=" + apic-ids }) + (if mem == "1G" { "" } else { " mem=" + mem }) + (if cpu == "max" { "" } else { " cpu=" + cpu }) + (if boot == "direct" { "" } else { " boot=" + boot }) + (if accel == "auto" { "" } else { " accel=" + accel }) + (if append == "" { "" } else { " append=" + quote(append) }) + (if modules == "" { "" } else { " modules=" + modules }) + (if qemu == "" { "" } else { " qemu=" + quote(qemu) })
bench_tool := quote(justfile_directory() / "tools/bench.sh")
runner := "cargo run --quiet --package tests --bin bandolier-run --"

[private]
default:
    @{{ just_executable() }} --justfile {{ quote(justfile()) }} --list --unsorted
    @echo
    @echo "Paths that you give count from the folder that you stand in. Where none is given, recordings and their page are in"
    @echo "target/bench beside the Justfile, whatever CARGO_TARGET_DIR says: that is for what is built."

# Boot to a prompt; without a terminal run cmd, typed lines or a demonstration, and exit
[group('run')]
qemu-smp: build
    @{{ runner }} run {{ words }} cmd={{ quote(cmd) }}

# Boot the image in a window: the kernel's own screen and keyboard (needs Limine and a display)
[group('run')]
qemu-gui: build
    @tools/setup.sh gui
    @{{ runner }} gui {{ words }} cmd={{ quote(cmd) }}

# Boot under gdb, stopped at the kernel's entry point; each CPU is a thread
[group('run')]
gdb: build
    @{{ runner }} gdb {{ words }} cmd={{ quote(cmd) }}

# Stress for a long time: SECS seconds, with a SEED to repeat a run
[group('run')]
soak secs="600" seed="": build
    @{{ runner }} run {{ words }} timeout=$(({{ secs }} + 300)) cmd={{ quote("stress " + secs + "s" + (if seed == "" { "" } else { " seed=" + seed }) + "; mem; quit") }}

# Print the README's figures: boot times by both ways in, and counts from the kernel
[group('run')]
figures: build
    @{{ runner }} figures {{ words }}
    @cargo test --quiet --package tests --test disassembly -- --nocapture hit_path

# Print what TLB shootdowns cost, beside the most that they may: exact counts of instructions, interrupts and flushes
[group('run')]
tlb-figures: build
    @{{ runner }} tlb-figures {{ words }} mem=256M

# Measure mm on this host beside other allocators, in turns; ARGS such as --quick, --count, --json FILE or part of a workload's name
[group('run')]
[no-cd]
[positional-arguments]
bench-native *args:
    @{{ bench_tool }} native "$@"

# Record the kernel's benchmark to target/bench: two to three minutes; ARGS as for the shell's `bench`, such as pair64 --cpus 1,2
[group('run')]
[no-cd]
bench *args: build
    @{{ bench_tool }} record {{ quote(again + " bench" + (if args == "" { "" } else { " " + args })) }} {{ words }} timeout={{ if timeout == "120" { "600" } else { timeout } }} cmd={{ quote("bench --json " + replace(args, "--json", "") + "; quit") }}

# Make a page of plots and tables of FILES, by default of all in target/bench: target/bench/report.html
[group('run')]
[no-cd]
[positional-arguments]
report *files:
    @{{ bench_tool }} report "$@"

# Renew the README's two plots from the last report
[group('run')]
plots:
    @{{ bench_tool }} plots

# Compare recording B with A, beyond the noise of their repetitions: exit status 1 if worse, 2 if not comparable
[group('run')]
[no-cd]
[positional-arguments]
bench-compare A B *args:
    @{{ bench_tool }} compare "$@"

# Put a run together from photographs of `qr`'s codes, or from texts that were scanned, into target/bench; - is standard input
[group('run')]
[no-cd]
[positional-arguments]
qr-decode *FILES:
    @{{ bench_tool }} qr "$@"

# Record what this host's Linux kernel allocates while a command runs: OUT -- COMMAND... (root; docs/recordings.md)
[group('run')]
[no-cd]
[positional-arguments]
record-trace OUT *COMMAND:
    @{{ quote(justfile_directory() / "tools/trace.sh") }} record "$@"

# Describe a recording, in words and with a plot: sizes, lifetimes, live bytes, frees on other CPUs
[group('run')]
[no-cd]
[positional-arguments]
trace-info FILE *ARGS:
    @{{ quote(justfile_directory() / "tools/trace.sh") }} info "$@"

# Add function, file and line to the kernel addresses in a serial log
[group('run')]
[no-cd]
[positional-arguments]
symbolize LOG:
    @{{ quote(justfile_directory() / "tools/symbolize.sh") }} "$@"

# Install what is missing, saying what and why; quick when nothing is
[group('build')]
setup:
    @tools/setup.sh {{ quote(boot) }}

# Show what is here, what is missing and what each is for
[group('build')]
doctor:
    @tools/doctor.sh

# Build the kernel and the direct loader
[group('build')]
build: setup
    @tools/build.sh build --quiet

# Make a boot image that runs cmd at once, for scripts: target/bandolier.iso (needs Limine)
[group('build')]
iso: build
    @{{ runner }} iso {{ words }} cmd={{ quote(cmd) }}

# Make the image for real machines, CD and USB stick, BIOS and UEFI, with a menu: target/bandolier-stick.iso (needs Limine)
[group('metal')]
image: build
    @{{ runner }} image {{ words }}

# Boot the image in QEMU in every way there is: BIOS and UEFI, CD, stick and disk, each entry of the menu; takes 15 minutes
[group('metal')]
image-check: build
    @tools/test.sh qemu every-way::

# Write the image to a USB stick, as /dev/sdb: shows what is on it, and asks before all of that is lost
[group('metal')]
[no-cd]
[positional-arguments]
usb DEV *WORD: image
    @{{ quote(justfile_directory() / "tools/usb.sh") }} "$@"

# Fetch Limine's binary release into .limine, where the network allows
[group('build')]
limine:
    @tools/limine.sh

# Renew mm/budget.txt, the instructions that each path of mm may take; say why in it
[group('build')]
budget: build
    BUDGET=renew tools/budget.sh
    BUDGET=renew cargo test --quiet --package tests --test disassembly -- --nocapture hit_path

# Remove all that was built
[group('build')]
clean:
    cargo clean

# Run all tests, on the host and in QEMU, and print one summary line
[group('test')]
test: setup
    @tools/test.sh host models qemu

# Run the host's tests: algorithms, protocols, and the pure parts of kernel, loader and tools
[group('test')]
test-host: setup
    @tools/test.sh host

# Boot the kernel in QEMU, many times; FILTER picks tests by part of their name
[group('test')]
test-qemu filter="": setup
    @tools/test.sh qemu {{ quote(filter) }}

# Read the screen off screenshots, at three sizes, under BIOS and UEFI, with a serial line and without (needs Limine)
[group('test')]
test-screens: setup
    @tools/test.sh qemu screens::

# Shootdowns in awkward situations for a long time, on 2 to 16 CPUs and in both modes (docs/shootdown.md)
[group('test')]
test-tlb: setup
    @tools/test.sh qemu tlb-test-long::

# Check the small protocols exhaustively with loom
[group('test')]
loom: setup
    @tools/test.sh loom

# Check larger schedules at random with shuttle
[group('test')]
shuttle: setup
    @tools/test.sh shuttle

# Run the host's tests of mm and smp under Miri, where a nightly toolchain has it
[group('test')]
miri: setup
    @tools/test.sh miri

# Do exactly what CI does
[group('test')]
ci:
    @bash .ci/run

# Check format and lints
[group('code')]
lint: setup
    @tools/lint.sh

# Format all code
[group('code')]
fmt:
    cargo fmt --all

# Build the documentation of every crate
[group('code')]
doc: setup
    cargo doc --no-deps --package mm --package smp --package arch --package kernel --lib
    cargo doc --no-deps --package loader --package tests --package plot --package report --package recorder --lib
