-- sbx for Neovim (0.7 and newer): the project's sandbox in the status line, its
-- language servers and terminals inside, and what its network has blocked.
--
--   require('sbx').setup()                     -- in init.lua
--   require('sbx').setup({ lsp = false })      -- leave language servers alone
--   vim.o.statusline = '%f %{v:lua.require("sbx").statusline()}'

local M = { options = { command = 'sbx', lsp = true, denials = true }, state = nil }

local jobs = {} -- by what they are for: status, denials
local told = {} -- rules that a notification was about

local function notify(text, level)
  vim.schedule(function()
    vim.notify('sbx: ' .. text, level or vim.log.levels.INFO)
  end)
end

-- lines calls each with every whole line that a job writes.
local function lines(each)
  local rest = ''
  return function(_, data)
    data[1] = rest .. data[1]
    rest = table.remove(data)
    for _, line in ipairs(data) do
      each(line)
    end
  end
end

local function stop(what)
  if jobs[what] then
    vim.fn.jobstop(jobs[what])
    jobs[what] = nil
  end
end

-- run runs sbx and calls back with its exit status and all that it wrote.
local function run(args, done)
  local text = {}
  local function collect(_, data)
    vim.list_extend(text, data)
  end
  local argv = vim.list_extend({ M.options.command }, args)
  local ok, job = pcall(vim.fn.jobstart, argv, {
    on_stdout = collect,
    on_stderr = collect,
    stdout_buffered = true,
    stderr_buffered = true,
    on_exit = function(_, code)
      done(code, vim.trim(table.concat(text, '\n')))
    end,
  })
  if not ok or job <= 0 then
    notify(M.options.command .. ' cannot be run', vim.log.levels.ERROR)
  end
end

-- denied is called with each line of sbx net log.
local function denied(line)
  local ok, event = pcall(vim.json.decode, line)
  if not ok or event.event ~= 'denied' or told[event.add or line] then
    return
  end
  told[event.add or line] = true
  local target = event.name or event.address or '?'
  if event.port then
    target = target .. ':' .. event.port
  end
  local text = 'blocked ' .. target
  if event.add then
    text = text .. '; :SbxAllow ' .. event.add .. ' allows it until the sandbox ends'
  end
  notify(text, vim.log.levels.WARN)
end

-- became is called with each new status.
local function became(status)
  local before = M.state
  M.state = status
  local same = before and before.id == status.id
  if not same then
    stop('denials')
    told = {}
    if status.id and M.options.denials then
      jobs.denials = vim.fn.jobstart({ M.options.command, 'net', 'log', '--follow', '--json', status.name }, { on_stdout = lines(denied) })
    end
  end
  if (status.trust == 'untrusted' or status.trust == 'changed') and not (before and before.trust == status.trust) then
    notify('this project\'s profile is ' .. status.trust .. '; :SbxTrust shows what it asks for', vim.log.levels.WARN)
  elseif status.outdated and not (before and before.outdated) then
    notify(status.outdated .. '; sbx up --replace starts the sandbox anew', vim.log.levels.WARN)
  end
  vim.schedule(function()
    vim.cmd('redrawstatus!')
    vim.cmd('silent doautocmd <nomodeline> User SbxStatus')
  end)
end

-- statusline is a word for the status line, empty where there is no project.
function M.statusline()
  local s = M.state
  if not s or (s.trust == 'none' and s.state == 'down') then
    return ''
  end
  if s.trust ~= 'trusted' and s.trust ~= 'none' then
    return '[sbx ' .. s.trust .. ']'
  end
  return '[sbx ' .. (s.outdated and 'outdated' or s.state) .. ']'
end

-- watch follows the status of the current directory.
function M.watch()
  stop('status')
  local ok, job = pcall(vim.fn.jobstart, { M.options.command, 'status', '--json', '--watch' }, {
    on_stdout = lines(function(line)
      local fine, status = pcall(vim.json.decode, line)
      if fine and status.schema == 1 then
        became(status)
      end
    end),
  })
  if ok and job > 0 then
    jobs.status = job
  end
end

-- inside is a language server's command line in the project's sandbox. Where its
-- profile is not trusted, sbx refuses, and the server does not start.
function M.inside(cmd)
  if type(cmd) ~= 'table' or vim.fn.fnamemodify(cmd[1], ':t') == 'sbx' then
    return cmd
  end
  return vim.list_extend({ M.options.command, 'lsp', '--' }, cmd)
end

local function wrap()
  if M.wrapped then
    return
  end
  M.wrapped = true
  local start = vim.lsp.rpc.start
  vim.lsp.rpc.start = function(cmd, args, ...)
    if type(cmd) == 'table' then -- 0.10 and newer: the whole command line
      return start(M.inside(cmd), args, ...)
    end
    local all = M.inside(vim.list_extend({ cmd }, args or {}))
    return start(table.remove(all, 1), all, ...)
  end
end

function M.up()
  run({ 'up' }, function(code, text)
    notify(text, code ~= 0 and vim.log.levels.ERROR or nil)
  end)
end

function M.down()
  run({ 'down' }, function(code, text)
    notify(text, code ~= 0 and vim.log.levels.ERROR or nil)
  end)
end

-- trust shows what the profile asks for, and asks.
function M.trust()
  run({ 'trust', '--show' }, function(code, text)
    if code ~= 0 then
      return notify(text, vim.log.levels.ERROR)
    end
    vim.schedule(function()
      if vim.fn.confirm(text, '&Trust it\n&No', 2) == 1 then
        run({ 'trust' }, function(status, said)
          notify(said, status ~= 0 and vim.log.levels.ERROR or nil)
        end)
      end
    end)
  end)
end

-- terminal opens one in the project's sandbox, with a shell or a command.
function M.terminal(command)
  vim.cmd('new')
  local argv = { M.options.command, 'exec', '-it', '--' }
  if not (M.state and M.state.state == 'running') then
    argv = { M.options.command, 'run', '--' }
  end
  vim.list_extend(argv, command and { 'sh', '-c', command } or { vim.env.SHELL or 'sh' })
  vim.fn.termopen(argv)
  vim.cmd('startinsert')
end

-- allow lets the running sandbox talk to somebody, until it ends.
function M.allow(rule)
  if not (M.state and M.state.name) then
    return notify('no sandbox is up here', vim.log.levels.ERROR)
  end
  run({ 'net', 'allow', M.state.name, rule }, function(code, text)
    notify(code == 0 and rule .. ' is allowed until the sandbox ends' or text, code ~= 0 and vim.log.levels.ERROR or nil)
  end)
end

function M.setup(options)
  M.options = vim.tbl_extend('force', M.options, options or {})
  if M.options.lsp then
    wrap()
  end
  M.watch()
  local group = vim.api.nvim_create_augroup('sbx', {})
  vim.api.nvim_create_autocmd('DirChanged', { group = group, callback = M.watch })
  vim.api.nvim_create_autocmd('VimLeavePre', { group = group, callback = function()
    stop('status')
    stop('denials')
  end })
end

return M
