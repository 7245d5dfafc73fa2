-- Every language server that this Neovim starts runs in the project's sandbox.
-- In the project's .nvim.lua ('exrc', Neovim 0.9 and newer), or in your init.lua.
local start = vim.lsp.rpc.start
vim.lsp.rpc.start = function(cmd, args, ...)
  if type(cmd) == 'table' then -- Neovim 0.10 and newer: the whole command line
    return start(vim.list_extend({ 'sbx', 'lsp', '--' }, cmd), args, ...)
  end
  return start('sbx', vim.list_extend({ 'lsp', '--', cmd }, args or {}), ...)
end
