-- Deletes a bounded number of a room's oldest events, and of its oldest keys.
-- KEYS: 1 log, 2 hash of keys, 3 their sorted set
-- ARGV: 1 number of the first event to keep, 2 time of the first key to keep in ms, 3 maximum number to delete of each,
--       4 number of the log's epoch, 5 its text or ''
-- Returns 1 if there is more to delete, otherwise 0.
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not oldest then return 0 end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch, first = string.match(oldest[1], '^(%d+)%-(%d+)$')
local text, more = '', 0
for i = 1, #newest[2], 2 do if newest[2][i] == 'e' then text = newest[2][i + 1] end end
-- The log has been replaced by one of another epoch.
if epoch ~= ARGV[4] or text ~= ARGV[5] then return 0 end
local last = tonumber((string.match(newest[1], '%-(%d+)$')))
local keep = math.min(tonumber(ARGV[1]), last)
local bound = first + ARGV[3]
if keep > bound then keep, more = bound, 1 end
if keep > tonumber(first) then
  redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%s-%.0f', epoch, keep))
end
local old = redis.call('ZRANGE', KEYS[3], 0, ARGV[3] - 1)
for i, field in ipairs(old) do
  local value = redis.call('HGET', KEYS[2], field)
  if value and tonumber((string.match(value, '%d+$'))) >= tonumber(ARGV[2]) then return more end
  redis.call('HDEL', KEYS[2], field)
  redis.call('ZREM', KEYS[3], field)
end
if #old >= tonumber(ARGV[3]) then more = 1 end
return more
