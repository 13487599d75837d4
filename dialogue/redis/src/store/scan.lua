-- Reads records of a group in lexicographic order of their names.
-- KEYS: 1 hash of values, 2 sorted set of names
-- ARGV: 1 first and 2 last name in the syntax of ZRANGE BYLEX, 3 maximum number of records, 4 size of values in bytes
--       at which the result ends
-- Returns 1 if there may be more or 0, then name, value, name, value...
local found, size = {0}, 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, ARGV[3])) do
  local value = redis.call('HGET', KEYS[1], name)
  found[#found + 1] = name
  found[#found + 1] = value
  size = size + #value
  if size > tonumber(ARGV[4]) then
    found[1] = 1
    break
  end
end
if (#found - 1) / 2 >= tonumber(ARGV[3]) then found[1] = 1 end
return found
