// sbx in the workbench. What is no matter of the workbench is in lib.js.
'use strict';
const vscode = require('vscode');
const fs = require('node:fs');
const path = require('node:path');
const lib = require('./lib');

class Project {
  constructor(folder) {
    this.dir = folder.uri.fsPath;
    this.folder = folder;
    this.status = undefined;
    this.told = new Set();
    this.item = vscode.window.createStatusBarItem(vscode.StatusBarAlignment.Left, 10);
    this.item.command = 'sbx.menu';
    this.mistakes = vscode.languages.createDiagnosticCollection('sbx');
    this.stopStatus = lib.follow(command(), ['status', '--json', '--watch'], this.dir, (s) => this.became(s), () => {
      this.item.text = '$(shield) sbx: not found';
      this.item.show();
    });
    this.check(path.join(this.dir, '.sbx.toml'));
  }

  // became is called with each new status.
  became(s) {
    const before = this.status;
    this.status = s;
    const l = lib.label(s);
    this.item.text = l.text;
    this.item.tooltip = l.tooltip;
    this.item.backgroundColor = l.warn ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    if (l.text) this.item.show();
    else this.item.hide();
    if (!before || before.id !== s.id) {
      if (this.stopDenials) this.stopDenials();
      this.stopDenials = undefined;
      this.told.clear();
      if (s.id && vscode.workspace.getConfiguration('sbx').get('denials', true)) {
        this.stopDenials = lib.follow(command(), ['net', 'log', '--follow', '--json', s.name], this.dir, (e) => this.denied(e));
      }
    }
    if ((s.trust === 'untrusted' || s.trust === 'changed') && (!before || before.trust !== s.trust)) this.askTrust(l.tooltip);
  }

  async askTrust(text) {
    if (await vscode.window.showWarningMessage(`sbx: ${text}.`, 'Show') === 'Show') await this.trust();
  }

  // denied says that something was blocked, once for each rule that would allow it.
  async denied(e) {
    const d = lib.denial(e);
    if (!d || this.told.has(d.key)) return;
    this.told.add(d.key);
    const answers = d.rule ? ['Allow', 'Open Profile'] : ['Open Profile'];
    const answer = await vscode.window.showWarningMessage(`sbx: ${d.text}`, ...answers);
    if (answer === 'Allow' && this.status && this.status.name) await this.do(['net', 'allow', this.status.name, d.rule]);
    if (answer === 'Open Profile') {
      const file = (this.status && this.status.file) || path.join(this.dir, '.sbx.toml');
      if (fs.existsSync(file)) await vscode.window.showTextDocument(vscode.Uri.file(file));
    }
  }

  // trust shows what the profile asks for, and agrees if the person does.
  async trust() {
    const asked = await lib.run(command(), ['trust', '--show'], this.dir);
    if (asked.code !== 0) return vscode.window.showErrorMessage(`sbx: ${asked.text}`);
    const answer = await vscode.window.showWarningMessage("Trust this project's profile?", { modal: true, detail: asked.text }, 'Trust');
    return answer === 'Trust' ? this.do(['trust']) : undefined;
  }

  // do runs sbx and shows what went wrong.
  async do(args) {
    const done = await lib.run(command(), args, this.dir);
    if (done.code !== 0) await vscode.window.showErrorMessage(`sbx: ${done.text}`);
  }

  // check has mistakes in the profile shown where they are.
  async check(file) {
    if (!fs.existsSync(file)) return this.mistakes.clear();
    const found = await lib.run(command(), ['profile', 'check', '--format=json', file], this.dir);
    this.mistakes.set(vscode.Uri.file(file), lib.mistakes(found.stdout, file).map((m) => new vscode.Diagnostic(
      new vscode.Range(m.line, m.column, m.line, m.column + 1000), m.text, vscode.DiagnosticSeverity.Error)));
  }

