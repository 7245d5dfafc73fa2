'use strict';
const assert = require('node:assert');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');
const { Worker } = require('node:worker_threads');
const { summary } = require('../lib/inventory.js');

test('summary', () => assert.equal(summary({ apple: 2, box: 1 }), '2 apples, 1 box'));

test('an install script ran', () => assert.equal(require('sbx-fixture-stamp'), 'stamped by postinstall'));

test('a server of its own', async () => {
  const server = http.createServer((req, res) => res.end('hello')).listen(0, '127.0.0.1');
  await new Promise((r) => server.once('listening', r));
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`);
  assert.equal(await answer.text(), 'hello');
  server.closeAllConnections();
  server.close();
});

test('watching files', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'watch-'));
  const watcher = fs.watch(dir);
  const seen = new Promise((r) => watcher.once('change', (kind, name) => r(name)));
  fs.writeFileSync(path.join(dir, 'a'), '');
  assert.equal(await seen, 'a');
  watcher.close();
});

test('threads and processes', async () => {
  const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
  assert.equal(await new Promise((r) => worker.once('message', r)), 42);
  assert.equal(execFileSync(process.execPath, ['-p', '1 + 1']).toString(), '2\n');
});
