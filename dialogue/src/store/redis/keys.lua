-- The keys that were used in a room since a time, newest first.
-- KEYS: 1 keys, 2 their order
-- ARGV: 1 the time, 2 the bound of numbers, as ZRANGE BYSCORE takes it, 3 how many at most
-- Yields field, value, field, value...; none once all are told.
local found = {}
for _, field in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[2], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[3])) do
  local value = redis.call('HGET', KEYS[1], field)
  if tonumber((string.match(value, '%d+$'))) < tonumber(ARGV[1]) then break end
  found[#found + 1] = field
  found[#found + 1] = value
end
return found
