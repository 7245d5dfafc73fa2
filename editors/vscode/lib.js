// What the extension does that is no matter of the workbench.
'use strict';
const { spawn, execFile } = require('node:child_process');

// lines calls each with every whole line of what it is fed.
function lines(each) {
  let rest = '';
  return (chunk) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop();
    for (const line of parts) each(line);
  };
}

// parse is the object in a line, undefined where there is none.
function parse(line) {
  try {
    const value = JSON.parse(line);
    return value && typeof value === 'object' ? value : undefined;
  } catch {
    return undefined;
  }
}

// follow runs a program that writes a JSON object a line. The returned function
// ends it. ended is called with an error when it could not be started.
function follow(command, args, cwd, each, ended = () => {}) {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', lines((line) => {
    const value = parse(line);
    if (value) each(value);
  }));
  child.on('error', ended);
  return () => child.kill();
}

// run runs a program to its end: its status, and all that it wrote.
function run(command, args, cwd) {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, maxBuffer: 8 << 20 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : 125) : 0;
      resolve({ code, stdout, text: (stdout + stderr).trim() || (error ? error.message : '') });
    });
  });
}

// label is the status bar's text and tooltip.
function label(s) {
  if (!s || (s.trust === 'none' && s.state === 'down')) return { text: '', tooltip: '', warn: false };
  if (s.trust === 'untrusted' || s.trust === 'changed' || s.trust === 'invalid') {
    const why = { untrusted: 'asks for more than your own profile grants', changed: 'has changed since you trusted it', invalid: s.problem || 'cannot be read' };
    return { text: `$(shield) sbx: ${s.trust}`, tooltip: `The project's profile ${why[s.trust]}`, warn: true };
  }
  if (s.outdated) return { text: '$(shield) sbx: outdated', tooltip: `${s.name}: ${s.outdated}`, warn: true };
  if (s.state === 'down') return { text: '$(shield) sbx: down', tooltip: 'No sandbox is up for this project', warn: false };
  return { text: `$(shield) sbx: ${s.state}`, tooltip: `${s.name}, of the profile ${s.profile}`, warn: false };
}

// denial is what to say of an event of sbx net log, undefined for other events.
function denial(e) {
  if (e.event !== 'denied') return undefined;
  let target = e.name || e.address || '?';
  if (e.port) target += `:${e.port}`;
  return { key: e.add || target, text: `The sandbox was kept from ${e.protocol === 'dns' ? 'looking up ' : ''}${target}`, rule: e.add };
}

// shell is the command line of a terminal in the project's sandbox.
function shell(status, command, inside) {
  const up = status && status.state === 'running' && !status.outdated;
  return [command, ...(up ? ['exec', '-it', '--'] : ['run', '--']), inside];
}

// task is the command line by which a shell command runs in the sandbox.
function task(command, text) {
  return [command, 'sh', '-c', text];
}

// targets are the names of a Makefile's targets that a person would call.
function targets(makefile) {
  const found = new Set();
  for (const line of makefile.split('\n')) {
    const m = /^([A-Za-z0-9][A-Za-z0-9_-]*)\s*:(?!=)/.exec(line);
    if (m) found.add(m[1]);
  }
  return [...found];
}

// scripts are the names of a package's scripts.
function scripts(text) {
  const value = parse(text);
  return value && value.scripts && typeof value.scripts === 'object' ? Object.keys(value.scripts) : [];
}

// mistakes are those of a profile as sbx profile check --format=json prints them,
// from line and column 0 on.
function mistakes(text, file) {
  const value = parse(text);
  if (!value || !Array.isArray(value.errors)) return [];
  return value.errors.filter((e) => !e.file || e.file === file).map((e) => ({
    line: Math.max((e.line || 1) - 1, 0),
    column: Math.max((e.col || 1) - 1, 0),
    text: [e.key, e.reason].filter(Boolean).join(': ') + (e.fix ? `; ${e.fix}` : ''),
  }));
}

module.exports = { lines, parse, follow, run, label, denial, shell, task, targets, scripts, mistakes };