  dispose() {
    this.stopStatus();
    if (this.stopDenials) this.stopDenials();
    this.item.dispose();
    this.mistakes.dispose();
  }
}

// command is the program; a folder that is not trusted has no say in it.
function command() {
  return vscode.workspace.getConfiguration('sbx').get('command', 'sbx');
}

const projects = new Map();

function current() {
  const editor = vscode.window.activeTextEditor;
  const folder = editor && vscode.workspace.getWorkspaceFolder(editor.document.uri);
  return (folder && projects.get(folder.uri.toString())) || [...projects.values()][0];
}

function refresh() {
  const folders = new Map((vscode.workspace.workspaceFolders || []).filter((f) => f.uri.scheme === 'file').map((f) => [f.uri.toString(), f]));
  for (const [key, project] of projects) {
    if (!folders.has(key)) {
      project.dispose();
      projects.delete(key);
    }
  }
  for (const [key, folder] of folders) if (!projects.has(key)) projects.set(key, new Project(folder));
}

async function menu() {
  const project = current();
  if (!project) return;
  const s = project.status || {};
  const choices = [
    { label: 'Start the sandbox', args: ['up'], when: s.state === 'down' },
    { label: 'Start the sandbox anew', args: ['up', '--replace'], when: Boolean(s.outdated) },
    { label: 'End the sandbox', args: ['down'], when: Boolean(s.id) },
    { label: 'Trust the profile...', trust: true, when: s.trust === 'untrusted' || s.trust === 'changed' },
  ].filter((c) => c.when);
  const chosen = await vscode.window.showQuickPick(choices, { placeHolder: s.name || s.project });
  if (chosen && chosen.trust) await project.trust();
  else if (chosen) await project.do(chosen.args);
}

// tasks are those of the project's files, by name.
function tasks() {
  const list = [];
  for (const project of projects.values()) {
    const read = (file) => {
      try {
        return fs.readFileSync(path.join(project.dir, file), 'utf8');
      } catch {
        return '';
      }
    };
    for (const name of lib.targets(read('Makefile'))) list.push(task(project.folder, `make ${name}`));
    for (const name of lib.scripts(read('package.json'))) list.push(task(project.folder, `npm run ${name}`));
  }
  return list;
}

function task(folder, text, definition) {
  const [program, ...args] = lib.task(command(), text);
  return new vscode.Task(definition || { type: 'sbx', command: text }, folder, text, 'sbx', new vscode.ProcessExecution(program, args, { cwd: folder.uri.fsPath }));
}

function activate(context) {
  refresh();
  const register = vscode.commands.registerCommand;
  context.subscriptions.push(
    register('sbx.up', () => current() && current().do(['up'])),
    register('sbx.down', () => current() && current().do(['down'])),
    register('sbx.trust', () => current() && current().trust()),
    register('sbx.menu', menu),
    vscode.workspace.onDidChangeWorkspaceFolders(refresh),
    vscode.workspace.onDidSaveTextDocument((document) => {
      if (path.basename(document.fileName) !== '.sbx.toml') return;
      for (const project of projects.values()) if (path.dirname(document.fileName) === project.dir) project.check(document.fileName);
    }),
    vscode.window.registerTerminalProfileProvider('sbx.terminal', {
      provideTerminalProfile() {
        const project = current();
        const [shellPath, ...shellArgs] = lib.shell(project && project.status, command(), process.env.SHELL || '/bin/sh');
        return new vscode.TerminalProfile({ name: 'sbx', shellPath, shellArgs, cwd: project && project.dir });
      },
    }),
    vscode.tasks.registerTaskProvider('sbx', {
      provideTasks: tasks,
      resolveTask: (t) => (t.scope && t.scope.uri ? task(t.scope, t.definition.command, t.definition) : undefined),
    }),
    { dispose: deactivate },
  );
}

function deactivate() {
  for (const project of projects.values()) project.dispose();
  projects.clear();
}

module.exports = { activate, deactivate };
