-- Reads the idempotency keys of a room since a time, newest first.
-- KEYS: 1 hash of keys, 2 their sorted set
-- ARGV: 1 the time in ms, 2 the greatest event number in the syntax of ZRANGE BYSCORE, 3 maximum number of keys
-- Returns the number of the keys' epoch or '', the next page's greatest number or '', and field, value, field, value...
local found = {redis.call('HGET', KEYS[1], 'epoch') or '', ''}
local fields = redis.call('ZRANGE', KEYS[2], ARGV[2], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[3])
for i, field in ipairs(fields) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    if tonumber((string.match(value, '%d+$'))) < tonumber(ARGV[1]) then return found end
    found[#found + 1] = field
    found[#found + 1] = value
  end
end
if #fields >= tonumber(ARGV[3]) then found[2] = '(' .. redis.call('ZSCORE', KEYS[2], fields[#fields]) end
return found
