# SPDX-License-Identifier: Apache-2.0
"""The guest's Linux is complete: what people run in a machine finds what it needs."""
import re
import time

from harness import MachineTest


class Guest(MachineTest):
    """Each test has a machine of its own: starting one is cheap."""

    def setUp(self):
        super().setUp()
        self.start('/bin/sleep', '10000', flags=['-m', '384M', '--cpus', '2'])

    def guest(self, script, rc=0, shell='/bin/bash'):
        return self.exec('box', shell, '-ec', script, rc=rc).text

    def compile_and_run(self, source, *args, rc=0):
        """A C program, compiled and run in the guest."""
        self.exec('box', '/bin/sh', '-c', 'cat >/tmp/t.c && gcc -O1 -pthread -o /tmp/t /tmp/t.c',
                  flags=['-i'], stdin=source.encode(), rc=0)
        return self.exec('box', '/tmp/t', *args, rc=rc).text

    def test_a_compiler_works(self):
        out = self.compile_and_run('#include <stdio.h>\nint main(void) '
                                   '{ puts("compiled"); return 7; }', rc=7)
        self.assertEqual(out, 'compiled\n')

    def test_file_systems(self):
        known = {line.split()[-1] for line in self.guest('cat /proc/filesystems').splitlines()}
        wanted = {'ext4', 'squashfs', 'erofs', 'tmpfs', 'overlay', 'proc', 'sysfs', 'cgroup2',
                  'devpts', 'devtmpfs', 'fuse', 'virtiofs', 'mqueue', 'bpf'}
        self.assertEqual(wanted - known, set())

    def test_what_is_mounted(self):
        mounted = {line.split()[1]: line.split()[2] for line in
                   self.guest('cat /proc/mounts').splitlines()}
        for place, kind in (('/', 'overlay'), ('/proc', 'proc'), ('/sys', 'sysfs'),
                            ('/sys/fs/cgroup', 'cgroup2'), ('/dev/pts', 'devpts'),
                            ('/dev/shm', 'tmpfs')):
            self.assertEqual(mounted.get(place), kind, mounted)

    def test_devices(self):
        for name in ('null', 'zero', 'full', 'random', 'urandom', 'tty', 'ptmx', 'fd', 'stdin',
                     'stdout', 'stderr', 'fuse', 'loop-control'):
            self.guest(f'test -e /dev/{name} || {{ echo {name} >&2; exit 1; }}')
        self.guest('echo x >/dev/null; head -c 5 /dev/zero | wc -c; ! echo x 2>/dev/null >/dev/full')

    def test_overlay(self):
        out = self.guest('''
            mkdir -p /tmp/o && mount -t tmpfs none /tmp/o && cd /tmp/o
            mkdir lower upper work merged; echo l >lower/f
            mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
            echo u >merged/f; cat lower/f upper/f; cd /; umount /tmp/o/merged /tmp/o''')
        self.assertEqual(out, 'l\nu\n')

    def test_a_file_system_of_its_own(self):
        """ext4 in a file, through a loop device (perl-free: mount sets it up)."""
        out = self.guest('''
            command -v mkfs.ext4 >/dev/null || { echo none; exit 0; }
            truncate -s 16M /tmp/fs && mkfs.ext4 -q /tmp/fs && mkdir -p /tmp/m
            mount -o loop /tmp/fs /tmp/m && echo in >/tmp/m/f && umount /tmp/m
            mount -o loop,ro /tmp/fs /tmp/m && cat /tmp/m/f; umount /tmp/m''')
        self.assertIn(out, ('in\n', 'none\n'))

    def test_cgroup_controllers(self):
        controllers = set(self.guest('cat /sys/fs/cgroup/cgroup.controllers').split())
        self.assertEqual({'cpu', 'cpuset', 'memory', 'pids', 'io'} - controllers, set())

    def test_cgroup_limits_work(self):
        out = self.guest('''
            cd /sys/fs/cgroup; mkdir -p test
            grep -q pids cgroup.subtree_control || echo +pids +memory >cgroup.subtree_control
            echo 3 >test/pids.max; cat test/pids.max; rmdir test''')
        self.assertEqual(out, '3\n')

    def test_namespaces(self):
        out = self.guest('''
            unshare --user --map-root-user --mount --pid --net --ipc --uts --cgroup --fork \
                --mount-proc sh -c 'hostname inner; hostname; echo $$; ls /proc | grep -c "^[0-9]"'
            hostname''')
        lines = out.splitlines()
        self.assertEqual(lines[:2], ['inner', '1'])
        self.assertLess(int(lines[2]), 6)
        self.assertNotEqual(lines[3], 'inner')

    def test_namespaces_of_a_plain_user(self):
        out = self.exec('box', '/usr/bin/unshare', '--user', '--map-root-user', 'id', '-u',
                        flags=['-u', 'nobody'], rc=0)
        self.assertEqual(out.text, '0\n')

    def test_network_devices(self):
        out = self.guest('''
            ip -br link show lo
            ip link add br0 type bridge; ip link add v0 type veth peer name v1
            ip link set v0 master br0; ip addr add 10.9.0.1/24 dev br0; ip link set br0 up
            ip link set v0 up; ip link set v1 up; ip -br addr show br0; ip link del v0
            ip link del br0
            ip link add d0 type dummy; ip link del d0; ip tuntap add t0 mode tap; ip link del t0''')
        self.assertIn('lo ', out)
        self.assertIn('10.9.0.1/24', out)

    def test_two_namespaces_talk(self):
        out = self.guest('''
            ip netns add a; ip link add v0 type veth peer name v1 netns a
            ip addr add 10.8.0.1/24 dev v0; ip link set v0 up
            ip -n a addr add 10.8.0.2/24 dev v1; ip -n a link set v1 up; ip -n a link set lo up
            cat >/tmp/server.pl <<"P"
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalAddr => "10.8.0.2", LocalPort => 7, Listen => 1) or die;
print "up\\n"; my $c = $s->accept; print $c "hello";
P
            ip netns exec a perl /tmp/server.pl &
            until cat </dev/tcp/10.8.0.2/7; do sleep 0.1; done 2>/dev/null
            wait; ip netns del a''')
        self.assertIn('hello', out)

    def test_loopback(self):
        out = self.guest('ip -br addr show lo; (perl -MIO::Socket::INET -e \'my $s=IO::Socket::INET'
                         '->new(LocalAddr=>"127.0.0.1",LocalPort=>99,Listen=>1) or die; '
                         'my $c=$s->accept; print $c "over lo"\' &) ; sleep 0.4; '
                         'cat </dev/tcp/127.0.0.1/99')
        self.assertIn('127.0.0.1/8', out)
        self.assertIn('over lo', out)

    def test_ipv6(self):
        self.assertIn('::1/128', self.guest('ip -br -6 addr show lo'))

    def test_packet_filter(self):
        """nf_tables by netlink: what nft and Docker's iptables-nft speak."""
        source = r'''
            #include <arpa/inet.h>
            #include <linux/netlink.h>
            #include <linux/netfilter/nfnetlink.h>
            #include <linux/netfilter/nf_tables.h>
            #include <linux/netfilter.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/socket.h>
            #include <unistd.h>
            static char buf[512];
            static size_t len;
            static struct nlmsghdr *add(int type, int flags, int family, int res)
            {
                struct nlmsghdr *h = (void *)(buf + len);
                struct nfgenmsg *g = NLMSG_DATA(h);
                h->nlmsg_len = NLMSG_LENGTH(sizeof(*g));
                h->nlmsg_type = type;
                h->nlmsg_flags = NLM_F_REQUEST | flags;
                g->nfgen_family = family;
                g->res_id = htons(res);
                return h;
            }
            int main(void)
            {
                int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
                struct nlmsghdr *h = add(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
                len += NLMSG_ALIGN(h->nlmsg_len);
                h = add(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK,
                        NFPROTO_INET, 0);
                struct nlattr *a = (void *)((char *)h + NLMSG_ALIGN(h->nlmsg_len));
                a->nla_type = NFTA_TABLE_NAME;
                a->nla_len = NLA_HDRLEN + 5;
                memcpy((char *)a + NLA_HDRLEN, "test", 5);
                h->nlmsg_len += NLA_ALIGN(a->nla_len);
                len += NLMSG_ALIGN(h->nlmsg_len);
                h = add(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
                len += NLMSG_ALIGN(h->nlmsg_len);
                if (s < 0 || send(s, buf, len, 0) < 0)
                    return perror("netlink"), 1;
                char answer[4096];
                if (recv(s, answer, sizeof(answer), 0) < 0)
                    return perror("recv"), 1;
                struct nlmsghdr *r = (void *)answer;
                int code = r->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(r))->error : 1;
                printf("%d\n", code);
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), '0\n')

    def test_system_calls_are_there(self):
        """None of these answers ENOSYS."""
        source = r'''
            #define _GNU_SOURCE
            #include <errno.h>
            #include <stdio.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            #define TRY(n, ...) \
                (errno = 0, syscall(SYS_##n, __VA_ARGS__) < 0 && errno == ENOSYS ? puts(#n) : 0)
            int main(void)
            {
                TRY(io_uring_setup, 0, 0); TRY(seccomp, 99, 0, 0); TRY(bpf, 99, 0, 0);
                TRY(memfd_create, 0, 0); TRY(userfaultfd, 99999); TRY(pidfd_open, 1, 0);
                TRY(clone3, 0, 0); TRY(openat2, -1, 0, 0, 0); TRY(inotify_init1, 0);
                TRY(fanotify_init, 0, 0); TRY(eventfd2, 0, 0); TRY(signalfd4, -1, 0, 8, 0);
                TRY(timerfd_create, 0, 0); TRY(epoll_create1, 0); TRY(splice, -1, 0, -1, 0, 0, 0);
                TRY(copy_file_range, -1, 0, -1, 0, 0, 0); TRY(statx, -1, 0, 0, 0, 0);
                TRY(keyctl, 0, 0, 0, 0, 0); TRY(mq_open, 0, 0, 0, 0); TRY(shmget, 0, 0, 0);
                TRY(membarrier, 0, 0, 0); TRY(rseq, 0, 0, 0, 0); TRY(process_vm_readv, 0, 0, 0, 0, 0, 0);
                TRY(ptrace, 99, 0, 0, 0); TRY(kcmp, 1, 1, 0, 0, 0); TRY(landlock_create_ruleset, 0, 0, 1);
                TRY(futex, 0, 1, 0, 0, 0, 0); TRY(getrandom, 0, 0, 0); TRY(name_to_handle_at, -1, 0, 0, 0, 0);
                TRY(mount_setattr, -1, 0, 0, 0, 0); TRY(fsopen, 0, 0); TRY(io_setup, 0, 0);
                TRY(perf_event_open, 0, 0, 0, 0, 0); TRY(setns, -1, 0); TRY(quotactl, -1, 0, 0, 0);
                return 0;
            }'''
        missing = set(self.compile_and_run(source).split())
        # perf needs a performance monitoring unit, which no machine here has; restartable sequences
        # are not known to this architecture, and every C library does without them.
        self.assertEqual(missing - {'perf_event_open', 'quotactl', 'rseq'}, set())

    def test_seccomp_of_a_guest_process(self):
        source = r'''
            #include <errno.h>
            #include <linux/filter.h>
            #include <linux/seccomp.h>
            #include <stddef.h>
            #include <stdio.h>
            #include <sys/prctl.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int main(void)
            {
                struct sock_filter f[] = {
                    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
                struct sock_fprog p = {4, f};
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p))
                    return perror("seccomp"), 1;
                long rc = syscall(SYS_getppid);
                printf("%ld %d\n", rc, errno);
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), '-1 77\n')

    def test_time_of_programs_is_theirs(self):
        script = ('import os, signal, time; done = []; '
                  'signal.signal(signal.SIGVTALRM, lambda *_: done.append(1)); '
                  'signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)\n'
                  'while not done: pass\n'
                  'now = os.times(); print(now.user > now.system)')
        self.assertEqual(self.run_in('/usr/bin/python3', '-c', script, rc=0).text, 'True\n')

    def test_threads(self):
        source = r'''
            #include <pthread.h>
            #include <stdatomic.h>
            #include <stdio.h>
            static atomic_long sum;
            static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
            static long locked;
            static void *work(void *p)
            {
                for (int i = 0; i < 20000; i++) {
                    sum++;
                    pthread_mutex_lock(&mutex);
                    locked++;
                    pthread_mutex_unlock(&mutex);
                }
                return p;
            }
            int main(void)
            {
                pthread_t t[8];
                for (int i = 0; i < 8; i++)
                    pthread_create(&t[i], 0, work, 0);
                for (int i = 0; i < 8; i++)
                    pthread_join(t[i], 0);
                printf("%ld %ld\n", (long)sum, locked);
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), '160000 160000\n')

    def test_floating_point_survives_switches(self):
        source = r'''
            #include <math.h>
            #include <stdio.h>
            #include <sched.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int main(void)
            {
                for (int p = 0; p < 4; p++)
                    if (fork() == 0) {
                        volatile double x = p + 1.5, y = 0;
                        for (int i = 0; i < 20000; i++) {
                            y += x * 1.000001;
                            if (i % 64 == 0) sched_yield();
                        }
                        double z = 0;
                        for (int i = 0; i < 20000; i++) z += x * 1.000001;
                        _exit(y != z);
                    }
                int bad = 0, status;
                while (wait(&status) > 0) bad |= status;
                printf("%d\n", bad);
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), '0\n')

    def test_the_signal_stack_is_there_again_after_a_handler(self):
        """Also when it goes away for the time of the handler: SS_AUTODISARM."""
        source = r"""
            #define _GNU_SOURCE
            #include <signal.h>
            #include <stdio.h>
            #include <sys/mman.h>
            static char *stack;
            static const size_t size = 65536;
            static int inside, disarmed;
            static void on_signal(int s)
            {
                char here;
                stack_t now;
                inside += &here >= stack && &here < stack + size;
                sigaltstack(NULL, &now);
                disarmed += now.ss_flags & SS_DISABLE;
                (void)s;
            }
            int main(void)
            {
                stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                stack_t set = { .ss_sp = stack, .ss_size = size, .ss_flags = (int)(1U << 31) }, now;
                struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
                sigaction(SIGUSR1, &action, NULL);
                sigaltstack(&set, NULL);
                for (int i = 0; i < 3; i++)
                    raise(SIGUSR1);
                sigaltstack(NULL, &now);
                printf("%d %d %d\n", inside, disarmed / SS_DISABLE, now.ss_sp == stack);
                return 0;
            }"""
        self.assertEqual(self.compile_and_run(source), '3 3 1\n')

    def test_memory_mappings(self):
        source = r'''
            #include <signal.h>
            #include <setjmp.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/mman.h>
            static sigjmp_buf back;
            static void on_fault(int s) { siglongjmp(back, 1); }
            int main(void)
            {
                size_t n = 64 << 20;
                char *p = mmap(0, n, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                for (size_t i = 0; i < n; i += 4096) p[i] = (char)(i >> 12);
                for (size_t i = 0; i < n; i += 4096) if (p[i] != (char)(i >> 12)) return 1;
                signal(SIGSEGV, on_fault);
                if (!sigsetjmp(back, 1)) { mprotect(p, 4096, PROT_READ); p[0] = 1; return 2; }
                if (!sigsetjmp(back, 1)) { munmap(p, n); p[4096] = 1; return 3; }
                char *q = mmap(0, 8192, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                q = mremap(q, 8192, 8192, MREMAP_MAYMOVE);
                puts(q ? "fine" : "mremap");
                return 0;
            }'''
        self.assertEqual(self.compile_and_run('#define _GNU_SOURCE\n' + source), 'fine\n')

    def test_debugging_a_process(self):
        """ptrace, as gdb and strace use it."""
        source = r'''
            #include <stdio.h>
            #include <sys/ptrace.h>
            #include <sys/user.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int main(void)
            {
                int status, calls = 0;
                pid_t pid = fork();
                if (pid == 0) {
                    ptrace(PTRACE_TRACEME, 0, 0, 0);
                    execl("/bin/true", "true", (char *)0);
                }
                waitpid(pid, &status, 0);
                while (!WIFEXITED(status)) {
                    ptrace(PTRACE_SYSCALL, pid, 0, 0);
                    waitpid(pid, &status, 0);
                    calls++;
                }
                printf("%d %d\n", calls > 20, WEXITSTATUS(status));
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), '1 0\n')

    def test_time_goes_on(self):
        out = self.guest('a=$(date +%s%N); sleep 1; b=$(date +%s%N); echo $(( (b-a)/1000000 ))')
        self.assertTrue(1000 <= int(out) < 5000, out)
        self.assertLess(abs(int(self.guest('date +%s')) - time.time()), 30)

    def test_clocks_are_monotonic(self):
        source = r'''
            #include <stdio.h>
            #include <time.h>
            int main(void)
            {
                long last = 0;
                for (int i = 0; i < 20000; i++) {
                    struct timespec t;
                    clock_gettime(CLOCK_MONOTONIC, &t);
                    long now = t.tv_sec * 1000000000L + t.tv_nsec;
                    if (now < last) return printf("back by %ld ns\n", last - now), 1;
                    last = now;
                }
                puts("fine");
                return 0;
            }'''
        self.assertEqual(self.compile_and_run(source), 'fine\n')

    def test_timers(self):
        out = self.guest('timeout 0.3 sleep 10 || echo $?')
        self.assertEqual(out, '124\n')

    def test_random_numbers(self):
        out = self.guest('head -c 32 /dev/urandom | sha256sum; head -c 32 /dev/random | sha256sum; '
                         'cat /proc/sys/kernel/random/uuid')
        self.assertEqual(len(set(out.split())), 4, 'two sums, one dash, one id')
        self.assertTrue(self.guest('cat /sys/class/misc/hw_random/rng_current').startswith('virtio'))

    def test_two_machines_differ(self):
        ids = {self.sh('cat /proc/sys/kernel/random/boot_id').text for _ in range(2)}
        self.assertEqual(len(ids), 2)

    def test_ptys(self):
        self.assertIn('/dev/pts/', self.guest(
            'script -qec tty /dev/null </dev/null 2>/dev/null || echo /dev/pts/none'))

    def test_shared_memory(self):
        self.guest('echo x >/dev/shm/f; cat /dev/shm/f; rm /dev/shm/f')

    def test_pipes_and_sockets(self):
        self.assertEqual(self.guest('seq 1 100000 | sort -rn | head -1'), '100000\n')

    def test_many_processes(self):
        out = self.guest('for i in $(seq 200); do sleep 1000 & done; ls /proc | grep -c "^[0-9]"; '
                         'kill $(jobs -p); wait; echo done')
        count, done = out.split()
        self.assertGreater(int(count), 200)
        self.assertEqual(done, 'done')

    def test_settings_of_the_kernel(self):
        self.assertEqual(self.guest('cat /proc/sys/kernel/ostype'), 'Linux\n')
        self.guest('test -e /proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/ip_forward; '
                   'grep -q 1 /proc/sys/net/ipv4/ip_forward')
        self.assertGreaterEqual(int(self.guest('cat /proc/sys/kernel/pid_max')), 32768)
        self.guest('zcat /proc/config.gz | grep -q "^CONFIG_OVERLAY_FS=y"')

    def test_modules_are_off(self):
        self.guest('test ! -e /proc/modules')

    def test_an_interpreter_of_its_own(self):
        """binft_misc, as qemu-user and Java use it."""
        self.guest('mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null || true; '
                   'test -e /proc/sys/fs/binfmt_misc/register')

    def test_vsock(self):
        source = r'''
            #include <stdio.h>
            #include <sys/socket.h>
            #include <linux/vm_sockets.h>
            int main(void) { printf("%d\n", socket(AF_VSOCK, SOCK_STREAM, 0) >= 0); return 0; }'''
        self.assertEqual(self.compile_and_run('#include <sys/types.h>\n' + source), '1\n')

    def test_the_agent_is_pid_1(self):
        out = self.guest('ps -o pid=,comm= -p 1; ps ax -o stat= | grep -c Z || true')
        self.assertIn('1 ', out)
        self.assertEqual(out.splitlines()[1], '0', 'zombies')

    def test_docker_in_the_machine_finds_its_features(self):
        """The list of moby's check-config.sh, the necessary part, with nf_tables instead of the
        legacy tables of iptables: Debian's iptables and Docker speak nf_tables."""
        config = self.guest('zcat /proc/config.gz')
        wanted = '''NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_CPUACCT CGROUP_DEVICE
            CGROUP_FREEZER CGROUP_SCHED CPUSETS MEMCG KEYS VETH BRIDGE BRIDGE_NETFILTER
            NETFILTER_XT_TARGET_MASQUERADE NETFILTER_XT_MATCH_ADDRTYPE
            NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MARK NF_NAT POSIX_MQUEUE NFT_CT NFT_FIB_INET
            CGROUP_BPF USER_NS SECCOMP SECCOMP_FILTER CGROUP_PIDS OVERLAY_FS NF_TABLES NFT_NAT
            NFT_MASQ NFT_COMPAT IO_URING FUSE_FS VSOCKETS BPF_SYSCALL TUN MACVLAN
            VXLAN'''.split()
        missing = [name for name in wanted if not re.search(rf'^CONFIG_{name}=y$', config, re.M)]
        self.assertEqual(missing, [])
