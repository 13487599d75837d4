-- Appends events to a room's log if they follow its newest one, and remembers their keys.
-- KEYS: 1 log, and if any event has a key, 2 keys, 3 their order
-- ARGV: 1 the epoch's number, 2 number of the first event, 3 how many events, 4 the epoch's text or '', 5 keys to keep,
--       6.. events, then for each of them with a key: its field, its value, its number
-- Yields 1, or 0 if the events don't follow.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch, seq = ARGV[1], 0
if newest then
  epoch, seq = string.match(newest[1], '^(%d+)%-(%d+)$')
end
if epoch ~= ARGV[1] or tonumber(seq) + 1 ~= tonumber(ARGV[2]) then return 0 end
for i = 0, ARGV[3] - 1 do
  local id = string.format('%s-%.0f', epoch, ARGV[2] + i)
  if ARGV[4] == '' then
    redis.call('XADD', KEYS[1], id, 'd', ARGV[6 + i])
  else
    redis.call('XADD', KEYS[1], id, 'd', ARGV[6 + i], 'e', ARGV[4])
  end
end
local first = 6 + ARGV[3]
for i = first, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i])
end
if #ARGV >= first then
  local over = redis.call('ZCARD', KEYS[3]) - ARGV[5]
  if over > 0 then
    local popped = redis.call('ZPOPMIN', KEYS[3], over)
    for i = 1, #popped, 2 do redis.call('HDEL', KEYS[2], popped[i]) end
  end
end
return 1
