/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.c: recognizes a guest kernel: a static x86-64 ELF program with Linux's banner and the
 * option of our patch series that takes the machine's memory from a descriptor.
 *
 * The file is trusted as far as a program is that the user names: it only runs in the guest's jail.
 */
#include "isolation/kernel.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define KERNEL_BYTES_MAX (1ull << 30)
#define MARKER "physmem_fd"    /* of our patches */
#define STOCK_MARKER "uml_dir" /* of every upstream UML */

static bool contains(const uint8_t *bytes, size_t len, const char *text)
{
    return memmem(bytes, len, text, strlen(text)) != NULL;
}

static bool is_static(const uint8_t *bytes, size_t len)
{
    const Elf64_Ehdr *ehdr = (const void *)bytes;
    if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phoff % 8 || ehdr->e_phoff > len ||
        ehdr->e_phnum > (len - ehdr->e_phoff) / sizeof(Elf64_Phdr))
        return false;
    const Elf64_Phdr *phdr = (const void *)(bytes + ehdr->e_phoff);
    for (unsigned i = 0; i < ehdr->e_phnum; i++)
        if (phdr[i].p_type == PT_INTERP)
            return false;
    return true;
}

static bool is_elf(const uint8_t *bytes, size_t len)
{
    return len >= sizeof(Elf64_Ehdr) && memcmp(bytes, ELFMAG, SELFMAG) == 0;
}

static bool is_boot_image(const uint8_t *bytes, size_t len)
{
    return len > 0x206 && memcmp(bytes + 0x202, "HdrS", 4) == 0; /* the x86 boot protocol */
}

static int check_bytes(const char *path, const uint8_t *bytes, size_t len, struct pv_error *err)
{
    if (is_boot_image(bytes, len))
        return pv_error_set(err, ENOEXEC,
                            "kernel '%s': a kernel for hardware (bzImage); a paravirtual machine "
                            "needs a guest kernel: build one with 'make guest-kernel'",
                            path);
    if (!is_elf(bytes, len))
        return pv_error_set(err, ENOEXEC, "kernel '%s': not a program (no ELF header)", path);

    const Elf64_Ehdr *ehdr = (const void *)bytes;
    if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_machine != EM_X86_64)
        return pv_error_set(err, ENOEXEC, "kernel '%s': not for x86-64", path);
    if (!contains(bytes, len, "Linux version "))
        return pv_error_set(err, ENOEXEC, "kernel '%s': a program, but no Linux kernel", path);
    if (!contains(bytes, len, MARKER))
        return pv_error_set(
            err, ENOEXEC,
            contains(bytes, len, STOCK_MARKER)
                ? "kernel '%s': stock User Mode Linux, which lacks physmem_fd (memory and virtio "
                  "devices by descriptor): build one with 'make guest-kernel'"
                : "kernel '%s': a kernel for hardware (vmlinux); a paravirtual machine needs a "
                  "guest kernel: build one with 'make guest-kernel'",
            path);
    if (!is_static(bytes, len))
        return pv_error_set(err, ENOEXEC,
                            "kernel '%s': dynamically linked; its jail has no libraries: build it "
                            "with CONFIG_STATIC_LINK=y",
                            path);
    return 0;
}

int isolation_kernel_check(const char *path, struct pv_error *err)
{
    struct stat st;
    pv_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "kernel '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > KERNEL_BYTES_MAX)
        return pv_error_set(err, ENOEXEC, "kernel '%s': %s", path,
                            st.st_size == 0 ? "the file is empty" : "not a kernel file");
    if (access(path, X_OK) < 0)
        return pv_error_set(err, errno, "kernel '%s': not executable: chmod +x", path);

    size_t len = (size_t)st.st_size;
    void *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return pv_error_set(err, errno, "kernel '%s': map: %s", path, strerror(errno));
    int rc = check_bytes(path, bytes, len, err);
    munmap(bytes, len);
    return rc;
}
