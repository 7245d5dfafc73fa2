// The extension with a stand-in for the workbench and the real sbx (SBX_BIN). What
// a workbench makes of it is not tested here.
'use strict';
const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const Module = require('node:module');
const { spawnSync } = require('node:child_process');

const sbx = process.env.SBX_BIN;

// workbench is as much of the API as the extension uses.
function workbench(dir) {
  const w = { commands: {}, messages: [], answers: {}, items: [], diagnostics: new Map() };
  const disposable = { dispose() {} };
  const say = (text, ...rest) => {
    w.messages.push(text);
    const options = rest.filter((r) => typeof r === 'string');
    return Promise.resolve(options.find((o) => w.answers[o]));
  };
  const folder = { uri: { fsPath: dir, scheme: 'file', toString: () => `file://${dir}` }, name: 'p', index: 0 };
  w.api = {
    StatusBarAlignment: { Left: 1 },
    DiagnosticSeverity: { Error: 0 },
    ThemeColor: class { constructor(id) { this.id = id; } },
    Range: class { constructor(a, b, c, d) { Object.assign(this, { start: { line: a, character: b }, end: { line: c, character: d } }); } },
    Diagnostic: class { constructor(range, message) { Object.assign(this, { range, message }); } },
    Task: class { constructor(definition, scope, name, source, execution) { Object.assign(this, { definition, scope, name, source, execution }); } },
    ProcessExecution: class { constructor(program, args, options) { Object.assign(this, { program, args, options }); } },
    TerminalProfile: class { constructor(options) { this.options = options; } },
    Uri: { file: (p) => ({ fsPath: p, toString: () => `file://${p}` }) },
    window: {
      createStatusBarItem: () => {
        const item = { text: '', show() { this.shown = true; }, hide() { this.shown = false; }, dispose() {} };
        w.items.push(item);
        return item;
      },
      showWarningMessage: say, showErrorMessage: say,
      showQuickPick: (list) => { w.choices = list; return Promise.resolve(list[0]); },
      showTextDocument: () => Promise.resolve(),
      registerTerminalProfileProvider: (_, p) => { w.terminals = p; return disposable; },
    },
    languages: { createDiagnosticCollection: () => ({ set: (u, l) => w.diagnostics.set(u.fsPath, l), clear() {}, dispose() {} }) },
    workspace: {
      workspaceFolders: [folder],
      getWorkspaceFolder: () => folder,
      getConfiguration: () => ({ get: (key, value) => (key === 'command' ? sbx : value) }),
      onDidChangeWorkspaceFolders: () => disposable,
      onDidSaveTextDocument: (f) => { w.saved = f; return disposable; },
    },
    commands: { registerCommand: (name, f) => { w.commands[name] = f; return disposable; } },
    tasks: { registerTaskProvider: (_, p) => { w.tasks = p; return disposable; } },
  };
  return w;
}

async function until(what, holds) {
  for (let i = 0; i < 600; i++) {
    if (holds()) return;
    await new Promise((r) => setTimeout(r, 50));
  }
  assert.fail(`it never came to be: ${what}`);
}

function load(w) {
  const real = Module._load;
  Module._load = (name, ...rest) => (name === 'vscode' ? w.api : real(name, ...rest));
  try {
    delete require.cache[require.resolve('../extension')];
    return require('../extension');
  } finally {
    Module._load = real;
  }
}

test('a project from its trust to its end', { skip: sbx ? false : 'SBX_BIN is not set' }, async (t) => {
  const dir = fs.mkdtempSync(path.join(process.env.SBX_TEST_DIR || os.tmpdir(), 'project-'));
  t.after(() => { spawnSync(sbx, ['down'], { cwd: dir }); fs.rmSync(dir, { recursive: true }); });
  const profile = path.join(dir, '.sbx.toml');
  fs.writeFileSync(profile, 'version = 1\n[network]\nmode = "host"\n');
  fs.writeFileSync(path.join(dir, 'Makefile'), 'check:\n\ttrue\n');
  const w = workbench(dir);
  w.answers = { Trust: true };
  const extension = load(w);
  const context = { subscriptions: [] };
  extension.activate(context);
  t.after(() => extension.deactivate());
  const [item] = w.items;

  await until('it says that the profile is not trusted', () => item.text.includes('untrusted'));
  assert.ok(w.messages.some((m) => m.includes('asks for more')), w.messages.join('\n'));
  await w.commands['sbx.up']();
  assert.ok(w.messages.some((m) => m.includes('network.mode')), 'starting it was refused');

  await w.commands['sbx.trust']();
  await until('it is trusted', () => item.text.includes('sbx: down'));
  await w.commands['sbx.menu']();
  assert.strictEqual(w.choices[0].label, 'Start the sandbox');
  await until('it runs', () => item.text.includes('running'));

  const terminal = w.terminals.provideTerminalProfile().options;
  assert.deepStrictEqual(terminal.shellArgs.slice(0, 2), ['exec', '-it']);
  const [one] = w.tasks.provideTasks();
  assert.strictEqual(one.name, 'make check');
  const ran = spawnSync(one.execution.program, ['sh', '-c', 'cat /proc/1/comm'], { cwd: dir, encoding: 'utf8' });
  assert.strictEqual(ran.stdout, 'sbx-init\n');

  fs.appendFileSync(profile, 'mod = "none"\n');
  await w.saved({ fileName: profile });
  await until('the mistake is shown', () => (w.diagnostics.get(profile) || []).length > 0);
  const [mistake] = w.diagnostics.get(profile);
  assert.strictEqual(mistake.range.start.line, 3);
  assert.match(mistake.message, /network\.mod: unknown key/);
  await until('it is invalid', () => item.text.includes('invalid'));

  await w.commands['sbx.down']();
  extension.deactivate();
  assert.strictEqual(spawnSync(sbx, ['status', '--json'], { cwd: dir, encoding: 'utf8' }).stdout.includes('"state":"down"'), true);
});
