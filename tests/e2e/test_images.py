# SPDX-License-Identifier: Apache-2.0
"""IMAGE: squashfs, ext4 and directories; what is none; an image is never changed."""
import os
import shutil
import unittest

from harness import (TREE, MachineTest, make_small_root, needs_plain_user, needs_root, run_tool,
                     sha256, tree)


class ImageTest(MachineTest):
    """A small root file system, made once for the class, and copies of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.small = make_small_root(os.path.join(cls.top, 'small'))

    def path(self, name, content=None):
        path = os.path.join(self.work_dir, f'{self._testMethodName}-{name}')
        if content is not None:
            with open(path, 'wb') as f:
                f.write(content)
        return path

    def copy(self, name='root'):
        """A copy of the small root file system for one test."""
        path = self.path(name)
        shutil.copytree(self.small, path, symlinks=True)
        return path

    def squashfs(self, *flags):
        path = self.path('small.squashfs')
        run_tool('mksquashfs', self.small, path, '-quiet', '-no-progress', '-noappend', *flags)
        return path

    def ext4(self, size='48M'):
        path = self.path('small.ext4')
        run_tool('mke2fs', '-q', '-t', 'ext4', '-d', self.small, path, size)
        return path


class Kinds(ImageTest):
    def check(self, image):
        """Runs, writes, and the image stays as it is."""
        before = sha256(image)
        script = 'echo new >/etc/passwd && rm /bin/uname && touch /x && echo kept'
        self.assertEqual(self.run_in('/bin/sh', '-c', script, image=image, rc=0).text, 'kept\n')
        self.assertEqual(sha256(image), before)
        # and the next machine sees nothing of it
        self.run_in('/bin/sh', '-c', 'test -e /bin/uname && test ! -e /x', image=image, rc=0)

    def test_squashfs_with_zstd(self):
        self.check(self.squashfs('-comp', 'zstd'))

    def test_squashfs_with_gzip(self):
        self.check(self.squashfs('-comp', 'gzip'))

    def test_squashfs_with_xz(self):
        self.check(self.squashfs('-comp', 'xz'))

    def test_ext4(self):
        self.check(self.ext4())

    def test_ext4_that_was_not_unmounted(self):
        """A journal that wants to be replayed: read-only all the same."""
        image = self.ext4()
        run_tool('debugfs', '-w', '-R', 'feature needs_recovery', image)
        before = sha256(image)
        result = self.run_in('/bin/true', image=image)
        self.assertIn(result.rc, (0, 125), result)
        self.assertEqual(sha256(image), before)

    def test_read_only_file(self):
        image = self.squashfs()
        os.chmod(image, 0o444)
        self.check(image)

    def test_relative_path_and_symbolic_link(self):
        image = self.squashfs()
        link = self.path('link')
        os.symlink(image, link)
        self.run_in('/bin/true', image=os.path.relpath(image, self.work_dir), rc=0)
        self.run_in('/bin/true', image='./' + os.path.basename(link), rc=0)

    def test_odd_file_names(self):
        image = self.squashfs()
        for name in ('with space', 'new\nline', 'colon:x,y', 'ümläut', "quote'\""):
            odd = self.path(name)
            os.link(image, odd)
            self.run_in('/bin/true', image=odd, rc=0)

    def test_a_name_that_is_no_utf8(self):
        odd = os.path.join(self.work_dir, os.fsdecode(b'\xff\xfe'))
        os.link(self.squashfs(), odd)
        self.assertIn('UTF-8', self.run_in('/bin/true', image=odd, rc=125).errors)

    def test_the_type_is_the_content_not_the_name(self):
        image = self.squashfs()
        misnamed = self.path('image.ext4')
        os.rename(image, misnamed)
        self.run_in('/bin/true', image=misnamed, rc=0)


class Directories(ImageTest):
    def packed(self):
        """What the cache holds: names, inodes and times of packed images."""
        return {(path, os.stat(path).st_ino, os.stat(path).st_mtime_ns)
                for path in tree(self.cache_dir)
                if os.path.isfile(path) and os.path.getsize(path) > 100000}

    def test_a_directory(self):
        root = self.copy()
        self.assertEqual(self.run_in('/bin/cat', '/etc/passwd', image=root, rc=0).out,
                         open(root + '/etc/passwd', 'rb').read())

    def test_the_directory_is_not_changed(self):
        root = self.copy()
        before = {path: os.lstat(path).st_mtime_ns for path in tree(root)}
        self.run_in('/bin/sh', '-c', 'echo x >/etc/passwd; touch /x; rm -r /usr/bin', image=root,
                    rc=0)
        self.assertEqual({path: os.lstat(path).st_mtime_ns for path in tree(root)}, before)

    def test_packed_once(self):
        root = self.copy()
        self.run_in('/bin/true', image=root, rc=0)
        before = self.packed()
        self.assertTrue(before, 'nothing was packed into the cache')
        self.run_in('/bin/true', image=root, rc=0)
        self.assertEqual(self.packed(), before)

    def test_a_changed_file_is_seen(self):
        root = self.copy()
        self.run_in('/bin/true', image=root, rc=0)
        with open(root + '/etc/motd', 'w') as f:
            f.write('new\n')
        self.assertEqual(self.run_in('/bin/cat', '/etc/motd', image=root, rc=0).text, 'new\n')
        with open(root + '/etc/motd', 'w') as f:
            f.write('abc\n')  # the same size
        self.assertEqual(self.run_in('/bin/cat', '/etc/motd', image=root, rc=0).text, 'abc\n')

    def test_changed_modes_are_seen(self):
        root = self.copy()
        show = ['/usr/bin/stat', '-c', '%a', '/etc/passwd']
        for mode in (0o600, 0o640):
            os.chmod(root + '/etc/passwd', mode)
            self.assertEqual(self.run_in(*show, image=root, rc=0).text, f'{mode:o}\n')

    @needs_root
    def test_owners_and_modes_are_kept(self):
        root = self.copy()
        path = root + '/etc/owned'
        open(path, 'w').close()
        os.chown(path, 1234, 5678)
        os.chmod(path, 0o4750)
        result = self.run_in('/usr/bin/stat', '-c', '%u:%g %a', '/etc/owned', image=root, rc=0)
        self.assertEqual(result.text, '1234:5678 4750\n')

    @unittest.skipUnless(TREE, 'needs a directory that root made: tests/e2e/run')
    def test_owners_of_a_directory_of_roots(self):
        """Kept for everybody, since everybody can see them."""
        show = ['/usr/bin/stat', '-c', '%u:%g %a', '/etc/owned', '/etc/passwd']
        self.assertEqual(self.run_in(*show, image=TREE, rc=0).text, '1234:5678 4755\n0:0 644\n')

    @needs_plain_user
    def test_a_plain_users_own_directory_is_roots_in_the_guest(self):
        """What one user made, as far as owners can be told apart, belongs to one user: root."""
        root = self.copy()
        result = self.run_in('/usr/bin/stat', '-c', '%u:%g', '/etc/passwd', image=root, rc=0)
        self.assertEqual(result.text, '0:0\n')

    def test_links_and_special_names(self):
        root = self.copy()
        odd = os.path.join(root, 'etc', 'new\nline ü')
        with open(odd, 'w') as f:
            f.write('odd')
        os.link(odd, root + '/etc/hard')
        os.symlink('/nowhere', root + '/etc/dangling')
        os.mkfifo(root + '/etc/fifo')
        script = ('cat "/etc/new\nline ü"; stat -c " %h %F" /etc/hard /etc/dangling /etc/fifo')
        result = self.run_in('/bin/sh', '-c', script, image=root, rc=0)
        self.assertEqual(result.text, 'odd 2 regular file\n 1 symbolic link\n 1 fifo\n')

    def test_a_link_in_the_directory_leads_to_the_guests_files(self):
        root = self.copy()
        secret = self.path('secret', b'of the host')
        os.symlink(secret, root + '/etc/link')
        result = self.run_in('/bin/cat', '/etc/link', image=root)
        self.assertNotEqual(result.rc, 0)
        self.assertNotIn('of the host', result.text)

    @needs_plain_user
    @unittest.skipUnless(TREE, 'needs a directory that root made: tests/e2e/run')
    def test_a_file_that_cannot_be_read(self):
        """Refused by name, not left out silently."""
        result = self.run_in('/bin/true', image=TREE + '-closed', rc=125)
        self.assertIn('etc/secret', result.errors)
        self.assertIn('Permission denied', result.errors)

    def test_a_mode_without_permissions_is_kept(self):
        root = self.copy()
        os.chmod(root + '/etc/group', 0)
        result = self.run_in('/usr/bin/stat', '-c', '%a', '/etc/group', image=root, rc=0)
        self.assertEqual(result.text, '0\n')

    def test_an_empty_directory(self):
        root = self.path('empty')
        os.mkdir(root)
        result = self.run_in('/bin/true', image=root)
        self.assertIn(result.rc, (125, 127), result)
        self.assertTrue(result.errors)

    def test_the_cache_keeps_no_half_packed_image(self):
        self.run_in('/bin/true', image=self.copy(), rc=0)
        names = {os.path.basename(path) for path in tree(self.cache_dir)}
        self.assertFalse([name for name in names if 'tmp' in name or 'new' in name], names)


class Wrong(ImageTest):
    """Each a clear error that names the file; nothing is left behind."""

    def check(self, image, *words):
        result = self.run_in('/bin/true', image=image, rc=125)
        for word in (os.path.basename(image), *words):
            self.assertIn(word, result.errors)
        self.assertEqual(result.out, b'')
        self.assertEqual(self.names(), [])

    def test_missing(self):
        self.check(self.path('missing'), 'No such file')

    def test_empty(self):
        self.check(self.path('empty', b''), 'empty')

    def test_text(self):
        self.check(self.path('text', b'hello\n' * 1000))

    def test_zeroes(self):
        self.check(self.path('zeroes', bytes(1 << 20)))

    def test_fifo(self):
        path = self.path('fifo')
        os.mkfifo(path)
        self.check(path)

    def test_character_device(self):
        self.check('/dev/null')

    @needs_plain_user
    def test_unreadable(self):
        path = self.squashfs()
        os.chmod(path, 0)
        self.check(path, 'Permission denied')

    @needs_plain_user
    @unittest.skipUnless(TREE, 'needs a directory that root made: tests/e2e/run')
    def test_unreadable_folder(self):
        self.check(TREE + '-closed/private', 'Permission denied')

    def test_truncated_squashfs(self):
        content = open(self.squashfs(), 'rb').read()
        for length in (96, 4096, len(content) // 2, len(content) - 4096):
            self.check(self.path(f'cut-{length}', content[:length]))

    def test_truncated_ext4(self):
        content = open(self.ext4(), 'rb').read(1 << 20)
        self.check(self.path('cut', content), 'truncated')

    def test_corrupted_super_block(self):
        content = bytearray(open(self.squashfs(), 'rb').read())
        content[28:32] = b'\xff\xff\xff\xff'  # the version
        self.check(self.path('corrupted', content))

    def test_corrupted_content(self):
        """The kernel of the guest finds out: an error of the machine, or of the command."""
        content = bytearray(open(self.squashfs(), 'rb').read())
        content[96:] = b'\xa5' * (len(content) - 96)
        path = self.path('corrupted', content)
        result = self.run_in('/bin/true', image=path, rc=125)
        self.assertTrue(result.errors.strip())

    def test_corrupted_files(self):
        """Data blocks are garbage, the directories are not: reading fails in the guest."""
        content = bytearray(open(self.squashfs('-noI', '-noF'), 'rb').read())
        content[96:len(content) // 3] = b'\x5a' * (len(content) // 3 - 96)
        result = self.run_in('/bin/cat', '/usr/bin/dash', image=self.path('corrupted', content))
        self.assertNotEqual(result.rc, 0)
        self.assertTrue(result.errors.strip())

    def test_an_image_without_a_shell(self):
        """`run IMAGE` of an image that has none says so."""
        root = self.path('bare')
        os.mkdir(root)
        with open(root + '/file', 'w') as f:
            f.write('x')
        result = self.pv('run', '--rm', root)
        self.assertIn(result.rc, (125, 127), result)
        self.assertIn('sh', result.errors)


del ImageTest
