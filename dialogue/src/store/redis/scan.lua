-- Records of a group in the order of their names.
-- KEYS: 1 values, 2 the names in their order
-- ARGV: 1 first and 2 last name, as ZRANGE BYLEX takes them, 3 how many at most, 4 bytes of values
-- Yields whether there may be more, then name, value, name, value...; fewer than were asked for where they are large.
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
