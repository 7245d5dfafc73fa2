-- The commands, which load the rest when they are first used.
if vim.g.loaded_sbx then
  return
end
vim.g.loaded_sbx = true

local function command(name, call, opts)
  vim.api.nvim_create_user_command(name, function(a)
    require('sbx')[call](a.args ~= '' and a.args or nil)
  end, opts or {})
end

command('SbxUp', 'up')
command('SbxDown', 'down')
command('SbxTrust', 'trust')
command('SbxTerm', 'terminal', { nargs = '?', complete = 'shellcmd' })
command('SbxAllow', 'allow', { nargs = 1 })
