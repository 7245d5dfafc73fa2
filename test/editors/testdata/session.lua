-- One session as a person has it: the file is opened, a server started, and asked
-- for what one asks for. What came of it goes to a file as JSON. SESSION says how.
local job = vim.json.decode(vim.env.SESSION)
local out = {}

if job.plugin ~= '' then
  vim.opt.runtimepath:prepend(job.plugin)
  vim.cmd('runtime plugin/sbx.lua')
  require('sbx').setup({ command = job.sbx })
  vim.wait(60000, function() return require('sbx').statusline() == '[sbx running]' end, 50)
  out.statusline = require('sbx').statusline()
end

vim.cmd('edit ' .. vim.fn.fnameescape(job.file))
local id = vim.lsp.start_client({ name = 'server', cmd = job.cmd, root_dir = vim.fn.getcwd() })
vim.lsp.buf_attach_client(0, id)

local function messages()
  local list = {}
  for _, d in ipairs(vim.diagnostic.get(0)) do
    table.insert(list, d.message)
  end
  return list
end
vim.wait(40000, function()
  for _, m in ipairs(messages()) do
    if m:find(job.mistake, 1, true) then return true end
  end
end, 50)
out.diagnostics = messages()

local place = { textDocument = { uri = vim.uri_from_bufnr(0) }, position = { line = job.line, character = job.column } }
local function ask(method, more)
  for _, answer in pairs(vim.lsp.buf_request_sync(0, method, vim.tbl_extend('force', place, more or {}), 60000) or {}) do
    return answer.result
  end
end

local found = ask('textDocument/definition')
found = found and (found[1] or found)
if found then
  out.definition = (found.uri or found.targetUri) .. ':' .. ((found.range or found.targetSelectionRange).start.line)
end
local hover = ask('textDocument/hover')
out.hover = hover and table.concat(vim.lsp.util.convert_input_to_markdown_lines(hover.contents), '\n') or ''
local list = ask('textDocument/completion', { position = { line = job.line, character = job.column + 2 } }) or {}
for _, item in ipairs(list.items or list) do
  if vim.trim(item.label):find(job.name, 1, true) then out.completion = true end
end
local edit = ask('textDocument/rename', { newName = job.rename })
if edit then
  vim.lsp.util.apply_workspace_edit(edit, 'utf-16')
end
out.text = vim.api.nvim_buf_get_lines(0, 0, -1, false)

vim.lsp.stop_client(id)
vim.wait(20000, function() return #vim.lsp.get_active_clients() == 0 end, 50)
out.ended = #vim.lsp.get_active_clients() == 0
vim.fn.writefile({ vim.json.encode(out) }, job.out)
vim.cmd('qall!')
