# SPDX-License-Identifier: Apache-2.0
"""Volumes: folders of the host in a machine, and what of the machine comes to the host."""
import ctypes
import json
import os
import re
import shutil
import stat
import tempfile
import unittest

from harness import ROOT, MachineTest, make_small_root

MNT_DETACH = 2

# One program, run in the machine's volume and on the host: both must say the same.
POSIX = r'''
import errno, os, stat, sys
os.umask(0)
os.chdir(sys.argv[1])
def say(*words):
    print(*words)
def attempt(what, fn):
    try:
        r = fn()
        say(what, 'ok' if r is None else r)
    except OSError as e:
        say(what, errno.errorcode.get(e.errno, e.errno))
def put(name, data, mode=0o644):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)
def mode(name):
    return oct(os.lstat(name).st_mode)

put('f', b'hello', 0o640)
say(mode('f'), os.stat('f').st_size, os.stat('f').st_nlink)
attempt('excl', lambda: os.close(os.open('f', os.O_CREAT | os.O_EXCL | os.O_RDWR)))
attempt('link', lambda: os.link('f', 'g'))
say(os.stat('g').st_nlink, os.stat('f').st_ino == os.stat('g').st_ino)
attempt('link again', lambda: os.link('f', 'g'))
attempt('unlink', lambda: os.unlink('f'))
say(open('g').read())
attempt('rename', lambda: os.rename('g', 'h'))
attempt('stat gone', lambda: os.stat('g').st_size)
attempt('mkdir', lambda: os.mkdir('d', 0o750))
say(mode('d'))
attempt('mkdir again', lambda: os.mkdir('d'))
attempt('unlink dir', lambda: os.unlink('d'))
attempt('rmdir file', lambda: os.rmdir('h'))
attempt('rename into', lambda: os.rename('h', 'd/h'))
attempt('rmdir full', lambda: os.rmdir('d'))
attempt('rename dir', lambda: os.rename('d', 'e'))
say(open('e/h').read())
attempt('rename dir into itself', lambda: os.rename('e', 'e/e'))
attempt('symlink', lambda: os.symlink('../x/y', 's'))
say(os.readlink('s'), mode('s'))
attempt('open broken link', lambda: os.open('s', os.O_RDONLY))
attempt('nofollow', lambda: os.open('s', os.O_RDONLY | os.O_NOFOLLOW))
attempt('open dir for writing', lambda: os.open('e', os.O_WRONLY))
attempt('file as dir', lambda: os.stat('e/h/x'))
attempt('name of 255', lambda: put('n' * 255, b''))
attempt('name of 256', lambda: put('n' * 256, b''))
attempt('fifo', lambda: os.mkfifo('p', 0o622))
say(mode('p'))
for m in (0o4755, 0o2755, 0o1777, 0o000, 0o444):
    os.chmod('e/h', m)
    say(mode('e/h'))
os.chmod('e/h', 0o644)
attempt('truncate', lambda: os.truncate('e/h', 100000))
say(os.stat('e/h').st_size, open('e/h', 'rb').read()[4:7])
attempt('truncate down', lambda: os.truncate('e/h', 3))
say(open('e/h', 'rb').read())
fd = os.open('e/h', os.O_RDWR | os.O_APPEND)
os.write(fd, b'!!')
os.pwrite(fd, b'??', 0)
say(os.fstat(fd).st_size)
os.unlink('e/h')
os.lseek(fd, 0, os.SEEK_SET)
say('unlinked', os.read(fd, 100), os.fstat(fd).st_nlink)
os.fchmod(fd, 0o600)
os.ftruncate(fd, 1)
say('unlinked', os.fstat(fd).st_size, oct(os.fstat(fd).st_mode))
os.close(fd)
fd = os.open('sparse', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'x', 10 << 20)
say(os.lseek(fd, 0, os.SEEK_DATA) > 1 << 20, os.stat('sparse').st_blocks < 1000)
os.posix_fallocate(fd, 0, 1 << 20)
say(os.stat('sparse').st_blocks >= 2048)
attempt('copy', lambda: os.copy_file_range(fd, fd, 1, 10 << 20, 0))
say(os.pread(fd, 1, 0))
os.close(fd)
os.utime('sparse', ns=(1000000001, 2000000002))
say(os.stat('sparse').st_mtime_ns, os.stat('sparse').st_atime_ns)
os.mkdir('many')
for i in range(300):
    put('many/%03d' % i, b'')
say(sorted(os.listdir('many')) == ['%03d' % i for i in range(300)])
it = os.scandir('many')
gone = 0
for e in it:
    os.unlink(e.path)
    gone += 1
say(gone, os.listdir('many'))
attempt('rmdir', lambda: os.rmdir('many'))
attempt('rmdir gone', lambda: os.rmdir('many'))
put('one', b'1'); put('two', b'2')
attempt('rename over', lambda: os.rename('one', 'two'))
say(open('two').read(), sorted(os.listdir('.'))[:3])
attempt('xattr', lambda: os.setxattr('two', 'user.a', b'value'))
say(os.getxattr('two', 'user.a'), os.listxattr('two'))
attempt('xattr again', lambda: os.setxattr('two', 'user.a', b'', os.XATTR_CREATE))
attempt('xattr gone', lambda: os.getxattr('two', 'user.b'))
os.removexattr('two', 'user.a')
say(os.listxattr('two'))
attempt('block device', lambda: os.mknod('b', 0o600 | stat.S_IFBLK, os.makedev(7, 0)) or 'made')
'''


