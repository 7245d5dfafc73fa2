'use strict';
const test = require('node:test');
const assert = require('node:assert');
const lib = require('../lib');

test('lines are whole, however they come', () => {
  const got = [];
  const feed = lib.lines((l) => got.push(l));
  for (const chunk of ['{"a"', ':1}\n{"b":2}\n{', '"c":3}\n', 'rest']) feed(chunk);
  assert.deepStrictEqual(got, ['{"a":1}', '{"b":2}', '{"c":3}']);
});

test('what is no object is none', () => {
  for (const text of ['', 'null', '1', '{', 'sbx: error']) assert.strictEqual(lib.parse(text), undefined);
});

test('the label warns where nothing would run, or not as the person thinks', () => {
  const base = { project: '/p', name: 'up-p', profile: 'p', state: 'running', trust: 'trusted' };
  for (const [change, text, warn] of [
    [{}, '$(shield) sbx: running', false],
    [{ state: 'down' }, '$(shield) sbx: down', false],
    [{ trust: 'none', state: 'down' }, '', false],
    [{ trust: 'untrusted' }, '$(shield) sbx: untrusted', true],
    [{ trust: 'changed' }, '$(shield) sbx: changed', true],
    [{ trust: 'invalid', problem: 'line 3' }, '$(shield) sbx: invalid', true],
    [{ outdated: 'its profile has changed' }, '$(shield) sbx: outdated', true],
  ]) {
    const l = lib.label({ ...base, ...change });
    assert.strictEqual(l.text, text);
    assert.strictEqual(l.warn, warn);
  }
  assert.strictEqual(lib.label(undefined).text, '');
});

test('a denial names what would allow it, if anything does', () => {
  assert.deepStrictEqual(lib.denial({ event: 'denied', name: 'example.org', port: 443, add: 'example.org:443' }),
    { key: 'example.org:443', text: 'The sandbox was kept from example.org:443', rule: 'example.org:443' });
  assert.strictEqual(lib.denial({ event: 'denied', address: '10.0.0.1' }).rule, undefined);
  assert.strictEqual(lib.denial({ event: 'published' }), undefined);
});

test('a terminal is in the sandbox that is up, else in one of its own', () => {
  assert.deepStrictEqual(lib.shell({ state: 'running' }, 'sbx', '/bin/bash'), ['sbx', 'exec', '-it', '--', '/bin/bash']);
  for (const status of [undefined, { state: 'down' }, { state: 'running', outdated: 'changed' }]) {
    assert.deepStrictEqual(lib.shell(status, 'sbx', '/bin/bash'), ['sbx', 'run', '--', '/bin/bash']);
  }
});

test('targets and scripts', () => {
  assert.deepStrictEqual(lib.targets('CC := gcc\nall: a b\n.PHONY: all\na.o: a.c\ntest-all:\n\techo x: y\n'), ['all', 'test-all']);
  assert.deepStrictEqual(lib.scripts('{"scripts":{"build":"x","test":"y"}}'), ['build', 'test']);
  for (const text of ['', '{}', '{"scripts":3}', 'x']) assert.deepStrictEqual(lib.scripts(text), []);
});

test('mistakes are where the editor counts from', () => {
  const text = JSON.stringify({ errors: [{ file: '/p/.sbx.toml', line: 3, col: 2, key: 'network.mod', reason: 'unknown key', fix: 'mode' }, { reason: 'whole' }, { file: '/other', line: 1, reason: 'no' }] });
  assert.deepStrictEqual(lib.mistakes(text, '/p/.sbx.toml'), [
    { line: 2, column: 1, text: 'network.mod: unknown key; mode' },
    { line: 0, column: 0, text: 'whole' },
  ]);
  assert.deepStrictEqual(lib.mistakes('no json', '/p'), []);
});
