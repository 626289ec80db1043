# SPDX-License-Identifier: Apache-2.0
#
# A thin front: everything is built by Meson (and guest/linux/build for the guest kernel).

BUILD ?= build
PREFIX ?= /usr/local
export BUILD

all: programs guest-kernel

# Installs missing Debian packages (says which; sudo when not root).
setup:
	@tools/install-packages tools/packages guest/linux/packages

$(BUILD)/build.ninja: | setup
	@meson setup $(BUILD) --prefix $(PREFIX) >/dev/null || { meson setup $(BUILD); exit 1; }

programs: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

guest-kernel: setup
	@mkdir -p $(BUILD)/guest
	@guest/linux/build --output $(BUILD)/guest/linux

image: setup
	@mkdir -p $(BUILD)
	@image=$$(tools/make-image) && ln -sfn "$$image" $(BUILD)/debian.squashfs

# The main job: a Debian image in a paravirtual machine.
run:
	@tools/main-job

test: all image
	@tests/run

bench: all image
	@tests/bench/run
	@tests/bench/network
	@tests/bench/programs

# The guest kernel is no target of Meson; it belongs beside the monitor and the initramfs.
install: all
	@meson install -C $(BUILD) --no-rebuild
	@install -D -m 0755 $(BUILD)/guest/linux $(DESTDIR)$(PREFIX)/libexec/paravane/linux

format:
	@git ls-files -z -- 'src/*.[ch]' 'guest/agent/*.[ch]' 'tests/*.[ch]' | xargs -0 clang-format -i

clean:
	rm -rf $(BUILD) build-*

.PHONY: all setup programs guest-kernel image run test bench install format clean
