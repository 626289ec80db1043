#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_rooms.py: checks every #include against the room table in ARCHITECTURE.md.

A row of the table is | `folder/` | who lives here | what it may use |. The folders stand from the
ground up, so a row may use only rows above it. A sentence names what the agent may use, another one
the home of each library. Private headers (internal.h, x_internal.h) stay in their folder.
"""
import os
import re
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AGENT = 'guest/agent'
# The headers of each library that the text names a home for.
LIBRARIES = {'json-c': ('json-c/', 'json.h', 'json_object'), 'libseccomp': ('seccomp.h',),
             'libcrypto': ('openssl/',), 'liburing': ('liburing',), 'libslirp': ('slirp/',),
             'zlib': ('zlib.h',), 'libzstd': ('zstd.h',)}


class Rooms:
    """What ARCHITECTURE.md of a tree allows."""

    def __init__(self, top):
        self.top = top
        with open(os.path.join(top, 'ARCHITECTURE.md')) as f:
            text = f.read()
        rows = re.findall(r'^\| `([a-z]+)/` \|[^|]*\|([^|]*)\|$', text, re.M)
        self.may_use = {folder: set(uses.split()) - {'libc'} for folder, uses in rows}
        agent = re.search(r'The agent \(`guest/agent/`\) uses ([^.]*)\.', text)
        self.agent_may_use = set(re.findall(r'`([a-z]+)`', agent[1])) if agent else set()
        homes = re.search(r'Each library has one home: ([^.]*)\.', text)
        self.homes = {}
        for names, folder in re.findall(r'([a-z0-9, \n-]+?) in\s+`([a-z]+)/`',
                                        homes[1] if homes else ''):
            for name in re.split(r',\s*|\s+and\s+', names):
                if name.strip():
                    self.homes[name.strip()] = folder

    def files(self, *folder):
        found = []
        for place, _, names in os.walk(os.path.join(self.top, *folder)):
            found += [os.path.join(place, name) for name in names if name.endswith(('.c', '.h'))]
        return sorted(found)

    def folders(self):
        src = os.path.join(self.top, 'src')
        return sorted(name for name in os.listdir(src) if os.path.isdir(os.path.join(src, name)))

    def problems(self):
        return self.table_problems() + self.include_problems()

    def table_problems(self):
        """A row for every folder, a folder for every row, and no row that uses one below it."""
        found = [f'src/{folder}/ is missing in the table' for folder in self.folders()
                 if folder not in self.may_use]
        found += [f'the table names {folder}/, which is not in src/' for folder in self.may_use
                  if folder not in self.folders()]
        above = set()
        for folder, uses in self.may_use.items():
            found += [f'the table lets {folder}/ use {use}, which does not stand above it'
                      for use in sorted(uses - above)]
            above.add(folder)
        return found

    def include_problems(self):
        found = []
        for folder in self.folders():
            allowed = self.may_use.get(folder, set()) | {folder}
            for path in self.files('src', folder):
                found += self.check(path, folder, allowed)
        for path in self.files(*AGENT.split('/')):
            found += self.check(path, AGENT, self.agent_may_use | {'agent'})
        return found

    def check(self, path, folder, allowed):
        shown = os.path.relpath(path, self.top)
        with open(path) as f:
            text = f.read()
        ours = re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M)
        found = []
        for name in ours:
            room = name.split('/')[0] if '/' in name else None
            if room is None:
                if folder != AGENT:
                    found.append(f'{shown}: "{name}": write the path from src/')
            elif room not in allowed:
                found.append(f'{shown}: {folder} may not use {room} ("{name}")')
            elif room != folder and re.search(r'(^|_|/)internal\.h$', name) and folder != AGENT:
                found.append(f'{shown}: "{name}" is private to {room}')
            elif folder == AGENT and room != 'agent' and name.endswith('internal.h'):
                found.append(f'{shown}: "{name}" is private to {room}')
        found += self.check_own_header(path, shown, text)
        for header in re.findall(r'^\s*#\s*include\s+<([^>]+)>', text, re.M):
            for library, prefixes in LIBRARIES.items():
                home = self.homes.get(library)
                if home and folder != home and header.startswith(prefixes):
                    found.append(f'{shown}: <{header}>: the home of {library} is {home}/')
        return found

    def check_own_header(self, path, shown, text):
        """x.c includes x.h first: this proves that x.h includes what it needs."""
        header = path[:-2] + '.h'
        if not path.endswith('.c') or not os.path.exists(header):
            return []
        own = os.path.relpath(header, os.path.join(self.top, 'src'))
        if own.startswith('..'):
            return []
        first = re.search(r'^\s*#\s*include\s+["<]([^">]+)', text, re.M)
        if first and first[1] == own:
            return []
        return [f'{shown}: does not include "{own}" first']


class ThisTree(unittest.TestCase):
    def test_table_was_found(self):
        rooms = Rooms(TOP)
        self.assertIn('base', rooms.may_use)
        self.assertTrue(rooms.agent_may_use, 'no sentence about what the agent uses')
        self.assertEqual(set(rooms.homes) - set(LIBRARIES), set(), 'libraries unknown to this test')

    def test_every_library_in_use_has_a_home(self):
        rooms = Rooms(TOP)
        used = {library for path in rooms.files('src') for library, prefixes in LIBRARIES.items()
                if re.search(r'^\s*#\s*include\s+<(?:' + '|'.join(map(re.escape, prefixes)) + ')',
                             open(path).read(), re.M)}
        self.assertEqual(used, set(rooms.homes))

    def test_every_folder_has_its_row(self):
        self.assertEqual(Rooms(TOP).table_problems(), [])

    def test_every_include_is_allowed(self):
        self.assertEqual(Rooms(TOP).include_problems(), [])


class WrongTrees(unittest.TestCase):
    """The check itself: each wrong tree has exactly the problem that was put into it."""

    TABLE = '''
| folder | who lives here | may use |
|---|---|---|
| `base/` | ground | libc |
| `wire/` | messages | base |

The agent (`guest/agent/`) uses `base`. Each library has one home: json-c in `base/`.
'''
    RIGHT = {
        'ARCHITECTURE.md': TABLE,
        'src/base/a.h': '',
        'src/base/a.c': '#include "base/a.h"\n#include <json-c/json.h>\n',
        'src/wire/w.c': '#include "base/a.h"\n',
        'guest/agent/main.c': '#include "base/a.h"\n#include "local.h"\n',
    }

    def problems(self, **changes):
        """The problems of the right tree after some files were changed (a/b.c is written a__b_c)."""
        files = dict(self.RIGHT)
        for key, text in changes.items():
            files[key.replace('__', '/').replace('_c', '.c').replace('_h', '.h')] = text
        with tempfile.TemporaryDirectory() as top:
            for name, text in files.items():
                path = os.path.join(top, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'w') as f:
                    f.write(text)
            return Rooms(top).problems()

    def only(self, text, **changes):
        found = self.problems(**changes)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_right(self):
        self.assertEqual(self.problems(), [])

    def test_use_of_a_room_above(self):
        self.only('base may not use wire', src__base__b_c='#include "wire/w.h"\n')

    def test_agent(self):
        self.only('may not use wire', guest__agent__x_c='#include "wire/w.h"\n')

    def test_folder_without_a_row(self):
        self.only('src/new/ is missing', src__new__n_c='')

    def test_row_without_a_folder(self):
        self.only('which is not in src/',
                  **{'ARCHITECTURE.md': self.TABLE.replace('\n\nThe', '\n| `old/` | x | base |\n\nThe')})

    def test_table_that_contradicts_its_order(self):
        self.only('does not stand above', **{'ARCHITECTURE.md': self.TABLE.replace('| libc |', '| wire |')})

    def test_private_header(self):
        self.only('is private to base', src__wire__w_c='#include "base/a_internal.h"\n')

    def test_path_that_does_not_begin_at_src(self):
        self.only('write the path', src__wire__w_c='#include "w.h"\n')

    def test_own_header_first(self):
        self.only('first', src__base__a_c='#include <stdio.h>\n#include "base/a.h"\n')

    def test_library_away_from_home(self):
        self.only('home of json-c', src__wire__w_c='#include <json-c/json.h>\n')


if __name__ == '__main__':
    sys.exit(0 if unittest.main(exit=False).result.wasSuccessful() else 1)
