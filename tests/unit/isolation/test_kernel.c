/* SPDX-License-Identifier: Apache-2.0
 *
 * test_kernel.c: which files are guest kernels, and what is said of those that are not.
 */
#include "support/unit.h"

#include "isolation/kernel.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[32];

/* A file with an ELF header, a program header and text behind it. */
static void write_elf(unsigned machine, unsigned header_type, const char *text)
{
    Elf64_Ehdr ehdr = {.e_machine = (Elf64_Half)machine,
                       .e_phoff = sizeof(ehdr),
                       .e_phnum = 1,
                       .e_phentsize = sizeof(Elf64_Phdr)};
    Elf64_Phdr phdr = {.p_type = header_type};
    memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
    ehdr.e_ident[EI_CLASS] = ELFCLASS64;
    strcpy(path, "/tmp/pv-kernel-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, &ehdr, sizeof(ehdr)), sizeof(ehdr));
    assert_int_equal(write(fd, &phdr, sizeof(phdr)), sizeof(phdr));
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    fchmod(fd, 0755);
    close(fd);
}

static void expect(int rc, const char *says)
{
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(isolation_kernel_check(path, &err), rc);
    if (says)
        assert_non_null(strstr(err.text, says));
    unlink(path);
}

static void test_kinds_of_elf(void **state)
{
    write_elf(EM_X86_64, PT_LOAD, "Linux version 7.2 uml_dir physmem_fd=");
    expect(0, NULL);
    write_elf(EM_X86_64, PT_LOAD, "Linux version 6.16 uml_dir=");
    expect(-ENOEXEC, "make guest-kernel");
    write_elf(EM_X86_64, PT_LOAD, "Linux version 6.16 uml_dir=");
    expect(-ENOEXEC, "stock User Mode Linux, which lacks physmem_fd");
    write_elf(EM_X86_64, PT_LOAD, "Linux version 6.1 (Debian)");
    expect(-ENOEXEC, "vmlinux");
    write_elf(EM_X86_64, PT_INTERP, "Linux version 7.2 physmem_fd=");
    expect(-ENOEXEC, "dynamically linked");
    write_elf(EM_AARCH64, PT_LOAD, "Linux version 7.2 physmem_fd=");
    expect(-ENOEXEC, "not for x86-64");
    write_elf(EM_X86_64, PT_LOAD, "hello");
    expect(-ENOEXEC, "no Linux kernel");
}

static void write_bytes(const void *bytes, size_t len, mode_t mode)
{
    strcpy(path, "/tmp/pv-kernel-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, bytes, len), len);
    fchmod(fd, mode);
    close(fd);
}

static void test_other_files(void **state)
{
    char image[1024] = "MZ";
    memcpy(image + 0x202, "HdrS", 4);
    write_bytes(image, sizeof(image), 0755);
    expect(-ENOEXEC, "bzImage");
    write_bytes("", 0, 0755);
    expect(-ENOEXEC, "empty");
    write_bytes("#!/bin/sh\n", 10, 0755);
    expect(-ENOEXEC, "no ELF header");
    write_bytes("\177ELF", 4, 0755);
    expect(-ENOEXEC, NULL);
    write_bytes("\177ELF", 4, 0644);
    expect(-EACCES, "chmod +x");
    strcpy(path, "/no/such/kernel");
    expect(-ENOENT, "/no/such/kernel");
    strcpy(path, "/tmp");
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(isolation_kernel_check("/tmp", &err), -ENOEXEC);
}

/* Program headers that point outside of the file are not followed. */
static void test_wild_program_headers(void **state)
{
    Elf64_Ehdr ehdr = {.e_machine = EM_X86_64,
                       .e_phoff = UINT64_MAX - 7,
                       .e_phnum = 0xffff,
                       .e_phentsize = sizeof(Elf64_Phdr)};
    char bytes[256] = {0};
    memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
    ehdr.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(bytes, &ehdr, sizeof(ehdr));
    memcpy(bytes + 100, "Linux version ", 14);
    memcpy(bytes + 200, "physmem_fd", 10);
    write_bytes(bytes, sizeof(bytes), 0755);
    expect(-ENOEXEC, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_of_elf),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_wild_program_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
