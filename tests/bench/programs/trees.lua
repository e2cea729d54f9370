-- Binary trees, tables and strings.
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end

local function count(node)
  if not node[1] then return 1 end
  return 1 + count(node[1]) + count(node[2])
end

local kept, total = tree(15), 0
for _ = 1, 120 do total = total + count(tree(11)) end

local words, seen = {}, {}
for i = 1, 300000 do
  local word = "word " .. (i * 7919 % 50021)
  words[i] = word
  seen[word] = (seen[word] or 0) + 1
end
table.sort(words)
print(total, count(kept), words[1], #table.concat(words, ","))
