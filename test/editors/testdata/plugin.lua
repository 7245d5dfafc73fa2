-- What the plug-in says and does in a project, from its trust to its end.
local said = {}
vim.notify = function(text) table.insert(said, text) end
local function says(text)
  local found = vim.wait(60000, function()
    for _, line in ipairs(said) do
      if line:find(text, 1, true) then return true end
    end
  end, 50)
  io.stdout:write((found and 'it says: ' or 'it does not say: ') .. text .. '\n')
end
local function shows(text)
  local found = vim.wait(60000, function() return require('sbx').statusline() == text end, 50)
  io.stdout:write((found and 'it shows: ' or 'it does not show: ') .. text .. '\n')
end

vim.opt.runtimepath:prepend(vim.env.PLUGIN)
vim.cmd('runtime plugin/sbx.lua')
require('sbx').setup({ command = vim.env.SBX, lsp = false })
shows('[sbx untrusted]')
says("this project's profile is untrusted")
vim.cmd('SbxUp')
says('network.mode')
vim.fn.confirm = function(text)
  io.stdout:write('it asks: ' .. (text:find('network.mode', 1, true) and 'with what is asked for' or text) .. '\n')
  return 1
end
vim.cmd('SbxTrust')
shows('[sbx down]')
vim.cmd('SbxUp')
shows('[sbx running]')
vim.fn.system({ vim.env.SBX, 'exec', '--', 'bash', '-c', ': </dev/tcp/192.0.2.1/80' })
says('blocked 192.0.2.1:80; :SbxAllow 192.0.2.1:80 allows it until the sandbox ends')
vim.cmd('SbxAllow 192.0.2.1:80')
says('192.0.2.1:80 is allowed until the sandbox ends')
vim.cmd('SbxDown')
shows('[sbx down]')
io.stdout:write('the end\n')
vim.cmd('qall!')