TMPFILE = r'''
import errno, os
os.umask(0)
fd = os.open('/v', os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
os.write(fd, b'never')
print(os.pread(fd, 10, 0), len(os.listdir('/v')))
os.mkdir('/v/dir')
try:
    fd = os.open('/v', os.O_TMPFILE | os.O_RDWR, 0o640)
except OSError as e:
    assert e.errno == errno.EOPNOTSUPP, e
    print('refused')
else:
    os.write(fd, b'text')
    os.link('/proc/self/fd/%d' % fd, '/v/dir/named', src_dir_fd=fd, follow_symlinks=True)
    print(os.fstat(fd).st_nlink, oct(os.fstat(fd).st_mode))
'''


class VolumeTest(MachineTest):
    def folder(self, name='share'):
        path = os.path.join(self.work_dir, name)
        os.mkdir(path)
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def write(self, path, text):
        with open(path, 'w') as f:
            f.write(text)
        return path

    def refused(self, volume, *words):
        result = self.run_in('/bin/true', flags=['-v', volume], rc=125)
        for word in words:
            self.assertIn(word, result.errors)


class Volumes(VolumeTest):
    def test_both_sides_see_what_the_other_writes(self):
        path = self.folder()
        self.write(path + '/from-host', 'host\n')
        out = self.sh('cat /a/b/c/from-host; echo guest >/a/b/c/from-guest; mkdir -p /a/b/c/d/e; '
                      'stat -c "%u:%g" /a/b/c/from-host', flags=['-v', path + ':/a/b/c']).text
        self.assertEqual(out, 'host\n%d:%d\n' % ((os.geteuid(), os.getegid()) if ROOT else (0, 0)))
        with open(path + '/from-guest') as f:
            self.assertEqual(f.read(), 'guest\n')
        self.assertEqual(os.stat(path + '/from-guest').st_uid, os.geteuid())
        self.assertTrue(os.path.isdir(path + '/d/e'))

    def test_files_without_a_name(self):
        path = self.folder()
        self.write(path + '/tmpfile.py', TMPFILE)
        out = self.sh('python3 /v/tmpfile.py', flags=['-v', path + ':/v']).text
        version = tuple(map(int, re.match(r'(\d+)\.(\d+)', os.uname().release).groups()))
        if version < (6, 10):  # whose monitor may not name an open file
            self.assertEqual(out, "b'never' 1\nrefused\n")
            return
        self.assertEqual(out, "b'never' 1\n1 0o100640\n")
        st = os.stat(path + '/dir/named')
        self.assertEqual((st.st_mode & 0o777, st.st_nlink, st.st_uid), (0o640, 1, os.geteuid()))
        with open(path + '/dir/named') as f:
            self.assertEqual(f.read(), 'text')
        self.assertEqual(sorted(os.listdir(path)), ['dir', 'tmpfile.py'])

    def test_a_read_only_volume_cannot_be_changed(self):
        path = self.folder()
        self.write(path + '/file', 'x')
        self.sh('cat /v/file && ! touch /v/new && ! rm /v/file && ! chmod 777 /v/file && '
                '! sh -c "echo y >/v/file" && '
                # nor when the guest makes its side of it writable
                'mount -o remount,rw /v && ! touch /v/new && ! rm /v/file',
                flags=['-v', path + ':/v:ro'])
        self.assertEqual(os.listdir(path), ['file'])

    def test_a_single_file(self):
        path = self.folder()
        self.write(path + '/secret', 'secret')
        one = self.write(path + '/one.conf', 'one')
        self.sh('[ "$(cat /etc/one.conf)" = one ] && echo two >/etc/one.conf && '
                '! grep -rs secret /etc/one.conf /dev/.volume',
                flags=['-v', one + ':/etc/one.conf'])
        with open(one) as f:
            self.assertEqual(f.read(), 'two\n')
        self.sh('[ "$(cat /etc/one.conf)" = two ] && ! sh -c "echo 3 >/etc/one.conf"',
                flags=['-v', one + ':/etc/one.conf:ro'])

    def test_volumes_inside_volumes_in_any_order(self):
        outer, inner = self.folder('outer'), self.folder('inner')
        self.sh('echo in >/v/x/y/file; echo out >/v/x/file',
                flags=['-v', inner + ':/v/x/y', '-v', outer + ':/v:rw'])
        self.assertEqual(os.listdir(inner), ['file'])
        self.assertEqual(sorted(os.listdir(outer + '/x')), ['file', 'y'])
        self.assertEqual(os.listdir(outer + '/x/y'), [])

    def test_links_lead_to_the_guests_files(self):
        path = self.folder()
        os.symlink('/etc/hostname', path + '/link')
        os.symlink('../../../../../../../../etc/hostname', path + '/climb')
        out = self.sh('hostname; cat /v/link /v/climb', flags=['-h', 'inside', '-v', path + ':/v'])
        self.assertEqual(out.text, 'inside\ninside\ninside\n')

    def test_the_same_program_says_the_same_on_both_sides(self):
        import subprocess
        path, here = self.folder(), self.folder('here')
        self.write(path + '/posix.py', POSIX)
        os.mkdir(path + '/there')
        guest = self.sh('python3 /v/posix.py /v/there', flags=['-v', path + ':/v']).text
        host = subprocess.run(['python3', '-c', POSIX, here], capture_output=True, text=True,
                              check=True).stdout
        # Device nodes would be the host's: nobody makes them through a volume.
        host = host.replace('block device made', 'block device EPERM')
        self.assertEqual(guest.splitlines(), host.splitlines())

    def test_owners_and_modes_stay(self):
        path = self.folder()
        self.sh('cd /v; umask 0; echo x >f; mkdir d; chown 70:71 f d; chmod 4710 f; chmod 2750 d; '
                'su -s /bin/sh nobody -c "true"; chmod 777 .; '
                'setpriv --reuid 1000 --regid 1001 --clear-groups touch mine; mkfifo p; '
                'ln -s f l; chown -h 5:6 l', flags=['-v', path + ':/v'])
        out = self.sh('cd /v; stat -c "%n %u:%g %a" f d mine; touch d/in; stat -c %g d/in',
                      flags=['-v', path + ':/v']).text
        self.assertEqual(out, 'f 70:71 4710\nd 70:71 2750\nmine 1000:1001 666\n71\n')
        st = os.stat(path + '/f')
        if ROOT:
            self.assertEqual((st.st_uid, st.st_gid, st.st_mode & 0o7777), (70, 71, 0o4710))
        else:
            self.assertEqual((st.st_uid, st.st_mode & 0o7777), (os.geteuid(), 0o710))
            self.assertEqual(os.getxattr(path + '/f', 'user.containers.override_stat'),
                             b'70:71:04710')

    def test_writing_takes_set_user_id_away(self):
        path = self.folder()
        out = self.sh('cd /v; umask 0; chmod 777 .; echo x >f; chmod 6777 f; stat -c %a f; '
                      'setpriv --reuid 1000 --regid 1000 --clear-groups '
                      'sh -c "echo more >>f"; sleep 1.1; stat -c %a f',
                      flags=['-v', path + ':/v']).text
        self.assertEqual(out, '6777\n777\n')

    def test_ten_thousand_files(self):
        path = self.folder()
        out = self.sh('cd /v; seq 10000 | xargs touch; ls | wc -l; find . -type f | wc -l; '
                      'ls -U | head -5000 | xargs rm; ls | wc -l; mkdir d; mv [1-9]* d; '
                      'ls d | wc -l', flags=['-v', path + ':/v'], timeout=120).text
        self.assertEqual(out.split(), ['10000', '10000', '5000', '5000'])
        self.assertEqual(len(os.listdir(path + '/d')), 5000)

    def test_programs_at_work(self):
        """A compiler, a database with locks and a journal, archives, renames at once."""
        path = self.folder()
        self.write(path + '/main.c', '#include <stdio.h>\nint main(void)\n'
                                     '{ puts("built here"); return 0; }\n')
        out = self.sh(
            'set -e; cd /v; gcc -O1 -o main main.c; ./main; '
            'python3 -c "\nimport sqlite3\n'
            'for mode in (\'delete\', \'wal\'):\n'
            '  d = sqlite3.connect(mode + \'.db\')\n'
            '  d.execute(\'pragma journal_mode=\' + mode)\n'
            '  d.execute(\'create table t(x)\')\n'
            '  for i in range(50):\n'
            '    d.execute(\'insert into t values(?)\', (i,)); d.commit()\n'
            '  print(d.execute(\'select sum(x) from t\').fetchone()[0],'
            ' d.execute(\'pragma integrity_check\').fetchone()[0])\n"; '
            'mkdir tree; cp -a /etc/alternatives /etc/init.d tree/; ln tree/init.d/procps hard; '
            'tar cf t.tar tree hard; mkdir out; tar xf t.tar -C out; diff -r tree out/tree; '
            'stat -c %h out/hard; '
            'for i in 1 2 3 4; do (for n in $(seq 100); do echo $i >t$i; mv t$i shared; done) & '
            'done; wait; ls shared',
            flags=['-v', path + ':/v'], timeout=120).text
        self.assertEqual(out, 'built here\n1225 ok\n1225 ok\n2\nshared\n')

    def test_extended_attributes(self):
        path = self.folder()
        out = self.sh('cd /v; touch f; setfattr -n user.one -v 1 f; getfattr -d f; '
                      'chown 5:5 f; getfattr -d -m - f | grep -c containers; '
                      '! setfattr -n trusted.x -v 1 f && ! setfattr -n user.containers.x -v 1 f || '
                      'echo set', flags=['-v', path + ':/v']).text
        self.assertIn('user.one="1"', out)
        self.assertIn('\n0\n', out)
        self.assertEqual(os.getxattr(path + '/f', 'user.one'), b'1')
        if not ROOT:
            self.assertNotIn('set\n', out)

    def test_cache_modes(self):
        path = self.folder()
        for cache in 'auto', 'none', 'always':
            out = self.sh('cd /v; echo 1 >f; cat f; echo 22 >f; cat f; rm f; ! ls f',
                          flags=['-v', f'{path}:/v:cache={cache}']).text
            self.assertEqual(out, '1\n22\n')

    def test_two_machines_share_a_folder(self):
        path = self.folder()
        flags = ['-v', path + ':/v']
        self.start('sleep', '1000', name='one', flags=flags)
        self.start('sleep', '1000', name='two', flags=flags)
        self.exec('one', 'sh', '-c', 'echo first >/v/file', rc=0)
        self.assertEqual(self.exec('two', 'cat', '/v/file', rc=0).text, 'first\n')
        self.exec('two', 'sh', '-c', 'echo second and longer >/v/file; mkdir /v/dir', rc=0)
        self.exec('one', 'sh', '-c', 'sleep 1.1; [ "$(cat /v/file)" = "second and longer" ] && '
                                     'mv /v/file /v/dir/file', rc=0)
        self.exec('two', 'sh', '-c', 'sleep 1.1; cat /v/dir/file; ! cat /v/file', rc=0)
        self.remove('one')
        self.remove('two')

    def test_a_folder_that_is_removed(self):
        path = self.folder()
        self.start('sleep', '1000', name='box', flags=['-v', path + ':/v'])
        self.exec('box', 'ls', '/v', rc=0)
        shutil.rmtree(path)
        self.exec('box', 'sh', '-c', 'sleep 1.1; stat /v; ! touch /v/x', rc=0)
        self.exec('box', 'true', rc=0)
        identity = self.inspect('box')['id']
        with open(os.path.join(self.root_dir, 'instances', identity, 'machine',
                               'monitor.log')) as f:
            self.assertIn('was removed', f.read())
        self.remove('box')

    @unittest.skipUnless(ROOT and os.path.exists('/dev/fuse'), 'needs root and /dev/fuse')
    def test_a_server_that_does_not_answer_stops_who_asks_it(self):
        libc = ctypes.CDLL(None, use_errno=True)
        path = tempfile.mkdtemp(dir='/var/tmp')  # not where the harness looks for what is left
        self.addCleanup(os.rmdir, path)
        for name in '/dead', '/live':  # the guest waits before it makes a name beside the dead one
            os.mkdir(path + name)
            self.addCleanup(os.rmdir, path + name)
        fd = os.open('/dev/fuse', os.O_RDWR)
        words = f'fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other'
        mounted = libc.mount(b'dead', (path + '/dead').encode(), b'fuse', 0, words.encode())
        if mounted != 0:
            os.close(fd)
            self.skipTest('this host mounts no FUSE: ' + os.strerror(ctypes.get_errno()))
        try:
            self.start('sleep', '1000', name='box', flags=['-v', path + ':/v'])
            self.exec('box', 'sh', '-c', 'ls -l /v/dead/x >/dev/null 2>&1 & sleep 0.5', rc=0)
            self.exec('box', 'sh', '-c', 'cd /v/live; echo still >there; cat there; rm there', rc=0)
            self.pv('kill', 'box', rc=0)
            self.pv('wait', 'box', rc=0)
        finally:
            os.close(fd)
            libc.umount2((path + '/dead').encode(), MNT_DETACH)
        self.remove('box')

    def test_a_restart_mounts_again(self):
        path = self.folder()
        self.start('sh', '-c', 'echo started >>/v/log; sleep 1000', name='box',
                   flags=['-v', path + ':/v'])
        self.wait_for('a line', lambda: os.path.exists(path + '/log'))
        self.pv('stop', '-t', '0', 'box', rc=0)
        self.pv('start', 'box', rc=0)
        self.wait_for('two lines', lambda: open(path + '/log').read().count('started') == 2)
        self.remove('box')

    def test_inspect_shows_volumes(self):
        path = self.folder()
        self.start('sleep', '1000', name='box', flags=['-v', path + ':/v:ro,cache=always'])
        file = self.write(path + '/one', '')
        self.start('sleep', '1000', name='other', flags=['-v', file + ':/x/one'])
        self.assertEqual(self.inspect('box')['volumes'], [
            {'source': os.path.realpath(path), 'target': '/v', 'read_only': True, 'cache': 'always'}])
        self.assertEqual(self.inspect('other')['volumes'], [
            {'source': os.path.realpath(file), 'target': '/x/one', 'read_only': False,
             'cache': 'auto'}])
        machine = self.inspect('box')['config']['machine']
        self.assertEqual(machine['volumes'][0]['path'], os.path.realpath(path))
        self.assertEqual(machine['volumes'][0]['cache'], 'always')
        self.assertEqual(machine['setup']['mounts'][0]['target'], '/v')
        self.assertTrue(machine['setup']['mounts'][0]['read_only'])
        self.remove('box')
        self.remove('other')

    def test_stats_count_what_goes_through(self):
        path = self.folder()
        self.write(path + '/in', 'x' * 70000)
        self.start('sleep', '1000', name='box', flags=['-v', path + ':/v'])
        self.exec('box', 'sh', '-c', 'cat /v/in >/dev/null; head -c 50000 /dev/zero >/v/out; '
                  'mkdir /v/in; sleep 1000 </v/in >/dev/null 2>&1 & exit 0', rc=0)

        def count():
            text = self.pv('stats', '--no-stream', '--format', 'json', 'box', rc=0).text
            return json.loads(text)['devices']['fs0']
        # The guest closes files a little later than its programs do.
        self.wait_for('one open file', lambda: count()['folder']['open_files'] == 1)
        fs = count()
        folder = fs['folder']
        self.assertEqual(folder['requests'], fs['requests'])
        self.assertGreater(fs['requests'], 10)
        self.assertEqual(fs['bad_requests'], 0)
        self.assertEqual(folder['read_bytes'], 70000)
        self.assertEqual(folder['written_bytes'], 50000)
        self.assertGreater(folder['errors'], 0)  # mkdir
        self.assertEqual(folder['gone'], 0)
        self.remove('box')

    @unittest.skipUnless(ROOT, 'only root may give files away')
    def test_the_monitor_keeps_few_capabilities(self):
        path = self.folder()
        for option, expected in ('', 0b11011), (':ro', 0b100):
            self.start('sleep', '1000', name='box', flags=['-v', path + ':/v' + option])
            status = self.machine('box')[0].status()
            self.assertEqual(int(status['CapEff'], 16), expected, option)
            self.assertEqual(int(status['CapBnd'], 16), 0)
            self.assertNotEqual(status['Uid'].split()[1], '0')
            self.remove('box')


class Refused(VolumeTest):
    """Clear words before anything starts."""

    def test_what_cannot_be_shared(self):
        path = self.folder()
        self.refused(path + '/missing:/v', 'missing', 'mkdir -p')
        self.refused('name:/v', './name')
        self.refused(path, 'HOST:GUEST')
        self.refused(path + ':v', 'absolute')
        self.refused(path + ':/a/../b', '..')
        self.refused(path + ':/', '--rootfs')
        self.refused(path + ':/proc/x', '/proc')
        self.refused(path + ':/v:rx', 'rx', 'cache=')
        self.refused('/dev/null:/v', 'plain file')

    def test_two_at_one_place(self):
        path = self.folder()
        result = self.run_in('/bin/true', flags=['-v', path + ':/v', '-v', path + ':/v/'], rc=125)
        self.assertIn('already', result.errors)

    @unittest.skipIf(ROOT, 'root may read everything')
    def test_a_folder_that_may_not_be_read(self):
        path = self.folder()
        os.chmod(path, 0)
        self.refused(path + ':/v', 'Permission denied')
        os.chmod(path, 0o700)


class RootFolder(VolumeTest):
    """--rootfs: a machine that runs in a folder of the host."""

    def root(self):
        path = os.path.join(self.work_dir, 'tree')
        make_small_root(path)
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def run_root(self, what, *command, flags=(), rc=0):
        return self.pv('run', '--rm', '--rootfs', *flags, what, '--', *command, rc=rc)

    def test_the_machine_changes_the_folder(self):
        path = self.root()
        hosts = os.path.exists(path + '/etc/hosts')
        self.run_root(path, '/bin/sh', '-c', 'echo changed >/new; read name </etc/hostname; '
                      '[ "$name" = inside ] && echo "$name" >/name', flags=['-h', 'inside'])
        with open(path + '/new') as f:
            self.assertEqual(f.read(), 'changed\n')
        with open(path + '/name') as f:
            self.assertEqual(f.read(), 'inside\n')
        # What is the machine's own is not left in it.
        if not hosts:
            self.assertEqual(os.path.getsize(path + '/etc/hosts'), 0)

    def test_overlay_and_read_only_leave_it_as_it_is(self):
        path = self.root()
        before = sorted(os.listdir(path))
        self.run_root(path + ':O', '/bin/sh', '-c', 'echo changed >/new && read x </new')
        self.run_root(path + ':ro', '/bin/sh', '-c', '! echo changed >/new')
        self.assertEqual(sorted(os.listdir(path)), before)

    def test_layer_and_volumes_over_a_folder(self):
        path, share = self.root(), self.folder()
        self.start('/bin/sh', '-c', 'echo x >>/count; echo x >>/v/count; while :; do read x; done',
                   name='box', flags=['-i', '--rootfs', '-v', share + ':/v'], image=path + ':O')
        self.wait_for('a line', lambda: os.path.exists(share + '/count'))
        self.pv('stop', '-t', '0', 'box', rc=0)
        self.pv('start', 'box', rc=0)
        self.wait_for('two lines', lambda: os.path.getsize(share + '/count') == 4)
        self.remove('box')

    def test_what_cannot_be_a_root(self):
        file = self.write(os.path.join(self.work_dir, 'file'), '')
        self.assertIn('not a folder', self.run_root(file, '/bin/sh', rc=125).errors)
        self.assertIn('missing', self.run_root(file + 'missing', '/bin/sh', rc=125).errors)
        self.assertIn('/:O', self.run_root('/', '/bin/sh', rc=125).errors)
        os.unlink(file)
